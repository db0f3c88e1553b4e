//! A convolutional network by its definition, in f64 and plain loops: what both engines must equal.
//! Slow.

use crate::kernels::{NetworkSpec, OperationSpec};

/// `[channels, height, width]` of one image.
#[derive(Clone)]
struct Map {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f64>,
}

impl Map {
    fn zeros(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
            values: vec![0.0; channels * height * width],
        }
    }

    /// Zero outside of the image.
    fn at(&self, channel: usize, row: isize, column: isize) -> f64 {
        let inside =
            (0..self.height as isize).contains(&row) && (0..self.width as isize).contains(&column);
        if inside {
            self.values[(channel * self.height + row as usize) * self.width + column as usize]
        } else {
            0.0
        }
    }
}

/// Takes the next parameters off the packed vector.
struct Unpacking<'a>(&'a [f64]);

impl<'a> Unpacking<'a> {
    fn take(&mut self, count: usize) -> &'a [f64] {
        let (head, tail) = self.0.split_at(count);
        self.0 = tail;
        head
    }
}

/// Mean cross-entropy of a batch in training mode; of its targets the share `smoothing` is spread
/// over all classes. Layout: each layer's weight, scale, shift; classifier's weight, bias.
pub fn loss(
    spec: &NetworkSpec,
    parameters: &[f64],
    images: &[f32],
    labels: &[u8],
    smoothing: f64,
) -> f64 {
    let mut parameters = Unpacking(parameters);
    let pixels = spec.channels * spec.height * spec.width;
    let image = |values: &[f32]| Map {
        values: values.iter().map(|&value| f64::from(value)).collect(),
        ..Map::zeros(spec.channels, spec.height, spec.width)
    };
    let mut outputs: Vec<Vec<Map>> = vec![images.chunks_exact(pixels).map(image).collect()];
    for layer in &spec.layers {
        let inputs: Vec<Map> = (0..labels.len())
            .map(|index| {
                if layer.operation == OperationSpec::Add {
                    add(&outputs, &layer.inputs, index)
                } else {
                    concatenate(&outputs, &layer.inputs, index)
                }
            })
            .collect();
        let channels = inputs[0].channels;
        let batch = match layer.operation {
            OperationSpec::Convolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            }
            | OperationSpec::PlainConvolution {
                filter_height,
                filter_width,
                filters,
                stride_height,
                stride_width,
            } => {
                let sizes = Sizes {
                    filter: (filter_height, filter_width),
                    stride: (stride_height, stride_width),
                    filters,
                };
                let weight = parameters.take(filters * channels * filter_height * filter_width);
                let mut batch: Vec<Map> = inputs
                    .iter()
                    .map(|input| convolve(input, weight, &sizes))
                    .collect();
                if layer.operation.normalises() {
                    normalise(
                        &mut batch,
                        spec.batch_norm_epsilon,
                        parameters.take(filters),
                        parameters.take(filters),
                    );
                    rectify(&mut batch);
                }
                batch
            }
            OperationSpec::Relu | OperationSpec::Add => {
                let mut batch = inputs;
                rectify(&mut batch);
                batch
            }
            OperationSpec::BatchNorm => {
                let mut batch = inputs;
                normalise(
                    &mut batch,
                    spec.batch_norm_epsilon,
                    parameters.take(channels),
                    parameters.take(channels),
                );
                batch
            }
            OperationSpec::MaxPooling { size, stride } => inputs
                .iter()
                .map(|input| {
                    pool(input, size, stride, |values| {
                        values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
                    })
                })
                .collect(),
            OperationSpec::AveragePooling { size, stride } => inputs
                .iter()
                .map(|input| {
                    pool(input, size, stride, |values| {
                        values.iter().sum::<f64>() / values.len() as f64
                    })
                })
                .collect(),
            OperationSpec::LocalContrast { window } => inputs
                .iter()
                .map(|input| local_contrast(input, window))
                .collect(),
        };
        outputs.push(batch);
    }
    let features: Vec<Map> = (0..labels.len())
        .map(|index| concatenate(&outputs, &spec.output, index))
        .collect();
    let weight = parameters.take(spec.classes * features[0].channels);
    let bias = parameters.take(spec.classes);
    assert!(parameters.0.is_empty(), "parameters left over");
    let losses = features
        .iter()
        .zip(labels)
        .map(|(map, &label)| cross_entropy(map, weight, bias, usize::from(label), smoothing));
    losses.sum::<f64>() / labels.len() as f64
}

