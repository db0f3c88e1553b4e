//! The end of a network: linear classifier on pooled features, softmax cross-entropy, and their
//! gradients. Small sums, done in f64. Knows nothing of convolutions or of how images are grouped.

/// A linear classifier on features [n, channels]; weights [classes, channels], bias [classes].
#[derive(Clone, Copy)]
pub struct Classifier<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
}

impl Classifier<'_> {
    /// Writes logits [n, classes].
    pub fn logits(&self, features: &[f32], out: &mut [f32]) {
        let classes = self.bias.len();
        let channels = self.weight.len() / self.bias.len();
        for (row, features) in out.chunks_mut(classes).zip(features.chunks(channels)) {
            for ((logit, weights), &bias) in row
                .iter_mut()
                .zip(self.weight.chunks(channels))
                .zip(self.bias)
            {
                let sum: f64 = weights
                    .iter()
                    .zip(features)
                    .map(|(&w, &f)| f64::from(w) * f64::from(f))
                    .sum();
                *logit = (sum + f64::from(bias)) as f32;
            }
        }
    }

    /// From the gradient of the logits: writes those of weight and bias and of the features.
    pub fn gradients(
        &self,
        features: &[f32],
        dlogits: &[f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
        dfeatures: &mut [f32],
    ) {
        let classes = self.bias.len();
        let channels = self.weight.len() / self.bias.len();
        for (class, (dweight, dbias)) in dweight.chunks_mut(channels).zip(dbias).enumerate() {
            let column = || {
                dlogits
                    .iter()
                    .skip(class)
                    .step_by(classes)
                    .map(|&d| f64::from(d))
            };
            *dbias = column().sum::<f64>() as f32;
            for (channel, dweight) in dweight.iter_mut().enumerate() {
                let feature = features.iter().skip(channel).step_by(channels);
                *dweight = column()
                    .zip(feature)
                    .map(|(d, &f)| d * f64::from(f))
                    .sum::<f64>() as f32;
            }
        }
        for (dfeatures, dlogits) in dfeatures.chunks_mut(channels).zip(dlogits.chunks(classes)) {
            for (channel, dfeature) in dfeatures.iter_mut().enumerate() {
                let weights = self.weight.iter().skip(channel).step_by(channels);
                *dfeature = dlogits
                    .iter()
                    .zip(weights)
                    .map(|(&d, &w)| f64::from(d) * f64::from(w))
                    .sum::<f64>() as f32;
            }
        }
    }
}

/// Mean cross-entropy of softmax(logits) [n, classes] against `labels` `[n]`; writes the gradient
/// of the logits. A label past the last class has probability 0 of being right: the loss is
/// infinite and not a number is hidden.
pub fn cross_entropy(logits: &[f32], labels: &[u8], dlogits: &mut [f32]) -> f32 {
    if labels.is_empty() {
        return 0.0;
    }
    let classes = logits.len() / labels.len();
    let n = labels.len() as f64;
    let mut loss = 0.0;
    for ((row, drow), &label) in logits
        .chunks(classes)
        .zip(dlogits.chunks_mut(classes))
        .zip(labels)
    {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let shifted = |l: f32| f64::from(l) - f64::from(largest);
        let sum: f64 = row.iter().map(|&l| shifted(l).exp()).sum();
        loss += row
            .get(usize::from(label))
            .map_or(f64::INFINITY, |&l| sum.ln() - shifted(l));
        for (class, (d, &l)) in drow.iter_mut().zip(row).enumerate() {
            let target = if class == usize::from(label) {
                1.0
            } else {
                0.0
            };
            *d = ((shifted(l).exp() / sum - target) / n) as f32;
        }
    }
    (loss / n) as f32
}
