//! Every operation once more, naively and in f64: what the kernels are compared with.
//! Written for the eye, not for speed; shares nothing with the kernels but the plan of sizes.

use crate::kernels::convnet::spec::{Geometry, LayerPlan, Part, Plan};

/// Convolution: `x` [n, channels, height, width], `w` [filters, channels, fh, fw] → [n, filters,
/// out height, out width].
pub fn convolution(g: &Geometry, n: usize, x: &[f64], w: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; n * g.filters * g.out_height() * g.out_width()];
    each_product(g, n, |iy, ix, iw| y[iy] += x[ix] * w[iw]);
    y
}

/// Gradient of `convolution` with respect to `x`, given that with respect to its output.
pub fn convolution_input_gradient(g: &Geometry, n: usize, dy: &[f64], w: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; n * g.channels * g.height * g.width];
    each_product(g, n, |iy, ix, iw| dx[ix] += dy[iy] * w[iw]);
    dx
}

/// Gradient of `convolution` with respect to `w`.
pub fn convolution_weight_gradient(g: &Geometry, n: usize, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dw = vec![0.0; g.filters * g.taps()];
    each_product(g, n, |iy, ix, iw| dw[iw] += dy[iy] * x[ix]);
    dw
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
                let (y, x) = (oy * g.stride_height + ky, ox * g.stride_width + kx);
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

/// What batch normalisation and ReLU remember for the way back.
pub struct Normed {
    pub activation: Vec<f64>,
    pub normalised: Vec<f64>,
    pub mean: Vec<f64>,
    /// Biased.
    pub variance: Vec<f64>,
}

/// Batch normalisation with batch statistics (eps 1e-5), then ReLU. `y` [n, channels, area].
pub fn norm_relu(
    n: usize,
    channels: usize,
    area: usize,
    y: &[f64],
    scale: &[f64],
    shift: &[f64],
) -> Normed {
    let count = (n * area) as f64;
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    each_pixel(n, channels, area, |c, i| mean[c] += y[i] / count);
    each_pixel(n, channels, area, |c, i| {
        variance[c] += (y[i] - mean[c]).powi(2) / count;
    });
    let (mut normalised, mut activation) = (vec![0.0; y.len()], vec![0.0; y.len()]);
    each_pixel(n, channels, area, |c, i| {
        normalised[i] = (y[i] - mean[c]) / (variance[c] + 1e-5).sqrt();
        activation[i] = (normalised[i] * scale[c] + shift[c]).max(0.0);
    });
    Normed {
        activation,
        normalised,
        mean,
        variance,
    }
}

/// Gradients of `norm_relu` with respect to `y`, scale and shift.
pub fn norm_relu_gradient(
    n: usize,
    channels: usize,
    area: usize,
    normed: &Normed,
    scale: &[f64],
    da: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let count = (n * area) as f64;
    let (mut dscale, mut dshift) = (vec![0.0; channels], vec![0.0; channels]);
    let gradient = |i: usize| {
        if normed.activation[i] > 0.0 {
            da[i]
        } else {
            0.0
        }
    };
    each_pixel(n, channels, area, |c, i| {
        dscale[c] += gradient(i) * normed.normalised[i];
        dshift[c] += gradient(i);
    });
    let mut dy = vec![0.0; da.len()];
    each_pixel(n, channels, area, |c, i| {
        let centred = gradient(i) - dshift[c] / count - normed.normalised[i] * dscale[c] / count;
        dy[i] = scale[c] / (normed.variance[c] + 1e-5).sqrt() * centred;
    });
    (dy, dscale, dshift)
}

fn each_pixel(n: usize, channels: usize, area: usize, mut f: impl FnMut(usize, usize)) {
    for i in 0..n * channels * area {
        f(i / area % channels, i);
    }
}

/// Mean cross-entropy of `logits` [n, classes] and its gradient.
pub fn cross_entropy(classes: usize, logits: &[f64], labels: &[u8]) -> (f64, Vec<f64>) {
    let n = labels.len() as f64;
    let mut loss = 0.0;
    let mut gradient = Vec::with_capacity(logits.len());
    for (row, &label) in logits.chunks(classes).zip(labels) {
        let largest = row.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let sum: f64 = row.iter().map(|l| (l - largest).exp()).sum();
        loss += (sum.ln() + largest - row[usize::from(label)]) / n;
        gradient.extend(row.iter().enumerate().map(|(c, l)| {
            ((l - largest).exp() / sum - f64::from(u8::from(c == usize::from(label)))) / n
        }));
    }
    (loss, gradient)
}

/// Concatenation along depth; smaller parts are padded with zeros at the bottom and the right.
pub fn concatenate(
    n: usize,
    parts: &[Part],
    height: usize,
    width: usize,
    outputs: &[Vec<f64>],
) -> Vec<f64> {
    let channels: usize = parts.iter().map(|p| p.channels).sum();
    let mut whole = vec![0.0; n * channels * height * width];
    each_copied(n, parts, height, width, |source, from, to| {
        whole[to] = outputs[source][from];
    });
    whole
}

fn each_copied(
    n: usize,
    parts: &[Part],
    height: usize,
    width: usize,
    mut f: impl FnMut(usize, usize, usize),
) {
    let channels: usize = parts.iter().map(|p| p.channels).sum();
    for image in 0..n {
        for p in parts {
            for i in 0..p.channels * p.height * p.width {
                let (c, y, x) = (
                    i / (p.height * p.width),
                    i / p.width % p.height,
                    i % p.width,
                );
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

/// A training step of a whole network: loss, gradient, and the running statistics after it.
pub fn train_step(
    plan: &Plan,
    parameters: &[f64],
    running: &[f64],
    images: &[f64],
    labels: &[u8],
) -> (f64, Vec<f64>, Vec<f64>) {
    let n = labels.len();
    let mut outputs = vec![images.to_vec()];
    let mut kept = Vec::new();
    let mut running = running.to_vec();
    for layer in &plan.layers {
        let g = &layer.geometry;
        let area = g.out_height() * g.out_width();
        let x = concatenate(n, &layer.parts, g.height, g.width, &outputs);
        let y = convolution(g, n, &x, weight(layer, parameters));
        let normed = norm_relu(
            n,
            g.filters,
            area,
            &y,
            &parameters[layer.scale..],
            &parameters[layer.shift..],
        );
        let count = (n * area) as f64;
        for c in 0..g.filters {
            running[layer.mean + c] += 0.1 * (normed.mean[c] - running[layer.mean + c]);
            if count > 1.0 {
                running[layer.variance + c] += 0.1
                    * (normed.variance[c] * count / (count - 1.0) - running[layer.variance + c]);
            }
        }
        outputs.push(normed.activation.clone());
        kept.push((x, normed));
    }
    let (logits, pooled) = classify(plan, n, parameters, &outputs);
    let (loss, dlogits) = cross_entropy(plan.classes, &logits, labels);
    let mut gradient = vec![0.0; plan.parameter_count];
    let mut doutputs = classify_gradient(
        plan,
        n,
        parameters,
        &pooled,
        &dlogits,
        &outputs,
        &mut gradient,
    );
    for (index, layer) in plan.layers.iter().enumerate().rev() {
        let g = &layer.geometry;
        let (x, normed) = &kept[index];
        let area = g.out_height() * g.out_width();
        let (dy, dscale, dshift) = norm_relu_gradient(
            n,
            g.filters,
            area,
            normed,
            &parameters[layer.scale..],
            &doutputs[index + 1],
        );
        gradient[layer.scale..][..g.filters].copy_from_slice(&dscale);
        gradient[layer.shift..][..g.filters].copy_from_slice(&dshift);
        gradient[layer.weight..][..g.filters * g.taps()]
            .copy_from_slice(&convolution_weight_gradient(g, n, x, &dy));
        let dx = convolution_input_gradient(g, n, &dy, weight(layer, parameters));
        each_copied(n, &layer.parts, g.height, g.width, |source, from, to| {
            doutputs[source][from] += dx[to];
        });
    }
    (loss, gradient, running)
}

/// How far a training step is from where f32 and f64 may part: the smallest |value| before a ReLU,
/// and the smallest variance. Beside a kink rounding decides which gradient is right; next to no
/// variance, normalisation magnifies rounding.
pub fn margins(plan: &Plan, parameters: &[f64], images: &[f64], n: usize) -> (f64, f64) {
    let mut outputs = vec![images.to_vec()];
    let (mut kink, mut least_variance) = (f64::INFINITY, f64::INFINITY);
    for layer in &plan.layers {
        let g = &layer.geometry;
        let area = g.out_height() * g.out_width();
        let y = convolution(
            g,
            n,
            &concatenate(n, &layer.parts, g.height, g.width, &outputs),
            weight(layer, parameters),
        );
        let normed = norm_relu(
            n,
            g.filters,
            area,
            &y,
            &parameters[layer.scale..],
            &parameters[layer.shift..],
        );
        each_pixel(n, g.filters, area, |c, i| {
            kink = kink.min(
                (normed.normalised[i] * parameters[layer.scale + c] + parameters[layer.shift + c])
                    .abs(),
            );
        });
        least_variance = normed
            .variance
            .iter()
            .fold(least_variance, |a, &b| a.min(b));
        outputs.push(normed.activation);
    }
    (kink, least_variance)
}

/// Logits [n, classes] with running statistics.
pub fn logits(plan: &Plan, parameters: &[f64], running: &[f64], images: &[f64]) -> Vec<f64> {
    let n = images.len() / (plan.channels * plan.height * plan.width);
    let mut outputs = vec![images.to_vec()];
    for layer in &plan.layers {
        let g = &layer.geometry;
        let x = concatenate(n, &layer.parts, g.height, g.width, &outputs);
        let mut y = convolution(g, n, &x, weight(layer, parameters));
        each_pixel(n, g.filters, g.out_height() * g.out_width(), |c, i| {
            let normalised =
                (y[i] - running[layer.mean + c]) / (running[layer.variance + c] + 1e-5).sqrt();
            y[i] =
                (normalised * parameters[layer.scale + c] + parameters[layer.shift + c]).max(0.0);
        });
        outputs.push(y);
    }
    classify(plan, n, parameters, &outputs).0
}

fn weight<'a>(layer: &LayerPlan, parameters: &'a [f64]) -> &'a [f64] {
    &parameters[layer.weight..][..layer.geometry.filters * layer.geometry.taps()]
}

/// Logits and the pooled features [n, channels].
fn classify(
    plan: &Plan,
    n: usize,
    parameters: &[f64],
    outputs: &[Vec<f64>],
) -> (Vec<f64>, Vec<f64>) {
    let area = plan.head_height * plan.head_width;
    let whole = concatenate(n, &plan.head, plan.head_height, plan.head_width, outputs);
    let pooled: Vec<f64> = whole
        .chunks(area)
        .map(|pixels| pixels.iter().sum::<f64>() / area as f64)
        .collect();
    let mut logits = Vec::with_capacity(n * plan.classes);
    for features in pooled.chunks(plan.head_channels) {
        for class in 0..plan.classes {
            let row = &parameters[plan.classifier_weight + class * plan.head_channels..]
                [..plan.head_channels];
            logits.push(
                parameters[plan.classifier_bias + class]
                    + row.iter().zip(features).map(|(w, f)| w * f).sum::<f64>(),
            );
        }
    }
    (logits, pooled)
}

/// Writes the classifier's gradients; returns the gradient of every output.
fn classify_gradient(
    plan: &Plan,
    n: usize,
    parameters: &[f64],
    pooled: &[f64],
    dlogits: &[f64],
    outputs: &[Vec<f64>],
    gradient: &mut [f64],
) -> Vec<Vec<f64>> {
    let (channels, area) = (plan.head_channels, plan.head_height * plan.head_width);
    let mut dpooled = vec![0.0; n * channels];
    for image in 0..n {
        for class in 0..plan.classes {
            let d = dlogits[image * plan.classes + class];
            gradient[plan.classifier_bias + class] += d;
            for c in 0..channels {
                gradient[plan.classifier_weight + class * channels + c] +=
                    d * pooled[image * channels + c];
                dpooled[image * channels + c] +=
                    d * parameters[plan.classifier_weight + class * channels + c];
            }
        }
    }
    let mut doutputs: Vec<Vec<f64>> = outputs.iter().map(|o| vec![0.0; o.len()]).collect();
    each_copied(
        n,
        &plan.head,
        plan.head_height,
        plan.head_width,
        |source, from, to| {
            doutputs[source][from] += dpooled[to / area] / area as f64;
        },
    );
    doutputs
}
