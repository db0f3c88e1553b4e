//! What a convolutional network looks like, and the plan derived from it: every size, offset and
//! padding, checked once. Knows nothing of how the arithmetic is done.

use super::norm::EPSILON;
use crate::kernels::memory::LANES;
use crate::kernels::{KernelError, ParameterSlot};

/// One layer: what it does to the concatenation of its inputs along depth (`Add`: to their sum).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    pub operation: OperationSpec,
    /// What it reads, ascending: 0 is the image, i is layer i (layers count from 1).
    pub inputs: Vec<usize>,
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationSpec {
    /// Convolution without bias, batch normalisation, ReLU.
    Convolution {
        filter_height: usize,
        filter_width: usize,
        /// Output channels.
        filters: usize,
        stride_height: usize,
        stride_width: usize,
    },
    /// See `Pooling`.
    MaxPooling {
        size: usize,
        stride: usize,
    },
    AveragePooling {
        size: usize,
        stride: usize,
    },
    /// See `LocalContrast`.
    LocalContrast {
        window: usize,
    },
    /// Batch normalisation with scale and shift, no ReLU.
    BatchNorm,
    /// Convolution without bias, and nothing behind it; sizes as of `Convolution`.
    PlainConvolution {
        filter_height: usize,
        filter_width: usize,
        filters: usize,
        stride_height: usize,
        stride_width: usize,
    },
    /// max(0, x).
    Relu,
    /// The sum of the inputs, then ReLU. What an input lacks in channels (the last ones), rows or
    /// columns (at the bottom and the right) counts as zero.
    Add,
}

impl OperationSpec {
    /// The sizes as if of a convolution: a window, strides, and how many channels go out. So output
    /// shapes have one rule.
    pub fn geometry(self, (channels, height, width): (usize, usize, usize)) -> Geometry {
        let (filter_height, filter_width, filters, stride_height, stride_width) = match self {
            Self::Convolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            }
            | Self::PlainConvolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            } => (
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            ),
            Self::MaxPooling { size, stride } | Self::AveragePooling { size, stride } => {
                (size, size, channels, stride, stride)
            }
            Self::LocalContrast { window } => (window, window, channels, 1, 1),
            Self::BatchNorm | Self::Relu | Self::Add => (1, 1, channels, 1, 1),
        };
        Geometry {
            channels,
            height,
            width,
            filters,
            filter_height,
            filter_width,
            stride_height,
            stride_width,
        }
    }

    /// Whether it has batch normalisation's parameters and statistics.
    pub fn normalises(self) -> bool {
        matches!(self, Self::Convolution { .. } | Self::BatchNorm)
    }

    /// Whether it has filters.
    pub fn convolves(self) -> bool {
        matches!(
            self,
            Self::Convolution { .. } | Self::PlainConvolution { .. }
        )
    }

    /// Whether a ReLU is the last thing that it does.
    fn rectifies(self) -> bool {
        matches!(self, Self::Convolution { .. } | Self::Relu | Self::Add)
    }

    /// Channels of its input, from those of what it reads: concatenated, or added.
    pub fn input_channels(self, channels: impl Iterator<Item = usize>) -> usize {
        if self == Self::Add {
            channels.max().unwrap_or(0)
        } else {
            channels.sum()
        }
    }
}

/// A convolutional network: layers, then global average pooling of the concatenated outputs and a
/// linear classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// Of the image.
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// At most 256: labels are bytes.
    pub classes: usize,
    /// Added to a variance before its root, in every batch normalisation.
    pub batch_norm_epsilon: f64,
    pub layers: Vec<LayerSpec>,
    /// Which outputs the classifier reads, ascending; numbered as `LayerSpec::inputs`.
    pub output: Vec<usize>,
}

/// One source of a layer's concatenated or added input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// 0 is the image, i is layer i.
    pub source: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    /// Its first channel in the concatenation; 0 in a sum.
    pub first: usize,
}

