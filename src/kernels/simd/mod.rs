//! Vectors of f32 on the CPU at hand: AVX-512, AVX2 with FMA, and a portable path, chosen when the
//! program runs. Knows nothing of what is computed with them.

pub mod functions;
mod portable;
mod primitives;

use portable::Portable;
use primitives::Primitives;
#[cfg(target_arch = "x86_64")]
mod avx2_tile;
#[cfg(target_arch = "x86_64")]
mod turn;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512};

#[cfg(test)]
mod tests;

/// Filters that one register tile of the kernels covers.
pub const TILE_FILTERS: usize = 4;

/// Numbers of the widest vector.
pub const WIDEST: usize = 16;

/// Steps of a register tile, and where their weights stand.
#[derive(Clone, Copy)]
pub struct Steps {
    pub count: usize,
    /// Numbers from one filter's weight to the next one's.
    pub weight_step: usize,
    /// Numbers from one step's weights to the next one's.
    pub next_weights: usize,
}

/// A vector register of f32. All methods inline into a caller that has the CPU feature.
///
/// Arithmetic is safe: a type of this trait is the proof that the CPU has its instructions. The
/// types are private to this module, and `Isa::run`, which found the instructions, is all that
/// runs code with one of them.
pub trait Vector: Primitives {
    /// Numbers in a register: 4, 8 or 16. Divides `memory::LANES`.
    const WIDTH: usize;
    /// Second side of a register tile, beside `TILE_FILTERS`: as many as the register file holds.
    const TILE: usize;

    /// # Safety
    /// `from` points to `WIDTH` readable numbers.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `to` points to `WIDTH` writable numbers.
    unsafe fn store(self, to: *mut f32);

    fn splat(value: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// self · factor + addend
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger; `other` where one of them is NaN.
    fn max(self, other: Self) -> Self;
    /// self where `test` > 0, elsewhere 0.
    fn where_positive(self, test: Self) -> Self;
    /// The sums of all lanes, of four vectors.
    fn sums(four: [Self; 4]) -> [f32; 4];

    /// Turns a block of `WIDTH` rows of `WIDTH` numbers into columns; rows stand `from_step` and
    /// `to_step` numbers apart.
    ///
    /// # Safety
    /// `from` points to so many readable numbers, `to` to as many writable ones elsewhere.
    unsafe fn turn(from: *const f32, from_step: usize, to: *mut f32, to_step: usize);

    /// Asks for the cache line of a number that will be needed soon; any address will do.
    fn fetch(from: *const f32);

    /// The first `WIDTH` of `numbers`.
    #[inline(always)]
    fn first_of(numbers: &[f32]) -> Self {
        assert!(numbers.len() >= Self::WIDTH, "a whole vector");
        // SAFETY: so many numbers are readable (asserted).
        unsafe { Self::load(numbers.as_ptr()) }
    }

    /// Writes the vector over the first `WIDTH` of `numbers`.
    #[inline(always)]
    fn write(self, numbers: &mut [f32]) {
        assert!(numbers.len() >= Self::WIDTH, "a whole vector");
        // SAFETY: so many numbers are writable (asserted).
        unsafe { self.store(numbers.as_mut_ptr()) }
    }

    /// The numbers of the vector, and zeros behind them.
    #[inline(always)]
    fn numbers(self) -> [f32; WIDEST] {
        const { assert!(Self::WIDTH <= WIDEST, "no vector is wider") };
        let mut numbers = [0.0; WIDEST];
        // SAFETY: there is room for `WIDTH` numbers (asserted).
        unsafe { self.store(numbers.as_mut_ptr()) };
        numbers
    }

    /// sums[f][t] += weights[f · weight_step] · source[t · step ..]: one step of a register tile.
    /// Both steps in numbers.
    ///
    /// # Safety
    /// `weights` points to `TILE_FILTERS` readable numbers that are `weight_step` apart, `source`
    /// to T vectors that are `step` apart.
    #[inline(always)]
    unsafe fn scale_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        step: usize,
        weights: *const f32,
        weight_step: usize,
    ) {
        // SAFETY: the same contract, which the caller keeps.
        unsafe { scale_add(sums, source, step, weights, weight_step) }
    }

