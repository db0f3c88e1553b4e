//! Every operation once more, naively and in f64: what the kernels are compared with.
//! Written for the eye, not for speed; shares nothing with the kernels but the plan of sizes. Each
//! takes a `Rounding`, so that a comparison knows how far f32 moves a result.

use crate::kernels::convnet::spec::{Geometry, LayerPlan, Part, Plan};
use crate::kernels::testing::{Rounding, Sums};

/// Convolution: `x` [n, channels, height, width], `w` [filters, channels, fh, fw] → [n, filters,
/// out height, out width].
pub fn convolution(
    g: &Geometry,
    n: usize,
    x: &[f64],
    w: &[f64],
    rounding: &mut Rounding,
) -> Vec<f64> {
    let mut y = Sums::new(n * g.filters * g.out_height() * g.out_width());
    each_product(g, n, |iy, ix, iw| y.add(iy, x[ix] * w[iw]));
    y.rounded(rounding)
}

/// Gradient of `convolution` with respect to `x`, given that with respect to its output.
pub fn convolution_input_gradient(
    g: &Geometry,
    n: usize,
    dy: &[f64],
    w: &[f64],
    rounding: &mut Rounding,
) -> Vec<f64> {
    let mut dx = Sums::new(n * g.channels * g.height * g.width);
    each_product(g, n, |iy, ix, iw| dx.add(ix, dy[iy] * w[iw]));
    dx.rounded(rounding)
}

/// Gradient of `convolution` with respect to `w`.
pub fn convolution_weight_gradient(
    g: &Geometry,
    n: usize,
    x: &[f64],
    dy: &[f64],
    rounding: &mut Rounding,
) -> Vec<f64> {
    let mut dw = Sums::new(g.filters * g.taps());
    each_product(g, n, |iy, ix, iw| dw.add(iw, dy[iy] * x[ix]));
    dw.rounded(rounding)
}

/// Every (output, input, weight) index triple that a convolution multiplies.
fn each_product(g: &Geometry, n: usize, mut f: impl FnMut(usize, usize, usize)) {
    for image in 0..n {
        for filter in 0..g.filters {
            for oy in 0..g.out_height() {
                for ox in 0..g.out_width() {
                    let iy =
                        ((image * g.filters + filter) * g.out_height() + oy) * g.out_width() + ox;
                    each_tap(g, oy, ox, |channel, y, x, tap| {
                        f(
                            iy,
                            ((image * g.channels + channel) * g.height + y) * g.width + x,
                            filter * g.taps() + tap,
                        );
                    });
                }
            }
        }
    }
}

fn each_tap(g: &Geometry, oy: usize, ox: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
    for channel in 0..g.channels {
        for ky in 0..g.filter_height {
            for kx in 0..g.filter_width {
                let y = oy * g.stride_height + ky;
                let x = ox * g.stride_width + kx;
                if y < g.pad_height()
                    || x < g.pad_width()
                    || y - g.pad_height() >= g.height
                    || x - g.pad_width() >= g.width
                {
                    continue;
                }
                f(
                    channel,
                    y - g.pad_height(),
                    x - g.pad_width(),
                    (channel * g.filter_height + ky) * g.filter_width + kx,
                );
            }
        }
    }
}

/// What batch normalisation and ReLU save for the backward pass.
pub struct Normed {
    pub activation: Vec<f64>,
    /// Before the ReLU.
    pub linear: Vec<f64>,
    pub normalised: Vec<f64>,
    pub mean: Vec<f64>,
    /// Biased.
    pub variance: Vec<f64>,
}

