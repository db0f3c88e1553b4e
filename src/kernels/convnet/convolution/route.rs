//! Which way a convolution goes: a table by its sizes and the instruction set, so that the same
//! network on the same kind of machine gives the same bits. Its numbers were measured
//! (`benches/routes.rs` measures them again). Knows sizes and instruction sets alone.

use super::phased::Phased;
use super::small::Small;
use super::tiles;
use crate::kernels::convnet::spec::Geometry;
use crate::kernels::simd::Isa;

/// A way to compute a convolution and its gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Every tap of every pixel, from packed rows.
    Direct,
    /// Pixel by pixel, only the taps that meet another pixel: small pictures.
    Pixels,
    /// By tiles at points: strides of 1.
    Tiles,
    /// By tiles of rows and columns of equal remainder modulo the stride: any stride.
    Phased,
}

/// From so many filters on (and channels, of which each remainder counts), a convolution with a
/// stride goes by tiles of remainders where these have at least `fewer` times fewer products than
/// taps.
struct Row {
    least: usize,
    fewer: f64,
}

/// AVX-512, measured on Sapphire Rapids: products are so fast that transforms and memory count.
const AVX512: [Row; 2] = [
    Row {
        least: 12,
        fewer: 3.9,
    },
    Row {
        least: 48,
        fewer: 2.7,
    },
];

/// AVX2, measured there too; narrower vectors gain no less.
const NARROW: [Row; 3] = [
    Row {
        least: 12,
        fewer: 2.7,
    },
    Row {
        least: 24,
        fewer: 2.3,
    },
    Row {
        least: 48,
        fewer: 1.9,
    },
];

impl Route {
    /// For `groups` groups at most at once.
    pub fn choose(g: &Geometry, groups: usize, isa: Isa) -> Self {
        if Small::new(g, groups).is_some() {
            Self::Pixels
        } else if tiles(g).is_some() {
            Self::Tiles
        } else if phased_pays(g, groups, isa) {
            Self::Phased
        } else {
            Self::Direct
        }
    }
}

/// Whether the table has a row for it. Strides of 1 have tiles of their own.
fn phased_pays(g: &Geometry, groups: usize, isa: Isa) -> bool {
    if g.stride_height * g.stride_width == 1 {
        return false;
    }
    let Some(phased) = Phased::new(g, &[], groups) else {
        return false;
    };
    let rows: &[Row] = if isa.name() == "avx512" {
        &AVX512
    } else {
        &NARROW
    };
    let channels = phased.channels_at_points().min(g.filters);
    let taps = g.filter_height * g.filter_width * g.out_height() * g.out_width();
    let fewer = taps as f64 / phased.products() as f64;
    rows.iter()
        .any(|row| channels >= row.least && fewer >= row.fewer)
}