fn rectify(batch: &mut [Map]) {
    batch
        .iter_mut()
        .flat_map(|map| &mut map.values)
        .for_each(|value| *value = value.max(0.0));
}

/// Pixel by pixel; what is outside of a map, or behind its channels, is zero.
fn add(outputs: &[Vec<Map>], inputs: &[usize], index: usize) -> Map {
    let maps: Vec<&Map> = inputs.iter().map(|&input| &outputs[input][index]).collect();
    let largest = |of: fn(&Map) -> usize| maps.iter().map(|map| of(map)).max().unwrap();
    let mut sum = Map::zeros(
        largest(|map| map.channels),
        largest(|map| map.height),
        largest(|map| map.width),
    );
    let (height, width) = (sum.height, sum.width);
    for (place, value) in sum.values.iter_mut().enumerate() {
        let (channel, row, column) = (
            place / (height * width),
            place / width % height,
            place % width,
        );
        let deep = maps.iter().filter(|map| channel < map.channels);
        *value = deep
            .map(|map| map.at(channel, row as isize, column as isize))
            .sum();
    }
    sum
}

fn concatenate(outputs: &[Vec<Map>], inputs: &[usize], index: usize) -> Map {
    let maps: Vec<&Map> = inputs.iter().map(|&input| &outputs[input][index]).collect();
    let height = maps.iter().map(|map| map.height).max().unwrap();
    let width = maps.iter().map(|map| map.width).max().unwrap();
    let mut joined = Map::zeros(maps.iter().map(|map| map.channels).sum(), height, width);
    let mut values = Vec::new();
    for map in maps {
        for channel in 0..map.channels {
            for row in 0..height {
                values.extend(
                    (0..width).map(|column| map.at(channel, row as isize, column as isize)),
                );
            }
        }
    }
    joined.values = values;
    joined
}

/// Sizes of a convolution.
struct Sizes {
    filter: (usize, usize),
    stride: (usize, usize),
    filters: usize,
}

fn convolve(input: &Map, weight: &[f64], layer: &Sizes) -> Map {
    let rows = input.height.div_ceil(layer.stride.0);
    let columns = input.width.div_ceil(layer.stride.1);
    let mut output = Map::zeros(layer.filters, rows, columns);
    for filter in 0..layer.filters {
        for row in 0..rows {
            for column in 0..columns {
                let top = (row * layer.stride.0) as isize - (layer.filter.0 as isize - 1) / 2;
                let left = (column * layer.stride.1) as isize - (layer.filter.1 as isize - 1) / 2;
                let mut sum = 0.0;
                for channel in 0..input.channels {
                    for y in 0..layer.filter.0 {
                        for x in 0..layer.filter.1 {
                            let tap = ((filter * input.channels + channel) * layer.filter.0 + y)
                                * layer.filter.1
                                + x;
                            sum += weight[tap]
                                * input.at(channel, top + y as isize, left + x as isize);
                        }
                    }
                }
                output.values[(filter * rows + row) * columns + column] = sum;
            }
        }
    }
    output
}

/// Batch normalisation.
fn normalise(batch: &mut [Map], epsilon: f64, scale: &[f64], shift: &[f64]) {
    let area = batch[0].height * batch[0].width;
    for (channel, (scale, shift)) in scale.iter().zip(shift).enumerate() {
        let range = channel * area..(channel + 1) * area;
        let values = || batch.iter().flat_map(|map| &map.values[range.clone()]);
        let count = (batch.len() * area) as f64;
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        for map in &mut *batch {
            for value in &mut map.values[range.clone()] {
                *value = (*value - mean) / (variance + epsilon).sqrt() * scale + shift;
            }
        }
    }
}