/// Batch normalisation with batch statistics (eps 1e-5), then ReLU. `y` [n, channels, area].
pub fn norm_relu(
    n: usize,
    area: usize,
    y: &[f64],
    scale: &[f64],
    shift: &[f64],
    rounding: &mut Rounding,
) -> Normed {
    let channels = scale.len();
    let count = (n * area) as f64;
    let mut mean = Sums::new(channels);
    let mut variance = Sums::new(channels);
    each_pixel(n, channels, area, |c, i| mean.add(c, y[i] / count));
    let mean = mean.rounded(rounding);
    each_pixel(n, channels, area, |c, i| {
        variance.add(c, (y[i] - mean[c]).powi(2) / count);
    });
    let variance = variance.rounded(rounding);
    let [mut normalised, mut linear] = [(); 2].map(|()| vec![0.0; y.len()]);
    each_pixel(n, channels, area, |c, i| {
        let inverse = 1.0 / (variance[c] + 1e-5).sqrt();
        let centred = y[i] - mean[c];
        let size = y[i].abs() + mean[c].abs();
        // One value alone is its own mean, and their difference is exact.
        let size = if count > 1.0 { size } else { 0.0 };
        normalised[i] = rounding.of(centred * inverse, size * inverse);
        let product = normalised[i] * scale[c];
        linear[i] = rounding.of(product + shift[c], product.abs() + shift[c].abs());
    });
    Normed {
        activation: linear.iter().map(|value| value.max(0.0)).collect(),
        linear,
        normalised,
        mean,
        variance,
    }
}

/// Gradients of `norm_relu` with respect to `y`, scale and shift.
pub fn norm_relu_gradient(
    n: usize,
    area: usize,
    normed: &Normed,
    scale: &[f64],
    da: &[f64],
    rounding: &mut Rounding,
) -> [Vec<f64>; 3] {
    norm_gradient(
        n,
        area,
        normed,
        scale,
        &passed(&normed.linear, da),
        rounding,
    )
}

/// What a ReLU lets pass of the gradient `da` behind it.
fn passed(linear: &[f64], da: &[f64]) -> Vec<f64> {
    let pairs = linear.iter().zip(da);
    pairs
        .map(|(&linear, &da)| if linear > 0.0 { da } else { 0.0 })
        .collect()
}

/// The same without the ReLU: `gradient` is that with respect to the normalised numbers.
fn norm_gradient(
    n: usize,
    area: usize,
    normed: &Normed,
    scale: &[f64],
    gradient: &[f64],
    rounding: &mut Rounding,
) -> [Vec<f64>; 3] {
    let channels = scale.len();
    let count = (n * area) as f64;
    let mut dscale = Sums::new(channels);
    let mut dshift = Sums::new(channels);
    each_pixel(n, channels, area, |c, i| {
        dscale.add(c, gradient[i] * normed.normalised[i]);
        dshift.add(c, gradient[i]);
    });
    let dscale = dscale.rounded(rounding);
    let dshift = dshift.rounded(rounding);
    let mut dy = vec![0.0; gradient.len()];
    each_pixel(n, channels, area, |c, i| {
        let terms = [
            gradient[i],
            -dshift[c] / count,
            -normed.normalised[i] * dscale[c] / count,
        ];
        let slope = scale[c] / (normed.variance[c] + 1e-5).sqrt();
        let size: f64 = terms.iter().map(|term| term.abs()).sum();
        dy[i] = rounding.of(slope * terms.iter().sum::<f64>(), slope * size);
    });
    [dy, dscale, dshift]
}

fn each_pixel(n: usize, channels: usize, area: usize, mut f: impl FnMut(usize, usize)) {
    for i in 0..n * channels * area {
        f(i / area % channels, i);
    }
}

/// Mean cross-entropy of `logits` [n, classes] and its gradient: by the definition, the sum of each
/// target times the logarithm of what is predicted.
pub fn cross_entropy(
    classes: usize,
    logits: &[f64],
    labels: &[u8],
    smoothing: f64,
    rounding: &mut Rounding,
) -> (f64, Vec<f64>) {
    let n = labels.len() as f64;
    let mut loss = 0.0;
    let mut size = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|l| (l - largest).exp()).sum();
        let normaliser = sum.ln() + largest;
        for (class, logit) in row.iter().enumerate() {
            let power = (logit - largest).exp() / sum;
            let is_label = if class == usize::from(label) {
                1.0
            } else {
                0.0
            };
            let target = (1.0 - smoothing) * is_label + smoothing / classes as f64;
            loss += target * (normaliser - logit) / n;
            size += target * (normaliser.abs() + logit.abs()) / n;
            gradient.push(rounding.of((power - target) / n, (power + target) / n));
        }
    }
    (rounding.of(loss, size), gradient)
}

