//! One layer of a convolutional network: what it computes, its sizes, its JSON (paper §3.3). Must
//! not know how layers are sampled or trained.

use super::ImageShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layer: what it does to its inputs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "LayerJson", into = "LayerJson")]
pub struct ConvLayer {
    pub operation: Operation,
    /// What is concatenated along depth (by `Operation::Add`: added), ascending: 0 is the image, i
    /// the i-th layer. Smaller inputs are padded with zeros at the bottom and the right to the
    /// largest (paper §3.3, rule 3).
    pub inputs: Vec<usize>,
}

/// What a layer computes. All padding is "same": (size−1)/2 before, output ceil(n/stride).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Convolution without bias, batch normalisation, ReLU.
    Convolution(Convolution),
    /// Maximum over a square window; pixels outside the image do not count.
    MaxPool(Pool),
    /// Mean over a square window; pixels outside the image do not count.
    AveragePool(Pool),
    /// Local contrast normalisation (Jarrett et al. 2009), subtractive and divisive, over a
    /// Gaussian window of this side and all channels: see `kernels::LocalContrast`.
    LocalContrast { window: usize },
    /// Batch normalisation with scale and shift, without ReLU.
    BatchNorm,
    /// Convolution without bias, and nothing behind it.
    PlainConvolution(Convolution),
    /// max(0, x).
    Relu,
    /// The sum of two inputs or more, then ReLU (He et al. 2016). Channels that an input lacks are
    /// zero, as its missing pixels are: they are its last ones.
    Add,
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Convolution {
    pub filter_height: usize,
    pub filter_width: usize,
    pub filters: usize,
    pub stride_height: usize,
    pub stride_width: usize,
}

/// Sizes of a pooling, both directions alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    pub size: usize,
    pub stride: usize,
}

/// The types of layers, as settings and JSON name them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    Conv,
    MaxPool,
    AvgPool,
    Lcn,
    BatchNorm,
    PlainConv,
    Relu,
    Add,
}

impl LayerType {
    /// Its word in settings, decisions and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "conv",
            Self::MaxPool => "max_pool",
            Self::AvgPool => "avg_pool",
            Self::Lcn => "lcn",
            Self::BatchNorm => "batch_norm",
            Self::PlainConv => "plain_conv",
            Self::Relu => "relu",
            Self::Add => "add",
        }
    }
}

impl From<Convolution> for Operation {
    fn from(convolution: Convolution) -> Self {
        Self::Convolution(convolution)
    }
}

impl ConvLayer {
    pub fn new(operation: impl Into<Operation>, inputs: &[usize]) -> Self {
        Self {
            operation: operation.into(),
            inputs: inputs.to_vec(),
        }
    }
}

impl Operation {
    pub fn layer_type(&self) -> LayerType {
        match self {
            Self::Convolution(_) => LayerType::Conv,
            Self::MaxPool(_) => LayerType::MaxPool,
            Self::AveragePool(_) => LayerType::AvgPool,
            Self::LocalContrast { .. } => LayerType::Lcn,
            Self::BatchNorm => LayerType::BatchNorm,
            Self::PlainConvolution(_) => LayerType::PlainConv,
            Self::Relu => LayerType::Relu,
            Self::Add => LayerType::Add,
        }
    }

    /// Shape of the input, given those of what it reads: as large as the largest, and as deep as all
    /// of them together; of a sum, as the deepest.
    pub fn input(&self, shapes: impl Iterator<Item = ImageShape>) -> ImageShape {
        let none = ImageShape {
            channels: 0,
            height: 0,
            width: 0,
        };
        shapes.fold(none, |all, next| ImageShape {
            channels: match self {
                Self::Add => all.channels.max(next.channels),
                _ => all.channels + next.channels,
            },
            height: all.height.max(next.height),
            width: all.width.max(next.width),
        })
    }

    /// Shape of the output, given that of the input.
    pub fn output(&self, input: ImageShape) -> ImageShape {
        let (channels, stride_height, stride_width) = match self {
            Self::Convolution(conv) | Self::PlainConvolution(conv) => {
                (conv.filters, conv.stride_height, conv.stride_width)
            }
            Self::MaxPool(pool) | Self::AveragePool(pool) => {
                (input.channels, pool.stride, pool.stride)
            }
            Self::LocalContrast { .. } | Self::BatchNorm | Self::Relu | Self::Add => {
                (input.channels, 1, 1)
            }
        };
        ImageShape {
            channels,
            height: input.height.div_ceil(stride_height),
            width: input.width.div_ceil(stride_width),
        }
    }

    /// Trainable parameters: a convolution's weights, batch normalisation's scale and shift.
    pub fn parameters(&self, input: ImageShape) -> u64 {
        let weights = |conv: &Convolution| {
            conv.filter_height * conv.filter_width * input.channels * conv.filters
        };
        let count = match self {
            Self::Convolution(conv) => weights(conv) + 2 * conv.filters,
            Self::PlainConvolution(conv) => weights(conv),
            Self::BatchNorm => 2 * input.channels,
            Self::MaxPool(_)
            | Self::AveragePool(_)
            | Self::LocalContrast { .. }
            | Self::Relu
            | Self::Add => 0,
        };
        count as u64
    }

    /// Floating-point operations of one image's forward pass: 2 for each multiply-accumulate of a
    /// convolution (taps on the padding counted). Normalisation, ReLU, pooling and sums are not
    /// counted, as is usual.
    pub fn flops(&self, input: ImageShape) -> u64 {
        let (Self::Convolution(conv) | Self::PlainConvolution(conv)) = self else {
            return 0;
        };
        let output = self.output(input);
        2 * (conv.filter_height * conv.filter_width * input.channels) as u64
            * (output.channels * output.height * output.width) as u64
    }