/// Each window's pixels within the image, made one number.
fn pool(input: &Map, size: usize, stride: usize, one: impl Fn(&[f64]) -> f64) -> Map {
    let rows = input.height.div_ceil(stride);
    let columns = input.width.div_ceil(stride);
    let mut output = Map::zeros(input.channels, rows, columns);
    for channel in 0..input.channels {
        for row in 0..rows {
            for column in 0..columns {
                let corner = |at: usize| (at * stride) as isize - (size as isize - 1) / 2;
                let mut seen = Vec::new();
                for y in (0..size as isize)
                    .map(|y| corner(row) + y)
                    .filter(|y| (0..input.height as isize).contains(y))
                {
                    for x in (0..size as isize)
                        .map(|x| corner(column) + x)
                        .filter(|x| (0..input.width as isize).contains(x))
                    {
                        seen.push(input.at(channel, y, x));
                    }
                }
                output.values[(channel * rows + row) * columns + column] = one(&seen);
            }
        }
    }
    output
}

/// Jarrett et al. 2009, equation by equation, with the window written out in two dimensions.
fn local_contrast(input: &Map, window: usize) -> Map {
    let channels = input.channels;
    let area = input.height * input.width;
    let radius = (window as isize - 1) / 2;
    // Σ w(q) f(p + q) over the pixels inside the image, where w sums to 1
    let mean = |pixel: usize, f: &dyn Fn(usize) -> f64| {
        let row = (pixel / input.width) as isize;
        let column = (pixel % input.width) as isize;
        let mut sum = 0.0;
        let mut total = 0.0;
        for y in (row - radius..=row + radius).filter(|y| (0..input.height as isize).contains(y)) {
            for x in (column - radius..=column + radius)
                .filter(|x| (0..input.width as isize).contains(x))
            {
                let squared = ((y - row).pow(2) + (x - column).pow(2)) as f64;
                let weight = (-squared / (2.0 * (window as f64 / 4.0).powi(2))).exp();
                sum += weight * f(y as usize * input.width + x as usize);
                total += weight;
            }
        }
        sum / total
    };
    let over = |values: &[f64], pixel: usize, f: fn(f64) -> f64| {
        (0..channels)
            .map(|channel| f(values[channel * area + pixel]))
            .sum::<f64>()
            / channels as f64
    };
    let means: Vec<f64> = (0..area)
        .map(|pixel| mean(pixel, &|other| over(&input.values, other, |x| x)))
        .collect();
    let v: Vec<f64> = input
        .values
        .iter()
        .enumerate()
        .map(|(index, x)| x - means[index % area])
        .collect();
    let sigma: Vec<f64> = (0..area)
        .map(|pixel| (mean(pixel, &|other| over(&v, other, |x| x * x)) + 1e-5).sqrt())
        .collect();
    let c = sigma.iter().sum::<f64>() / area as f64;
    let values = v
        .iter()
        .enumerate()
        .map(|(index, v)| v / sigma[index % area].max(c))
        .collect();
    Map { values, ..*input }
}

fn cross_entropy(
    features: &Map,
    weight: &[f64],
    bias: &[f64],
    label: usize,
    smoothing: f64,
) -> f64 {
    let area = features.height * features.width;
    let pooled: Vec<f64> = features
        .values
        .chunks_exact(area)
        .map(|values| values.iter().sum::<f64>() / area as f64)
        .collect();
    let logits: Vec<f64> = weight
        .chunks_exact(pooled.len())
        .zip(bias)
        .map(|(row, bias)| bias + row.iter().zip(&pooled).map(|(w, x)| w * x).sum::<f64>())
        .collect();
    let normaliser = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    let mean = logits.iter().sum::<f64>() / logits.len() as f64;
    (1.0 - smoothing) * (normaliser - logits[label]) + smoothing * (normaliser - mean)
}
