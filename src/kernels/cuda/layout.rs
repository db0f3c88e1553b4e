//! What host and kernels say to each other, as layout.h and the other headers have it: plain structs
//! of sizes and device addresses. A test asks the stand-in driver for their sizes. Must not know
//! what is computed.

/// An address in a device's memory; 0 where the header's pointer may be null.
pub type Address = u64;

/// What numbers of layers and their gradients are stored in. Parameters are f32 in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Products on tensor cores.
    #[default]
    Bf16,
    F32,
}

impl Precision {
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// `bf16`
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }
}

/// A kernel's one argument.
///
/// # Safety
/// The type has the layout of the kernel's parameter, and holds nothing but numbers.
pub unsafe trait Arguments: Copy + 'static {}

/// Threads of a block.
pub const THREADS: usize = 256;
/// Pieces that the pooling of the head is cut into.
pub const POOL_PIECES: usize = 8;
/// Planes of f32 of an image in local contrast normalisation.
pub const CONTRAST_PLANES: usize = 5;

/// One source of a convolution's sum.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Part {
    pub x: Address,
    pub y: Address,
    pub k0: Address,
    pub k1: Address,
    pub k2: Address,
    pub floor: f32,
    pub channels: i32,
    pub height: i32,
    pub width: i32,
    pub filter_height: i32,
    pub filter_width: i32,
    pub pad_height: i32,
    pub pad_width: i32,
    pub stride_height: i32,
    pub stride_width: i32,
    pub dilation_height: i32,
    pub dilation_width: i32,
    pub block: i32,
    /// Fills what the header leaves open.
    pub unused: i32,
    pub weight: Address,
    pub weight_channel: i32,
    pub weight_filter: i32,
    pub real: Address,
}