    /// The same with this many more filters; only convolutions have filters.
    pub(super) fn widened(self, more: usize) -> Self {
        let wider = |conv: Convolution| Convolution {
            filters: conv.filters + more,
            ..conv
        };
        match self {
            Self::Convolution(conv) => Self::Convolution(wider(conv)),
            Self::PlainConvolution(conv) => Self::PlainConvolution(wider(conv)),
            other => other,
        }
    }
}

/// The operation in a few characters: `3×5·24/2`, `max 2/2`, `avg 3`, `lcn 9`, `bn`, `plain
/// 3×5·24`, `relu`, `add`; a stride of 1 is left out.
impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let stride = |height: usize, width: usize| match (height, width) {
            (1, 1) => String::new(),
            (height, width) if height == width => format!("/{height}"),
            (height, width) => format!("/{height}×{width}"),
        };
        let sizes = |conv: &Convolution| {
            let stride = stride(conv.stride_height, conv.stride_width);
            format!(
                "{}×{}·{}{stride}",
                conv.filter_height, conv.filter_width, conv.filters
            )
        };
        match self {
            Self::Convolution(conv) => f.write_str(&sizes(conv)),
            Self::MaxPool(pool) => {
                write!(f, "max {}{}", pool.size, stride(pool.stride, pool.stride))
            }
            Self::AveragePool(pool) => {
                write!(f, "avg {}{}", pool.size, stride(pool.stride, pool.stride))
            }
            Self::LocalContrast { window } => write!(f, "lcn {window}"),
            Self::BatchNorm => f.write_str("bn"),
            Self::PlainConvolution(conv) => write!(f, "plain {}", sizes(conv)),
            Self::Relu => f.write_str("relu"),
            Self::Add => f.write_str("add"),
        }
    }
}

/// A layer in JSON. Without `type` it is a convolution, as all layers were before there were types.
#[derive(Serialize, Deserialize)]
struct LayerJson {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    layer_type: Option<LayerType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_height: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride_height: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride_width: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    inputs: Vec<usize>,
}

impl From<ConvLayer> for LayerJson {
    fn from(ConvLayer { operation, inputs }: ConvLayer) -> Self {
        let layer_type =
            Some(operation.layer_type()).filter(|layer_type| *layer_type != LayerType::Conv);
        let mut conv = None;
        let mut pool = None;
        let mut window = None;
        match operation {
            Operation::Convolution(sizes) | Operation::PlainConvolution(sizes) => {
                conv = Some(sizes);
            }
            Operation::MaxPool(sizes) | Operation::AveragePool(sizes) => pool = Some(sizes),
            Operation::LocalContrast { window: side } => window = Some(side),
            Operation::BatchNorm | Operation::Relu | Operation::Add => {}
        }
        Self {
            layer_type,
            filter_height: conv.map(|conv| conv.filter_height),
            filter_width: conv.map(|conv| conv.filter_width),
            filters: conv.map(|conv| conv.filters),
            stride_height: conv.map(|conv| conv.stride_height),
            stride_width: conv.map(|conv| conv.stride_width),
            size: pool.map(|pool| pool.size),
            stride: pool.map(|pool| pool.stride),
            window,
            inputs,
        }
    }
}

impl TryFrom<LayerJson> for ConvLayer {
    type Error = String;

    fn try_from(json: LayerJson) -> Result<Self, String> {
        let layer_type = json.layer_type.unwrap_or(LayerType::Conv);
        let fields = [
            ("filter_height", json.filter_height),
            ("filter_width", json.filter_width),
            ("filters", json.filters),
            ("stride_height", json.stride_height),
            ("stride_width", json.stride_width),
            ("size", json.size),
            ("stride", json.stride),
            ("window", json.window),
        ];
        let wanted: &[&str] = match layer_type {
            LayerType::Conv | LayerType::PlainConv => &[
                "filter_height",
                "filter_width",
                "filters",
                "stride_height",
                "stride_width",
            ],
            LayerType::MaxPool | LayerType::AvgPool => &["size", "stride"],
            LayerType::Lcn => &["window"],
            LayerType::BatchNorm | LayerType::Relu | LayerType::Add => &[],
        };
        if let Some((name, _)) = fields
            .iter()
            .find(|(name, value)| value.is_some() && !wanted.contains(name))
        {
            return Err(format!(
                "a layer of type {} has no {name}",
                layer_type.name()
            ));
        }
        let value = |name: &str| {
            let value = fields
                .iter()
                .find(|(field, _)| *field == name)
                .and_then(|(_, value)| *value);
            value.ok_or_else(|| format!("a layer of type {} needs {name}", layer_type.name()))
        };
        let pool = || {
            Ok::<_, String>(Pool {
                size: value("size")?,
                stride: value("stride")?,
            })
        };
        let convolution = || {
            Ok::<_, String>(Convolution {
                filter_height: value("filter_height")?,
                filter_width: value("filter_width")?,
                filters: value("filters")?,
                stride_height: value("stride_height")?,
                stride_width: value("stride_width")?,
            })
        };
        let operation = match layer_type {
            LayerType::Conv => Operation::Convolution(convolution()?),
            LayerType::PlainConv => Operation::PlainConvolution(convolution()?),
            LayerType::MaxPool => Operation::MaxPool(pool()?),
            LayerType::AvgPool => Operation::AveragePool(pool()?),
            LayerType::Lcn => Operation::LocalContrast {
                window: value("window")?,
            },
            LayerType::BatchNorm => Operation::BatchNorm,
            LayerType::Relu => Operation::Relu,
            LayerType::Add => Operation::Add,
        };
        Ok(Self {
            operation,
            inputs: json.inputs,
        })
    }
}
