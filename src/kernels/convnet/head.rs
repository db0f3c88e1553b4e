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
        // A sum for each class at a time: additions do not wait for each other.
        let by_channel: Vec<f64> = (0..channels)
            .flat_map(|channel| self.weight.iter().skip(channel).step_by(channels))
            .map(|&w| f64::from(w))
            .collect();
        let mut sums = vec![0.0; classes];
        for (row, features) in out.chunks_mut(classes).zip(features.chunks(channels)) {
            sums.fill(0.0);
            for (&feature, weights) in features.iter().zip(by_channel.chunks_exact(classes)) {
                add(&mut sums, f64::from(feature), weights.iter().copied());
            }
            for ((logit, sum), &bias) in row.iter_mut().zip(&sums).zip(self.bias) {
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
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
        let all_features = wide(features);
        let weights = wide(self.weight);
        let mut sums = vec![0.0; self.weight.len()];
        let mut biases = vec![0.0; classes];
        let mut dfeature = vec![0.0; channels];
        let images = dlogits
            .chunks_exact(classes)
            .zip(all_features.chunks_exact(channels));
        for ((dlogits, features), to) in images.zip(dfeatures.chunks_exact_mut(channels)) {
            dfeature.fill(0.0);
            let rows = sums.chunks_exact_mut(channels);
            for (((&d, sums), weights), bias) in dlogits
                .iter()
                .zip(rows)
                .zip(weights.chunks_exact(channels))
                .zip(&mut biases)
            {
                let d = f64::from(d);
                *bias += d;
                add(sums, d, features.iter().copied());
                add(&mut dfeature, d, weights.iter().copied());
            }
            narrow(&dfeature, to);
        }
        narrow(&sums, dweight);
        narrow(&biases, dbias);
    }
}

/// sums += factor · values.
fn add(sums: &mut [f64], factor: f64, values: impl Iterator<Item = f64>) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

fn narrow(from: &[f64], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from as f32;
    }
}

/// Mean cross-entropy of softmax(logits) [n, classes] against `labels` `[n]`; writes the gradient
/// of the logits. `smoothing`: the share of each target that is spread evenly over all classes
/// (Szegedy et al. 2016, section 7); the label itself has the rest, and its part of that. A label
/// past the last class has probability 0 of being right: the loss is infinite and not a number is
/// hidden.
pub fn cross_entropy(logits: &[f32], labels: &[u8], smoothing: f64, dlogits: &mut [f32]) -> f32 {
    if labels.is_empty() {
        return 0.0;
    }
    let classes = logits.len() / labels.len();
    let n = labels.len() as f64;
    let everywhere = smoothing / classes as f64;
    let mut loss = 0.0;
    for ((row, drow), &label) in logits
        .chunks(classes)
        .zip(dlogits.chunks_mut(classes))
        .zip(labels)
    {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let shifted = |l: f32| f64::from(l) - f64::from(largest);
        let sum: f64 = row.iter().map(|&l| shifted(l).exp()).sum();
        let own = row
            .get(usize::from(label))
            .map_or(f64::INFINITY, |&l| sum.ln() - shifted(l));
        loss += if smoothing > 0.0 {
            let all: f64 = row.iter().map(|&l| sum.ln() - shifted(l)).sum();
            (1.0 - smoothing) * own + everywhere * all
        } else {
            own
        };
        for (class, (d, &l)) in drow.iter_mut().zip(row).enumerate() {
            let target = if class == usize::from(label) {
                1.0 - smoothing + everywhere
            } else {
                everywhere
            };
            *d = ((shifted(l).exp() / sum - target) / n) as f32;
        }
    }
    (loss / n) as f32
}