/// A layer's batch normalisation.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Norm {
    pub slope: Address,
    pub offset: Address,
    pub mean: Address,
    pub inverse: Address,
    pub gradient0: Address,
    pub gradient1: Address,
    pub gradient2: Address,
    pub scale: Address,
    pub shift: Address,
    pub scale_gradient: Address,
    pub shift_gradient: Address,
    pub running_mean: Address,
    pub running_variance: Address,
    pub real: Address,
    pub channels: i32,
    pub count: f32,
    pub epsilon: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainConv {
    pub parts: Address,
    pub part_count: i32,
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub out: Address,
    pub out_channels: i32,
    pub real: Address,
    pub normalised: i32,
    pub floor: f32,
    pub y: Address,
    pub extra: Address,
    pub head: Address,
    pub head_channels: i32,
    pub norm: Norm,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    pub y: Address,
    pub gradient: Address,
    pub pixels: i64,
    pub channels: i32,
    pub norm: Norm,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainWeights {
    pub part: Part,
    pub gradient: Part,
    pub images: i32,
    pub out: Address,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    pub part: Part,
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub out_height: i32,
    pub out_width: i32,
    pub size: i32,
    pub stride: i32,
    pub average: i32,
    pub out: Address,
    pub out_channels: i32,
    pub first_channel: i32,
    pub winner: Address,
    pub gradient: Address,
    pub extra: Address,
    pub accumulate: i32,
}

/// `Copy` of the header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyPart {
    pub part: Part,
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub out: Address,
    pub out_channels: i32,
    pub first_channel: i32,
    pub gradient: Address,
    pub norm: Norm,
    pub extra: Address,
    pub accumulate: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub part: Part,
    pub channels_of: Address,
    pub channels_to: Address,
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub out: Address,
    pub out_channels: i32,
    pub add: i32,
    pub gradient: Address,
    pub extra: Address,
    pub accumulate: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Contrast {
    pub parts: Address,
    pub part_count: i32,
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub rows: Address,
    pub columns: Address,
    pub out: Address,
    pub out_channels: i32,
    pub real: Address,
    pub real_channels: i32,
    pub deviations: Address,
    pub planes: Address,
    pub gradient: Address,
    pub input_gradient: Address,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    pub parts: Address,
    pub part_count: i32,
    pub images: i32,
    pub classes: i32,
    pub channels: i32,
    pub real_channels: i32,
    pub real: Address,
    pub area: f32,
    pub pooled: Address,
    pub weight: Address,
    pub bias: Address,
    pub weight_gradient: Address,
    pub bias_gradient: Address,
    pub labels: Address,
    pub features: Address,
    pub logit_gradient: Address,
    pub losses: Address,
    pub gradient: Address,
    pub logits: Address,
    pub smoothing: f32,
    pub progress: Address,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Images {
    pub dataset: Address,
    pub dataset_labels: Address,
    pub channels: i32,
    pub height: i32,
    pub width: i32,
    pub rows: Address,
    pub columns: Address,
    pub crops: Address,
    pub progress: Address,
    pub batch: i32,
    pub images: i32,
    pub statistics: Address,
    pub image_statistics: Address,
    pub out: Address,
    pub out_channels: i32,
    pub labels: Address,
    pub room: Address,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Update {
    pub parameters: Address,
    pub velocity: Address,
    pub gradient: Address,
    pub count: i64,
    pub momentum: f32,
    pub decay: f32,
    pub decoupled: f32,
    pub rates: Address,
    pub packed: Address,
    pub forward: Address,
    pub backward: Address,
    pub progress: Address,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Average {
    pub values: Address,
    pub average: Address,
    pub count: i64,
    pub shares: Address,
    pub progress: Address,
}

/// A tile of output pixels, whose sides are powers of two, perhaps over several images.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tiling {
    pub images: i32,
    pub height: i32,
    pub width: i32,
    pub log_width: i32,
    pub log_height: i32,
    pub tile_images: i32,
    pub across: i32,
    pub down: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv {
    pub parts: Address,
    pub part_count: i32,
    pub tiling: Tiling,
    pub weight: Address,
    pub weight_tile: i64,
    pub group: i32,
    pub out: Address,
    pub out_channels: i32,
    pub moments: Address,
    pub counters: Address,
    pub norm: Norm,
    pub training: i32,
    pub normalised: i32,
    pub floor: f32,
    pub y: Address,
    pub extra: Address,
    pub head: Address,
    pub head_channels: i32,
}

/// Where a block of `weight_gradient` stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkGroup {
    pub part: i32,
    pub first_column: i32,
    pub columns: i32,
    pub first_chunk: i32,
    pub chunks: i32,
    pub weight_chunk: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightGradient {
    pub parts: Address,
    pub groups: Address,
    pub gradient: Part,
    pub tiling: Tiling,
    pub splits: i32,
    pub partial: Address,
    pub partial_split: i64,
    pub partial_tile: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Reduction {
    pub partial: Address,
    pub splits: i32,
    pub size: i64,
    pub parameter: Address,
    pub gradient: Address,
}

/// A run's place in its data, and what it reports.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    pub step: u32,
    pub first_bad_step: u32,
    pub learning_rate: f32,
    pub correct: u32,
    pub loss: f64,
    pub not_finite: u32,
    pub unused: u32,
}

/// Where in the upsampled image an image of an epoch is cut out, and whether it is flipped.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crop {
    pub image: u32,
    pub top: u16,
    pub left: u16,
    pub flip: u16,
    pub unused: u16,
}

/// A position of an upsampled row or column: the source's left neighbour, and the right one's share.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    pub left: i32,
    pub share: f32,
}

/// What a device's memory may be filled with or read as: any bytes are a value of it, and it has no
/// padding.
///
/// # Safety
/// As said.
pub unsafe trait Plain: Copy + Default + 'static {}

macro_rules! promise {
    ($trait:ident: $($type:ty),*) => { $(
        // SAFETY: repr(C), fields as in the header (see the test of sizes), numbers alone.
        unsafe impl $trait for $type {}
    )* };
}
promise!(Arguments: Norm, PlainConv, Statistics, PlainWeights, Pool, CopyPart, Sum, Contrast, Head, Images, Update, Average, Conv, WeightGradient, Reduction);
promise!(Plain: u8, u16, i32, u32, f32, Progress, Crop, Position, Part, ChunkGroup);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::Device;
    use crate::kernels::cuda::stand_in::on_stand_in;

    #[test]
    fn every_argument_is_as_large_as_the_kernel_s() {
        let test = "kernels::cuda::layout::tests::every_argument_is_as_large_as_the_kernel_s";
        on_stand_in(test, &[], || {
            let device = Device::open(0).unwrap();
            for (kernel, bytes) in [
                ("load_images_f32", size_of::<Images>()),
                ("convolve_plain_f32", size_of::<PlainConv>()),
                ("gradient_plain_f32", size_of::<PlainConv>()),
                ("weights_plain_f32", size_of::<PlainWeights>()),
                ("statistics_f32", size_of::<Statistics>()),
                ("gradient_statistics_f32", size_of::<Statistics>()),
                ("pool_f32", size_of::<Pool>()),
                ("pool_gradient_f32", size_of::<Pool>()),
                ("copy_f32", size_of::<CopyPart>()),
                ("copy_gradient_f32", size_of::<CopyPart>()),
                ("sum_f32", size_of::<Sum>()),
                ("sum_gradient_f32", size_of::<Sum>()),
                ("contrast_f32", size_of::<Contrast>()),
                ("contrast_gradient_f32", size_of::<Contrast>()),
                ("pool_head_f32", size_of::<Head>()),
                ("classify_f32", size_of::<Head>()),
                ("head_weights_f32", size_of::<Head>()),
                ("judge_f32", size_of::<Head>()),
                ("update_parameters", size_of::<Update>()),
                ("average_parameters", size_of::<Average>()),
                ("use_running_statistics", size_of::<Norm>()),
                ("conv_forward_3_2", size_of::<Conv>()),
                ("weight_gradient_8", size_of::<WeightGradient>()),
                ("add_splits", size_of::<Reduction>()),
                ("pack_all_parameters", size_of::<Update>()),
                ("load_images_bf16", size_of::<Images>()),
            ] {
                assert_eq!(device.argument_bytes(kernel).unwrap(), bytes, "{kernel}");
            }
        });
    }
}