/// A layer with all its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPlan {
    pub operation: OperationSpec,
    pub geometry: Geometry,
    pub parts: Vec<Part>,
    /// All its numbers in the packed parameters.
    pub parameters: std::ops::Range<usize>,
    /// Offsets into the packed parameters, for an operation that has them.
    pub weight: usize,
    pub scale: usize,
    pub shift: usize,
    /// Offsets into the packed running statistics, likewise.
    pub mean: usize,
    pub variance: usize,
    /// Whether those who read what it computes normalise it by its scale, shift and statistics.
    pub normalises: bool,
    /// Whether they put a ReLU behind that.
    pub rectifies: bool,
    /// Another layer does this one's work (see `Plan::fused`); nothing reads it.
    pub absorbed: bool,
}

/// Sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub filters: usize,
    pub filter_height: usize,
    pub filter_width: usize,
    pub stride_height: usize,
    pub stride_width: usize,
}

impl Geometry {
    /// Refuses sizes of 0 and sizes whose products overflow; `n` images at once.
    pub fn check(&self, n: usize) -> Result<(), KernelError> {
        let operation = OperationSpec::Convolution {
            filter_height: self.filter_height,
            filter_width: self.filter_width,
            filters: self.filters,
            stride_height: self.stride_height,
            stride_width: self.stride_width,
        };
        let layer = LayerSpec {
            operation,
            inputs: vec![0],
        };
        let channels = self.channels;
        let height = self.height;
        let width = self.width;
        let spec = NetworkSpec {
            channels,
            height,
            width,
            classes: 1,
            batch_norm_epsilon: EPSILON,
            layers: vec![layer],
            output: vec![1],
        };
        Plan::new(&spec, n).map(|_| ())
    }

    /// Rows of the output: ceil(height / stride).
    pub fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride_height)
    }

    /// Columns of the output: ceil(width / stride).
    pub fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride_width)
    }

    /// Rows of zeros above the input.
    pub fn pad_height(&self) -> usize {
        (self.filter_height - 1) / 2
    }

    /// Columns of zeros left of the input.
    pub fn pad_width(&self) -> usize {
        (self.filter_width - 1) / 2
    }

    /// Numbers in one filter's weights: channels · filter height · filter width.
    pub fn taps(&self) -> usize {
        self.channels * self.filter_height * self.filter_width
    }
}

/// A network with all its sizes and offsets.
#[derive(Clone, Debug)]
pub struct Plan {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub classes: usize,
    /// As in the specification.
    pub batch_norm_epsilon: f64,
    pub layers: Vec<LayerPlan>,
    /// The classifier's concatenated input.
    pub head: Vec<Part>,
    /// Height and width that the classifier's inputs are padded to.
    pub head_height: usize,
    pub head_width: usize,
    pub head_channels: usize,
    pub classifier_weight: usize,
    pub classifier_bias: usize,
    pub parameters: Vec<ParameterSlot>,
    pub parameter_count: usize,
    pub running: Vec<ParameterSlot>,
    pub running_count: usize,
}

impl Plan {
    /// Checks `spec` and works out every size; `batch` is the largest number of images at once.
    pub fn new(spec: &NetworkSpec, batch: usize) -> Result<Self, KernelError> {
        check_positive(spec, batch)?;
        let mut shapes = vec![(spec.channels, spec.height, spec.width)];
        let mut parameters = Slots::default();
        let mut running = Slots::default();
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (index, layer) in spec.layers.iter().enumerate() {
            let name = format!("layer {}", index + 1);
            let (mut parts, height, width) = concatenation(&name, &layer.inputs, &shapes, index)?;
            if layer.operation == OperationSpec::Add {
                parts.iter_mut().for_each(|part| part.first = 0);
            }
            let plan = plan_layer(
                index + 1,
                layer,
                parts,
                (height, width),
                &mut parameters,
                &mut running,
            )?;
            let g = &plan.geometry;
            check_size(
                &name,
                &[
                    batch.next_multiple_of(LANES),
                    g.channels.max(g.filters),
                    height,
                    width,
                ],
            )?;
            // A packed row block is padded by the filter and may be strided over.
            let across =
                |n: usize, k: usize, s: usize| n.checked_add(k).and_then(|n| n.checked_add(s));
            let rows =
                across(height, g.filter_height, g.stride_height).ok_or_else(|| too_large(&name))?;
            let columns =
                across(width, g.filter_width, g.stride_width).ok_or_else(|| too_large(&name))?;
            check_size(&name, &[LANES, g.channels.max(g.filters), rows, columns])?;
            shapes.push((g.filters, g.out_height(), g.out_width()));
            layers.push(plan);
        }
        let (head, head_height, head_width) =
            concatenation("the output", &spec.output, &shapes, spec.layers.len())?;
        let head_channels = head.iter().map(|p| p.channels).sum();
        let classifier_weight = parameters.add(
            "classifier.weight".to_owned(),
            vec![spec.classes, head_channels],
        )?;
        let classifier_bias = parameters.add("classifier.bias".to_owned(), vec![spec.classes])?;
        Ok(Self {
            channels: spec.channels,
            height: spec.height,
            width: spec.width,
            classes: spec.classes,
            batch_norm_epsilon: spec.batch_norm_epsilon,
            layers,
            head,
            head_height,
            head_width,
            head_channels,
            classifier_weight,
            classifier_bias,
            parameters: parameters.slots,
            parameter_count: parameters.count,
            running: running.slots,
            running_count: running.count,
        })
    }

