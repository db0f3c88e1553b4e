//! Vectors of f32 on the CPU at hand: AVX-512, AVX2 with FMA, and a portable path, chosen when the program runs.
//! Knows nothing of what is computed with them.

mod functions;
mod portable;

use functions::Primitives;
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
mod avx2_tile;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

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

    /// sums[f][t] += weights[f · weight_step] · source[t · step ..]: one step of a register tile. Both steps in numbers.
    ///
    /// # Safety
    /// `weights` points to `TILE_FILTERS` readable numbers that are `weight_step` apart, `source` to T vectors that are `step` apart.
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

    /// `scale_add` from each of `steps` vectors of T registers, which stand side by side, with weights that stand `next` numbers apart.
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
                Self::scale_add(sums, source, Self::WIDTH, weights.add(step * next), weight_step);
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
    /// The CPU has V's instructions. Whatever pointers `self` holds are valid, as its type documents.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// An instruction set that there are kernels for and that this CPU has: whoever holds one may run it.
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
        Self::available().last().copied().unwrap_or(Self(Set::Portable))
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

/// Eight numbers in a ymm register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Avx2(__m256);

// SAFETY of every block below: the trait's contract (the CPU has AVX2 and FMA; pointers are valid for eight numbers;
// the unaligned forms of load and store are used).
#[cfg(target_arch = "x86_64")]
impl Vector for Avx2 {
    const WIDTH: usize = 8;
    const TILE: usize = 3;

    #[inline(always)]
    fn fetch(from: *const f32) {
        // SAFETY: it never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_GT_OQ>(test.0, _mm256_setzero_ps()))) }
    }

    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = four.map(|v| v.0);
            let sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums)));
            out
        }
    }

    #[inline(always)]
    unsafe fn scale_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        step: usize,
        weights: *const f32,
        weight_step: usize,
    ) {
        // SAFETY: see above; the caller vouches for source and weights.
        unsafe { avx2_tile::scale_add(sums, source, step, weights, weight_step) }
    }

    #[inline(always)]
    unsafe fn scale_add_all<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        source: *const f32,
        steps: usize,
        weights: *const f32,
        (weight_step, next): (usize, usize),
    ) {
        let fours = if (T == 2 || T == 3) && (next == 1 || next == TILE_FILTERS) { steps / 4 } else { 0 };
        // SAFETY: see above; the caller vouches for source and weights.
        unsafe {
            if let Some(sums) = avx2_tile::tile_of::<3, T>(sums) {
                match next {
                    1 => avx2_tile::scale_add_fours::<1>(sums, source, fours, weights, weight_step),
                    _ => avx2_tile::scale_add_fours::<TILE_FILTERS>(sums, source, fours, weights, weight_step),
                }
            } else if let Some(sums) = avx2_tile::tile_of::<2, T>(sums) {
                match next {
                    1 => avx2_tile::scale_add_fours_of_two::<1>(sums, source, fours, weights, weight_step),
                    _ => avx2_tile::scale_add_fours_of_two::<TILE_FILTERS>(sums, source, fours, weights, weight_step),
                }
            }
            for step in 4 * fours..steps {
                avx2_tile::scale_add(sums, source.add(step * T * Self::WIDTH), Self::WIDTH, weights.add(step * next), weight_step);
            }
        }
    }

    #[inline(always)]
    unsafe fn product_add<const T: usize>(
        sums: &mut [[Self; T]; TILE_FILTERS],
        gradients: &[*const f32; TILE_FILTERS],
        g: usize,
        sources: &[*const f32; T],
        s: usize,
    ) {
        // SAFETY: see above; the caller vouches for gradients and sources.
        unsafe { avx2_tile::product_add(sums, gradients, g, sources, s) }
    }
}

/// Sixteen numbers in a zmm register.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(__m512);

// SAFETY of every block below: the trait's contract (the CPU has AVX-512F; pointers are valid for sixteen numbers;
// the unaligned forms of load and store are used).
#[cfg(target_arch = "x86_64")]
impl Vector for Avx512 {
    const WIDTH: usize = 16;
    const TILE: usize = 6;

    #[inline(always)]
    fn fetch(from: *const f32) {
        // SAFETY: it never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn where_positive(self, test: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(test.0, _mm512_setzero_ps()), self.0)) }
    }

    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> [f32; 4] {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = four.map(|v| v.0);
            // In each quarter: a0 + a2, b0 + b2, a1 + a3, b1 + b3; then one number of each of the four.
            let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
            let quarters = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
            let halves = _mm512_add_ps(quarters, _mm512_shuffle_f32x4::<0b01_00_11_10>(quarters, quarters));
            let sums = _mm512_add_ps(halves, _mm512_shuffle_f32x4::<0b10_11_00_01>(halves, halves));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), _mm512_castps512_ps128(sums));
            out
        }
    }
}
