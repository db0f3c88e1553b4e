//! The vector functions against f64, on every kind of vector.

use crate::kernels::simd::functions;
use crate::kernels::simd::{Isa, Kernel, Vector};

#[derive(Clone, Copy)]
enum Which {
    Exp,
    Tanh,
    Sigmoid,
    Sin,
    Cos,
}

struct Each<'a>(Which, &'a mut [f32]);

impl Kernel for Each<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        for piece in self.1.chunks_exact_mut(V::WIDTH) {
            let x = V::first_of(piece);
            let y = match self.0 {
                Which::Exp => functions::exp(x),
                Which::Tanh => functions::tanh(x),
                Which::Sigmoid => functions::sigmoid(x),
                Which::Sin => functions::sin(x),
                Which::Cos => functions::cos(x),
            };
            y.write(piece);
        }
    }
}

fn of(isa: Isa, which: Which, x: &[f32]) -> Vec<f32> {
    let mut values = x.to_vec();
    values.resize(x.len().next_multiple_of(16), 0.0);
    isa.run(Each(which, &mut values));
    values.truncate(x.len());
    values
}

/// Many numbers from −max to max, small ones among them.
fn grid(max: f32) -> Vec<f32> {
    let even = (0..=200_000).map(|i| (i as f32 / 100_000.0 - 1.0) * max);
    let small = (0..2_000)
        .flat_map(|i| [1e-20_f32, -1e-20].map(|s| s * 1.025_f32.powi(i)))
        .filter(|x| x.abs() <= max);
    even.chain(small).collect()
}

#[test]
fn errors_stay_within_what_is_stated() {
    for isa in Isa::available() {
        let worst = |which: Which, max: f32, error: fn(f64, f64) -> f64| {
            let x = grid(max);
            let values = of(isa, which, &x);
            x.iter()
                .zip(values)
                .map(|(&x, y)| error(f64::from(x), f64::from(y)))
                .fold(0.0, f64::max)
        };
        let errors = [
            worst(Which::Exp, 86.9, |x, y| (y / x.exp() - 1.0).abs()),
            worst(Which::Tanh, 30.0, |x, y| {
                (y / x.tanh() - 1.0).abs().min((y - x.tanh()).abs() * 1e30)
            }),
            worst(Which::Sigmoid, 86.0, |x, y| {
                (y * (1.0 + (-x).exp()) - 1.0).abs()
            }),
            worst(Which::Sin, 40.0, |x, y| (y - x.sin()).abs()),
            worst(Which::Cos, 40.0, |x, y| (y - x.cos()).abs()),
            worst(Which::Sin, 20_000.0, |x, y| (y - x.sin()).abs()),
            worst(Which::Cos, 20_000.0, |x, y| (y - x.cos()).abs()),
        ];
        let bounds = [3e-7, 4e-7, 3e-7, 3e-7, 6e-7, 3e-7, 6e-7];
        assert!(
            errors
                .iter()
                .zip(bounds)
                .all(|(error, bound)| *error <= bound),
            "{isa:?}: {errors:?}"
        );
    }
}

#[test]
fn far_numbers_and_no_numbers() {
    let far = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        1e6,
        -1e6,
    ];
    let none = [f32::NAN; 2];
    for isa in Isa::available() {
        let tanh = of(isa, Which::Tanh, &far);
        assert!(
            tanh.iter()
                .zip([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
                .all(|(a, b)| (a - b).abs() < 3e-7),
            "{tanh:?}"
        );
        let sigmoid = of(isa, Which::Sigmoid, &far);
        assert!(
            sigmoid
                .iter()
                .zip([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])
                .all(|(a, b)| (a - b).abs() < 2e-38),
            "{sigmoid:?}"
        );
        let exp = of(
            isa,
            Which::Exp,
            &[0.0, f32::NEG_INFINITY, f32::MIN, -1e6, -87.1],
        );
        assert_eq!(exp, [1.0, 0.0, 0.0, 0.0, 0.0]);
        let sin = of(isa, Which::Sin, &far);
        assert!(
            sin[0].is_nan() && sin[1].is_nan() && (f64::from(sin[4]) - 1e6_f64.sin()).abs() < 1e-7,
            "{sin:?}"
        );
        for which in [
            Which::Exp,
            Which::Tanh,
            Which::Sigmoid,
            Which::Sin,
            Which::Cos,
        ] {
            assert!(of(isa, which, &none).iter().all(|y| y.is_nan()));
        }
    }
}

/// A block turned, in place of which others stand beside it.
struct Turned<'a>(&'a [f32], usize, &'a mut [f32], usize);

impl Kernel for Turned<'_> {
    type Output = usize;

    #[inline(always)]
    fn run<V: Vector>(self) -> usize {
        assert!(self.0.len() >= V::WIDTH * self.1 && self.2.len() >= V::WIDTH * self.3);
        // SAFETY: both have so many rows (asserted).
        unsafe { V::turn(self.0.as_ptr(), self.1, self.2.as_mut_ptr(), self.3) }
        V::WIDTH
    }
}

#[test]
fn a_turned_block_has_columns_for_rows() {
    let from: Vec<f32> = (0..20 * 16).map(|i| i as f32).collect();
    for isa in Isa::available() {
        let mut to = vec![-1.0; 19 * 16];
        let width = isa.run(Turned(&from, 20, &mut to, 19));
        for (i, &number) in to.iter().enumerate() {
            let (row, column) = (i / 19, i % 19);
            let inside = row < width && column < width;
            let expected = if inside {
                (column * 20 + row) as f32
            } else {
                -1.0
            };
            assert_eq!(number, expected, "{} {row}, {column}", isa.name());
        }
    }
}
