//! Vectors of f32 on the CPU at hand: AVX-512, AVX2 with FMA, and a portable path, chosen when the
//! program runs. Knows nothing of what is computed with them.

pub mod functions;
mod portable;
mod primitives;

pub use portable::Portable;
use primitives::Primitives;
#[cfg(target_arch = "x86_64")]
mod avx2_tile;
#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};

#[cfg(test)]
mod tests;

/// Filters that one register tile of the kernels covers.
pub const TILE_FILTERS: usize = 4;

/// A vector register. All methods inline into a caller that has the CPU feature.
///
/// # Safety
/// Every method needs a CPU with the implementation's instructions (`Isa::run` sees to that);
/// `load` and `store` need a pointer to `WIDTH` readable (writable) numbers.
pub trait Vector: Primitives {
    /// Numbers in a register; divides `spec::LANES`.
    const WIDTH: usize;
    /// Second side of a register tile, beside `TILE_FILTERS`: as many as the register file holds.
    const TILE: usize;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat(value: f32) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// self · factor + addend
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    /// self where `test` > 0, elsewhere 0.
    unsafe fn where_positive(self, test: Self) -> Self;
    /// The sums of all lanes, of four vectors.
    unsafe fn sums(four: [Self; 4]) -> [f32; 4];

    /// Asks for the cache line of a number that will be needed soon; any address will do.
    fn fetch(from: *const f32);

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
        // SAFETY: the caller vouches.
        unsafe { scale_add(sums, source, step, weights, weight_step) }
    }

    /// `scale_add` from each of `steps` vectors of T registers, which stand side by side, with
    /// weights that stand `next` numbers apart.
    ///
    /// # Safety
    /// As `scale_add`, for all of them.
    #[inline(always)]
    unsafe fn scale_add_all<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        steps: usize,
        weights: *const f32,
        (weight_step, next): (usize, usize),
    ) {
        for step in 0..steps {
            // SAFETY: the caller vouches.
            unsafe {
                let source = source.add(step * T * Self::WIDTH);
                Self::scale_add(
                    sums,
                    source,
                    Self::WIDTH,
                    weights.add(step * next),
                    weight_step,
                );
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
        // SAFETY: the caller vouches.
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
    // SAFETY: the caller vouches.
    unsafe {
        let inputs: [V; T] = std::array::from_fn(|t| V::load(source.add(t * step)));
        for (f, row) in sums.iter_mut().enumerate() {
            let weight = V::splat(*weights.add(f * weight_step));
            for (sum, input) in row.iter_mut().zip(inputs) {
                *sum = input.mul_add(weight, *sum);
            }
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
    // SAFETY: the caller vouches.
    unsafe {
        let gradients: [V; TILE_FILTERS] = std::array::from_fn(|f| V::load(gradients[f].add(g)));
        for (t, source) in sources.iter().enumerate() {
            let input = V::load(source.add(s));
            for (row, gradient) in sums.iter_mut().zip(gradients) {
                row[t] = input.mul_add(gradient, row[t]);
            }
        }
    }
}

/// Something to be computed with vectors of a kind chosen at run time.
pub trait Work {
    type Output;

    /// # Safety
    /// The CPU has V's instructions. Whatever pointers `self` holds are valid, as its type
    /// documents.
    unsafe fn run<V: Vector>(self) -> Self::Output;
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

    /// Runs `work` with this instruction set.
    ///
    /// # Safety
    /// `work`'s pointers are valid as its type documents.
    #[inline]
    pub unsafe fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: an Isa is only made where the CPU has it; the caller vouches for the pointers.
        unsafe {
            match self.0 {
                Set::Portable => work.run::<Portable>(),
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => run_avx2(work),
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 => run_avx512(work),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<W: Work>(work: W) -> W::Output {
    // SAFETY: this function has the features, and the caller vouches for `work`.
    unsafe { work.run::<Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn run_avx512<W: Work>(work: W) -> W::Output {
    // SAFETY: this function has the feature, and the caller vouches for `work`.
    unsafe { work.run::<Avx512>() }
}
