//! A convolutional network by its definition, in f64 and plain loops: what both engines must equal. Slow.

use crate::kernels::{LayerSpec, NetworkSpec};

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
        Self { channels, height, width, values: vec![0.0; channels * height * width] }
    }

    /// Zero outside of the image.
    fn at(&self, channel: usize, row: isize, column: isize) -> f64 {
        let inside = (0..self.height as isize).contains(&row) && (0..self.width as isize).contains(&column);
        if inside { self.values[(channel * self.height + row as usize) * self.width + column as usize] } else { 0.0 }
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

/// Mean cross-entropy of a batch in training mode. Layout: each layer's weight, scale, shift; classifier's weight, bias.
pub fn loss(spec: &NetworkSpec, parameters: &[f64], images: &[f32], labels: &[u8]) -> f64 {
    let mut parameters = Unpacking(parameters);
    let pixels = spec.channels * spec.height * spec.width;
    let image = |values: &[f32]| Map {
        values: values.iter().map(|&value| f64::from(value)).collect(),
        ..Map::zeros(spec.channels, spec.height, spec.width)
    };
    let mut outputs: Vec<Vec<Map>> = vec![images.chunks_exact(pixels).map(image).collect()];
    for layer in &spec.layers {
        let inputs: Vec<Map> = (0..labels.len()).map(|index| concatenate(&outputs, &layer.inputs, index)).collect();
        let weight = parameters.take(layer.filters * inputs[0].channels * layer.filter_height * layer.filter_width);
        let mut batch: Vec<Map> = inputs.iter().map(|input| convolve(input, weight, layer)).collect();
        normalise_and_cut(&mut batch, parameters.take(layer.filters), parameters.take(layer.filters));
        outputs.push(batch);
    }
    let features: Vec<Map> = (0..labels.len()).map(|index| concatenate(&outputs, &spec.output, index)).collect();
    let weight = parameters.take(spec.classes * features[0].channels);
    let bias = parameters.take(spec.classes);
    assert!(parameters.0.is_empty(), "parameters left over");
    let losses = features.iter().zip(labels).map(|(map, &label)| cross_entropy(map, weight, bias, usize::from(label)));
    losses.sum::<f64>() / labels.len() as f64
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
                values.extend((0..width).map(|column| map.at(channel, row as isize, column as isize)));
            }
        }
    }
    joined.values = values;
    joined
}

fn convolve(input: &Map, weight: &[f64], layer: &LayerSpec) -> Map {
    let (rows, columns) = (input.height.div_ceil(layer.stride_height), input.width.div_ceil(layer.stride_width));
    let mut output = Map::zeros(layer.filters, rows, columns);
    for filter in 0..layer.filters {
        for row in 0..rows {
            for column in 0..columns {
                let top = (row * layer.stride_height) as isize - (layer.filter_height as isize - 1) / 2;
                let left = (column * layer.stride_width) as isize - (layer.filter_width as isize - 1) / 2;
                let mut sum = 0.0;
                for channel in 0..input.channels {
                    for y in 0..layer.filter_height {
                        for x in 0..layer.filter_width {
                            let tap = ((filter * input.channels + channel) * layer.filter_height + y) * layer.filter_width + x;
                            sum += weight[tap] * input.at(channel, top + y as isize, left + x as isize);
                        }
                    }
                }
                output.values[(filter * rows + row) * columns + column] = sum;
            }
        }
    }
    output
}

/// Batch normalisation, then ReLU.
fn normalise_and_cut(batch: &mut [Map], scale: &[f64], shift: &[f64]) {
    let area = batch[0].height * batch[0].width;
    for (channel, (scale, shift)) in scale.iter().zip(shift).enumerate() {
        let range = channel * area..(channel + 1) * area;
        let values = || batch.iter().flat_map(|map| &map.values[range.clone()]);
        let count = (batch.len() * area) as f64;
        let mean = values().sum::<f64>() / count;
        let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        for map in &mut *batch {
            for value in &mut map.values[range.clone()] {
                *value = ((*value - mean) / (variance + 1e-5).sqrt() * scale + shift).max(0.0);
            }
        }
    }
}

fn cross_entropy(features: &Map, weight: &[f64], bias: &[f64], label: usize) -> f64 {
    let area = features.height * features.width;
    let pooled: Vec<f64> = features.values.chunks_exact(area).map(|values| values.iter().sum::<f64>() / area as f64).collect();
    let logits: Vec<f64> = weight
        .chunks_exact(pooled.len())
        .zip(bias)
        .map(|(row, bias)| bias + row.iter().zip(&pooled).map(|(w, x)| w * x).sum::<f64>())
        .collect();
    logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label]
}