    /// The same numbers with fewer tensors: the batch normalisation of a plain convolution's output,
    /// and the ReLU of a plain convolution's or a batch normalisation's, are applied where that
    /// output is read, if nothing else reads it. Parameters keep their places.
    pub fn fused(mut self) -> Self {
        let mut readers = vec![0; self.layers.len() + 1];
        let parts = self.layers.iter().flat_map(|layer| &layer.parts);
        parts
            .chain(&self.head)
            .for_each(|part| readers[part.source] += 1);
        // The layer that computes each: itself, or the one that absorbs it.
        let mut computed_by: Vec<usize> = (0..=self.layers.len()).collect();
        for index in 0..self.layers.len() {
            let (before, rest) = self.layers.split_at_mut(index);
            let layer = &mut rest[0];
            let only_input = match layer.parts.as_slice() {
                [part] if readers[part.source] == 1 => computed_by[part.source],
                _ => 0,
            };
            for part in &mut layer.parts {
                part.source = computed_by[part.source];
            }
            if only_input > 0 && before[only_input - 1].absorb(layer) {
                computed_by[index + 1] = only_input;
            }
        }
        for part in &mut self.head {
            part.source = computed_by[part.source];
        }
        self
    }
}

impl LayerPlan {
    /// Takes over what `next`, the only one who reads this layer, does to it, where it can.
    fn absorb(&mut self, next: &mut Self) -> bool {
        let is_plain = matches!(self.operation, OperationSpec::PlainConvolution { .. });
        let is_linear = (is_plain || self.operation == OperationSpec::BatchNorm) && !self.rectifies;
        match next.operation {
            OperationSpec::BatchNorm if is_plain && is_linear && !self.normalises => {
                self.normalises = true;
                (self.scale, self.shift) = (next.scale, next.shift);
                (self.mean, self.variance) = (next.mean, next.variance);
            }
            OperationSpec::Relu if is_linear => self.rectifies = true,
            _ => return false,
        }
        next.absorbed = true;
        next.parts.clear();
        true
    }
}

fn check_positive(spec: &NetworkSpec, batch: usize) -> Result<(), KernelError> {
    let whole = [
        ("batch", batch),
        ("channels", spec.channels),
        ("height", spec.height),
        ("width", spec.width),
        ("classes", spec.classes),
    ];
    for (name, value) in whole {
        if value == 0 {
            return Err(KernelError::Invalid(format!(
                "{name} is 0; at least 1 is needed"
            )));
        }
    }
    if spec.classes > 256 {
        return Err(KernelError::Invalid(format!(
            "{} classes: labels are bytes, at most 256 classes fit",
            spec.classes
        )));
    }
    for (index, layer) in spec.layers.iter().enumerate() {
        // One channel stands for those of the input, which are looked at in their own layers.
        let g = layer.operation.geometry((1, 1, 1));
        let sizes = [
            ("filter height", g.filter_height),
            ("filter width", g.filter_width),
            ("number of filters", g.filters),
            ("stride height", g.stride_height),
            ("stride width", g.stride_width),
        ];
        for (name, value) in sizes {
            if value == 0 {
                return Err(KernelError::Invalid(format!(
                    "layer {}: {name} is 0; at least 1 is needed",
                    index + 1
                )));
            }
        }
    }
    check_size(
        "the images",
        &[
            batch
                .checked_next_multiple_of(LANES)
                .ok_or_else(|| too_large("the images"))?,
            spec.channels,
            spec.height,
            spec.width,
        ],
    )
}