/// Concatenation along depth, or where parts share channels their sum; smaller parts are padded with
/// zeros at the bottom and the right, and in a sum behind their channels.
fn join(
    n: usize,
    parts: &[Part],
    (channels, height, width): (usize, usize, usize),
    outputs: &[Vec<f64>],
    rounding: &mut Rounding,
) -> Vec<f64> {
    let mut whole = Sums::new(n * channels * height * width);
    each_copied(n, parts, (channels, height, width), |source, from, to| {
        whole.add(to, outputs[source][from]);
    });
    // A copy is exact.
    if parts.len() > 1 && parts[1].first == 0 {
        whole.rounded(rounding)
    } else {
        whole.rounded(&mut Rounding::none())
    }
}

fn each_copied(
    n: usize,
    parts: &[Part],
    (channels, height, width): (usize, usize, usize),
    mut f: impl FnMut(usize, usize, usize),
) {
    for image in 0..n {
        for p in parts {
            for i in 0..p.channels * p.height * p.width {
                let c = i / (p.height * p.width);
                let y = i / p.width % p.height;
                let x = i % p.width;
                let from = image * p.channels * p.height * p.width + i;
                f(
                    p.source,
                    from,
                    ((image * channels + p.first + c) * height + y) * width + x,
                );
            }
        }
    }
}

/// A network, and what a step of it is computed from.
pub struct Step<'a> {
    pub plan: &'a Plan,
    pub parameters: &'a [f64],
    pub running: &'a [f64],
    pub images: &'a [f64],
    pub labels: &'a [u8],
}

/// What a training step gives.
pub struct Trained {
    pub loss: f64,
    pub gradient: Vec<f64>,
    /// The running statistics after it.
    pub running: Vec<f64>,
    /// All numbers before a ReLU.
    pub linear: Vec<f64>,
    /// The smallest variance of a channel: next to none, normalisation magnifies rounding.
    pub least_variance: f64,
}

/// What a layer leaves for the backward pass.
struct Saved {
    /// Its input.
    x: Vec<f64>,
    normed: Option<Normed>,
    /// Before any ReLU.
    linear: Vec<f64>,
}

fn input_shape(layer: &LayerPlan) -> (usize, usize, usize) {
    let g = &layer.geometry;
    (g.channels, g.height, g.width)
}

