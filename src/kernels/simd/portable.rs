//! Vectors for processors without instructions of their own here: plain Rust, four numbers at a
//! time. Knows nothing of what is computed with them.

use super::Vector;

/// Four numbers, which any compiler turns into the narrowest vectors of its target.
#[derive(Clone, Copy)]
pub struct Portable(pub(super) [f32; 4]);

impl Portable {
    #[inline(always)]
    pub(super) fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Portable {
    const WIDTH: usize = 4;
    const TILE: usize = 2;

    #[inline(always)]
    fn fetch(_from: *const f32) {}

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for four readable numbers; arrays of f32 have f32's alignment.
        unsafe { Self(*from.cast::<[f32; 4]>()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for four writable numbers; arrays of f32 have f32's alignment.
        unsafe { *to.cast::<[f32; 4]>() = self.0 }
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // Not f32::mul_add: without the instruction that is a slow call.
        Self(std::array::from_fn(|i| {
            self.0[i] * factor.0[i] + addend.0[i]
        }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn where_positive(self, test: Self) -> Self {
        self.zip(test, |a, t| if t > 0.0 { a } else { 0.0 })
    }

    #[inline(always)]
    fn sums(four: [Self; 4]) -> [f32; 4] {
        four.map(|v| (v.0[0] + v.0[1]) + (v.0[2] + v.0[3]))
    }

    #[inline(always)]
    unsafe fn turn(from: *const f32, from_step: usize, to: *mut f32, to_step: usize) {
        for row in 0..Self::WIDTH {
            for column in 0..Self::WIDTH {
                // SAFETY: the caller vouches for both blocks.
                unsafe { *to.add(column * to_step + row) = *from.add(row * from_step + column) }
            }
        }
    }
}