/// A size in f32 whose bytes, four times over, are still an address.
fn check_size(what: &str, sizes: &[usize]) -> Result<(), KernelError> {
    let bytes = sizes
        .iter()
        .try_fold(4 * size_of::<f32>(), |product, &n| product.checked_mul(n));
    match bytes {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(too_large(what)),
    }
}

fn too_large(what: &str) -> KernelError {
    KernelError::TooLarge(format!(
        "the sizes of {what} multiply to more bytes than an address can hold"
    ))
}

type Shape = (usize, usize, usize);

/// The parts of a concatenation and the height and width that they are padded to.
fn concatenation(
    name: &str,
    inputs: &[usize],
    shapes: &[Shape],
    limit: usize,
) -> Result<(Vec<Part>, usize, usize), KernelError> {
    if inputs.is_empty() {
        return Err(KernelError::Invalid(format!("{name} has no inputs")));
    }
    if !inputs.is_sorted_by(|a, b| a < b) {
        return Err(KernelError::Invalid(format!(
            "the inputs {inputs:?} of {name} are not ascending"
        )));
    }
    let mut first = 0usize;
    let mut parts = Vec::with_capacity(inputs.len());
    for &source in inputs {
        if source > limit {
            return Err(KernelError::Invalid(format!(
                "{name} reads {source}, which comes after it; at most {limit} is possible"
            )));
        }
        let (channels, height, width) = shapes[source];
        parts.push(Part {
            source,
            channels,
            height,
            width,
            first,
        });
        first = first.checked_add(channels).ok_or_else(|| too_large(name))?;
    }
    let height = parts.iter().map(|p| p.height).max().unwrap_or(1);
    let width = parts.iter().map(|p| p.width).max().unwrap_or(1);
    Ok((parts, height, width))
}

fn plan_layer(
    number: usize,
    layer: &LayerSpec,
    parts: Vec<Part>,
    (height, width): (usize, usize),
    parameters: &mut Slots,
    running: &mut Slots,
) -> Result<LayerPlan, KernelError> {
    let channels = layer
        .operation
        .input_channels(parts.iter().map(|p| p.channels));
    let geometry = layer.operation.geometry((channels, height, width));
    let Geometry {
        filters,
        filter_height,
        filter_width,
        ..
    } = geometry;
    let mut plan = LayerPlan {
        operation: layer.operation,
        geometry,
        parts,
        parameters: parameters.count..parameters.count,
        weight: parameters.count,
        scale: parameters.count,
        shift: parameters.count,
        mean: running.count,
        variance: running.count,
        normalises: layer.operation.normalises(),
        rectifies: layer.operation.rectifies(),
        absorbed: false,
    };
    if layer.operation.convolves() {
        plan.weight = parameters.add(
            format!("layer{number}.weight"),
            vec![filters, channels, filter_height, filter_width],
        )?;
    }
    if layer.operation.normalises() {
        plan.scale = parameters.add(format!("layer{number}.scale"), vec![filters])?;
        plan.shift = parameters.add(format!("layer{number}.shift"), vec![filters])?;
        plan.mean = running.add(format!("layer{number}.running_mean"), vec![filters])?;
        plan.variance = running.add(format!("layer{number}.running_variance"), vec![filters])?;
    }
    plan.parameters.end = parameters.count;
    Ok(plan)
}

/// Slots of a packed vector, one after the other.
#[derive(Default)]
struct Slots {
    slots: Vec<ParameterSlot>,
    count: usize,
}

impl Slots {
    fn add(&mut self, name: String, shape: Vec<usize>) -> Result<usize, KernelError> {
        check_size(&name, &shape)?;
        let offset = self.count;
        self.count = offset
            .checked_add(shape.iter().product())
            .ok_or_else(|| too_large(&name))?;
        self.slots.push(ParameterSlot {
            name,
            shape,
            offset,
        });
        Ok(offset)
    }
}