    /// `scale_add` for each of `steps`, whose T vectors stand side by side.
    ///
    /// # Safety
    /// As `scale_add`, for all steps.
    #[inline(always)]
    unsafe fn scale_add_all<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        weights: *const f32,
        steps: Steps,
    ) {
        for step in 0..steps.count {
            // SAFETY: the caller vouches for the vectors and weights of each step.
            unsafe {
                let source = source.add(step * T * Self::WIDTH);
                let weights = weights.add(step * steps.next_weights);
                Self::scale_add(sums, source, Self::WIDTH, weights, steps.weight_step);
            }
        }
    }

    /// sums[f][t] += gradients[f][g ..] · sources[t][s ..]: the same for the gradient of weights.
    ///
    /// # Safety
    /// Each of `gradients` has a vector behind `g` numbers, each of `sources` behind `s`.
    #[inline(always)]
    unsafe fn product_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        gradients: &[*const f32; TILE_FILTERS],
        g: usize,
        sources: &[*const f32; T],
        s: usize,
    ) {
        // SAFETY: the same contract, which the caller keeps.
        unsafe { product_add(sums, gradients, g, sources, s) }
    }
}

/// `Vector::scale_add` as compilers see it.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn scale_add<V: Vector, const T: usize>(
    sums: &mut [[V; T]; TILE_FILTERS],
    source: *const f32,
    step: usize,
    weights: *const f32,
    weight_step: usize,
) {
    // SAFETY: the caller vouches for T vectors that are `step` apart.
    let inputs: [V; T] = std::array::from_fn(|t| unsafe { V::load(source.add(t * step)) });
    for (f, row) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for `TILE_FILTERS` weights that are `weight_step` apart.
        let weight = V::splat(unsafe { *weights.add(f * weight_step) });
        for (sum, input) in row.iter_mut().zip(inputs) {
            *sum = input.mul_add(weight, *sum);
        }
    }
}

/// `Vector::product_add` as compilers see it.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn product_add<V: Vector, const T: usize>(
    sums: &mut [[V; T]; TILE_FILTERS],
    gradients: &[*const f32; TILE_FILTERS],
    g: usize,
    sources: &[*const f32; T],
    s: usize,
) {
    let gradients: [V; TILE_FILTERS] =
        // SAFETY: the caller vouches for a vector behind `g` numbers of each.
        std::array::from_fn(|f| unsafe { V::load(gradients[f].add(g)) });
    for (t, source) in sources.iter().enumerate() {
        // SAFETY: the caller vouches for a vector behind `s` numbers of each.
        let input = unsafe { V::load(source.add(s)) };
        for (row, gradient) in sums.iter_mut().zip(gradients) {
            row[t] = input.mul_add(gradient, row[t]);
        }
    }
}

/// A computation to be run with vectors of a kind chosen at run time.
pub trait Kernel {
    type Output;

    fn run<V: Vector>(self) -> Self::Output;
}

/// A computation that follows pointers: its type documents which memory they must reach.
pub trait PointerKernel {
    /// # Safety
    /// The pointers of `self` are valid as its type documents.
    unsafe fn run<V: Vector>(self);
}

/// A computation whose maker vouches for its pointers.
struct Vouched<K>(K);

impl<K: PointerKernel> Kernel for Vouched<K> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        // SAFETY: made in `Isa::run_pointers` alone, whose caller vouches for the pointers.
        unsafe { self.0.run::<V>() }
    }
}

/// An instruction set that there are kernels for and that this CPU has: whoever holds one may run
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// All that this CPU has, the best last.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut, reason = "nothing is added on other processors")]
        let mut all = vec![Self(Set::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self(Set::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                all.push(Self(Set::Avx512));
            }
        }
        all
    }

    /// The best that this CPU has.
    pub fn detect() -> Self {
        Self::available()
            .last()
            .copied()
            .unwrap_or(Self(Set::Portable))
    }

    /// Its name: portable, avx2 or avx512.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
        }
    }

    /// Runs `kernel` with this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Portable => kernel.run::<Portable>(),
            // SAFETY: `available` makes this Isa only where the CPU has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { run_avx2(kernel) },
            // SAFETY: `available` makes this Isa only where the CPU has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { run_avx512(kernel) },
        }
    }

    /// The same for a computation that follows pointers.
    ///
    /// # Safety
    /// The pointers of `kernel` are valid as its type documents.
    #[inline]
    pub unsafe fn run_pointers<K: PointerKernel>(self, kernel: K) {
        self.run(Vouched(kernel));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}