impl Step<'_> {
    pub fn train(&self, rounding: &mut Rounding) -> Trained {
        let plan = self.plan;
        let n = self.labels.len();
        let mut outputs = vec![self.images.to_vec()];
        let mut saved = Vec::new();
        let mut running = self.running.to_vec();
        for layer in &plan.layers {
            let x = join(n, &layer.parts, input_shape(layer), &outputs, rounding);
            let (activation, own) = self.layer(layer, x, rounding);
            if let Some(normed) = &own.normed {
                update_running(layer, normed, n, &mut running, rounding);
            }
            outputs.push(activation);
            saved.push(own);
        }
        let (logits, pooled) = self.classify(&outputs, rounding);
        let (loss, dlogits) = cross_entropy(plan.classes, &logits, self.labels, 0.0, rounding);
        let mut gradient = vec![0.0; plan.parameter_count];
        let mut doutputs =
            self.classify_gradient(&pooled, &dlogits, &outputs, &mut gradient, rounding);
        for (index, layer) in plan.layers.iter().enumerate().rev() {
            let upstream = &doutputs[index + 1];
            let dx = self.layer_gradient(layer, &saved[index], upstream, &mut gradient, rounding);
            each_copied(n, &layer.parts, input_shape(layer), |source, from, to| {
                doutputs[source][from] += dx[to];
            });
        }
        let rectified = plan.layers.iter().zip(&saved).filter(|(l, _)| l.rectifies);
        Trained {
            loss,
            gradient,
            running,
            linear: rectified.flat_map(|(_, own)| own.linear.clone()).collect(),
            least_variance: saved
                .iter()
                .flat_map(|own| &own.normed)
                .flat_map(|normed| normed.variance.clone())
                .fold(f64::INFINITY, f64::min),
        }
    }

    /// A layer's output in training.
    fn layer(&self, layer: &LayerPlan, x: Vec<f64>, rounding: &mut Rounding) -> (Vec<f64>, Saved) {
        let g = &layer.geometry;
        let n = self.labels.len();
        let y = if layer.operation.convolves() {
            convolution(g, n, &x, self.weight(layer), rounding)
        } else {
            x.clone()
        };
        let area = g.out_height() * g.out_width();
        let normed = layer
            .normalises
            .then(|| norm_relu(n, area, &y, self.scale(layer), self.shift(layer), rounding));
        let linear = normed.as_ref().map_or(y, |normed| normed.linear.clone());
        let activation = activation(layer, linear.clone());
        (activation, Saved { x, normed, linear })
    }

    /// Writes a layer's gradients; returns that of its input.
    fn layer_gradient(
        &self,
        layer: &LayerPlan,
        own: &Saved,
        upstream: &[f64],
        gradient: &mut [f64],
        rounding: &mut Rounding,
    ) -> Vec<f64> {
        let g = &layer.geometry;
        let n = self.labels.len();
        let mut dy = if layer.rectifies {
            passed(&own.linear, upstream)
        } else {
            upstream.to_vec()
        };
        if let Some(normed) = &own.normed {
            let area = g.out_height() * g.out_width();
            let [before, dscale, dshift] =
                norm_gradient(n, area, normed, self.scale(layer), &dy, rounding);
            gradient[layer.scale..][..g.filters].copy_from_slice(&dscale);
            gradient[layer.shift..][..g.filters].copy_from_slice(&dshift);
            dy = before;
        }
        if !layer.operation.convolves() {
            return dy;
        }
        gradient[layer.weight..][..g.filters * g.taps()]
            .copy_from_slice(&convolution_weight_gradient(g, n, &own.x, &dy, rounding));
        convolution_input_gradient(g, n, &dy, self.weight(layer), rounding)
    }

    /// Logits [n, classes] with running statistics.
    pub fn logits(&self, rounding: &mut Rounding) -> Vec<f64> {
        let plan = self.plan;
        let n = self.labels.len();
        let mut outputs = vec![self.images.to_vec()];
        for layer in &plan.layers {
            let g = &layer.geometry;
            let mut y = join(n, &layer.parts, input_shape(layer), &outputs, rounding);
            if layer.operation.convolves() {
                y = convolution(g, n, &y, self.weight(layer), rounding);
            }
            if layer.normalises {
                let scale = self.scale(layer);
                let shift = self.shift(layer);
                each_pixel(n, g.filters, g.out_height() * g.out_width(), |c, i| {
                    let mean = self.running[layer.mean + c];
                    let slope = scale[c] / (self.running[layer.variance + c] + 1e-5).sqrt();
                    let size = (y[i].abs() + mean.abs()) * slope.abs() + shift[c].abs();
                    y[i] = rounding.of((y[i] - mean) * slope + shift[c], size);
                });
            }
            outputs.push(activation(layer, y));
        }
        self.classify(&outputs, rounding).0
    }

    fn weight(&self, layer: &LayerPlan) -> &[f64] {
        &self.parameters[layer.weight..][..layer.geometry.filters * layer.geometry.taps()]
    }

    fn scale(&self, layer: &LayerPlan) -> &[f64] {
        &self.parameters[layer.scale..][..layer.geometry.filters]
    }

    fn shift(&self, layer: &LayerPlan) -> &[f64] {
        &self.parameters[layer.shift..][..layer.geometry.filters]
    }

    /// Logits and the pooled features [n, channels].
    fn classify(&self, outputs: &[Vec<f64>], rounding: &mut Rounding) -> (Vec<f64>, Vec<f64>) {
        let plan = self.plan;
        let n = self.labels.len();
        let area = plan.head_height * plan.head_width;
        let shape = (plan.head_channels, plan.head_height, plan.head_width);
        let whole = join(n, &plan.head, shape, outputs, rounding);
        let mut pooled = Sums::new(n * plan.head_channels);
        for (i, pixel) in whole.iter().enumerate() {
            pooled.add(i / area, pixel / area as f64);
        }
        let pooled = pooled.rounded(rounding);
        let mut logits = Sums::new(n * plan.classes);
        for (image, features) in pooled.chunks(plan.head_channels).enumerate() {
            for class in 0..plan.classes {
                let logit = image * plan.classes + class;
                let row = &self.parameters[plan.classifier_weight + class * plan.head_channels..];
                logits.add(logit, self.parameters[plan.classifier_bias + class]);
                row.iter()
                    .zip(features)
                    .for_each(|(weight, feature)| logits.add(logit, weight * feature));
            }
        }
        (logits.rounded(rounding), pooled)
    }

    /// Writes the classifier's gradients; returns the gradient of every output.
    fn classify_gradient(
        &self,
        pooled: &[f64],
        dlogits: &[f64],
        outputs: &[Vec<f64>],
        gradient: &mut [f64],
        rounding: &mut Rounding,
    ) -> Vec<Vec<f64>> {
        let plan = self.plan;
        let n = self.labels.len();
        let channels = plan.head_channels;
        let area = plan.head_height * plan.head_width;
        let mut dpooled = Sums::new(n * channels);
        let mut classifier = Sums::new(plan.classes * (channels + 1));
        for image in 0..n {
            for class in 0..plan.classes {
                let d = dlogits[image * plan.classes + class];
                classifier.add(plan.classes * channels + class, d);
                for c in 0..channels {
                    let weight = self.parameters[plan.classifier_weight + class * channels + c];
                    classifier.add(class * channels + c, d * pooled[image * channels + c]);
                    dpooled.add(image * channels + c, d * weight);
                }
            }
        }
        let dpooled = dpooled.rounded(rounding);
        let classifier = classifier.rounded(rounding);
        gradient[plan.classifier_weight..].copy_from_slice(&classifier);
        let mut doutputs: Vec<Vec<f64>> = outputs.iter().map(|o| vec![0.0; o.len()]).collect();
        let shape = (channels, plan.head_height, plan.head_width);
        each_copied(n, &plan.head, shape, |source, from, to| {
            doutputs[source][from] += dpooled[to / area] / area as f64;
        });
        doutputs
    }
}

/// What those who read a layer see.
fn activation(layer: &LayerPlan, mut linear: Vec<f64>) -> Vec<f64> {
    if layer.rectifies {
        linear.iter_mut().for_each(|value| *value = value.max(0.0));
    }
    linear
}

/// Momentum 0.1, unbiased variance; of one value alone the variance is unknown and stays.
fn update_running(
    layer: &LayerPlan,
    normed: &Normed,
    n: usize,
    running: &mut [f64],
    rounding: &mut Rounding,
) {
    let g = &layer.geometry;
    let count = (n * g.out_height() * g.out_width()) as f64;
    let mut blend = |old: &mut f64, new: f64| {
        *old = rounding.of(0.9 * *old + 0.1 * new, old.abs() + new.abs());
    };
    for c in 0..g.filters {
        blend(&mut running[layer.mean + c], normed.mean[c]);
        if count > 1.0 {
            let unbiased = normed.variance[c] * count / (count - 1.0);
            blend(&mut running[layer.variance + c], unbiased);
        }
    }
}
