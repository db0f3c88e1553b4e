//! An LSTM language model in double precision, written from the equations alone.

use super::super::masks::DropoutMasks;
use super::super::network::Network;

pub struct Lstm<'a> {
    pub network: &'a Network,
    pub masks: &'a DropoutMasks,
    pub words: &'a [u32],
    pub targets: &'a [u32],
    /// `[layers, 2, batch, hidden]`: h and c of each layer.
    pub start: Vec<f64>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn factor(mask: Option<&Vec<f32>>, place: usize) -> f64 {
    mask.map_or(1.0, |mask| f64::from(mask[place]))
}

impl Lstm<'_> {
    /// Slopes of loss / batch, by central differences.
    pub fn slopes(&self, parameters: &[f64]) -> Vec<f64> {
        let batch = self.network.sizes().batch as f64;
        let moved = |place: usize, by: f64| {
            let mut parameters = parameters.to_vec();
            parameters[place] += by;
            self.loss(&parameters, &mut self.start.clone())
        };
        (0..parameters.len())
            .map(|place| (moved(place, 1e-5) - moved(place, -1e-5)) / 2e-5 / batch)
            .collect()
    }

    /// The sum of the cross-entropies; `state` becomes the one after the window.
    pub fn loss(&self, parameters: &[f64], state: &mut [f64]) -> f64 {
        let batch = self.network.sizes().batch;
        let steps = self.words.len() / batch;
        let rows = (0..steps).flat_map(|step| (0..batch).map(move |row| (step, row)));
        rows.map(|(step, row)| self.token(parameters, state, step * batch + row, row))
            .sum()
    }

    fn slot(&self, name: &str) -> usize {
        self.network
            .parameters()
            .iter()
            .find(|slot| slot.name == name)
            .unwrap_or_else(|| panic!("no {name}"))
            .offset
    }

    fn token(&self, parameters: &[f64], state: &mut [f64], place: usize, row: usize) -> f64 {
        let sizes = self.network.sizes();
        let words = sizes.model.vocabulary;
        let hidden = sizes.model.hidden;
        let batch = sizes.batch;
        let weight = self.slot("softmax.weight");
        let bias = self.slot("softmax.bias");
        let word = self.words[place] as usize;
        let vector = |unit: usize| {
            if sizes.model.shared_embeddings {
                parameters[weight + unit * words + word]
            } else {
                parameters[self.slot("embedding") + word * hidden + unit]
            }
        };
        let mut x: Vec<f64> = (0..hidden)
            .map(|unit| vector(unit) * factor(self.masks.words.as_ref(), word))
            .collect();
        for layer in 0..sizes.model.layers {
            let slot = |name: &str| self.slot(&format!("layer{}.{name}", layer + 1));
            let w = slot("input_weight");
            let r = slot("recurrent_weight");
            let b = slot("input_bias");
            let states = &mut state[layer * 2 * batch * hidden..][..2 * batch * hidden];
            let at = |index: usize, unit: usize| (index * batch + row) * hidden + unit;
            let own = |unit: usize| row * hidden + unit;
            for (unit, x) in x.iter_mut().enumerate() {
                *x *= factor(self.masks.inputs[layer].as_ref(), own(unit));
            }
            let h: Vec<f64> = (0..hidden)
                .map(|unit| {
                    states[at(0, unit)] * factor(self.masks.recurrent[layer].as_ref(), own(unit))
                })
                .collect();
            let gate = |gate: usize, unit: usize| -> f64 {
                let place = (gate * hidden + unit) * hidden;
                let of =
                    |i: usize| parameters[w + place + i] * x[i] + parameters[r + place + i] * h[i];
                parameters[b + gate * hidden + unit] + (0..hidden).map(of).sum::<f64>()
            };
            let mut next = vec![0.0; hidden];
            for (unit, next) in next.iter_mut().enumerate() {
                let c = sigmoid(gate(1, unit)) * states[at(1, unit)]
                    + sigmoid(gate(0, unit)) * gate(2, unit).tanh();
                *next = sigmoid(gate(3, unit)) * c.tanh();
                states[at(1, unit)] = c;
            }
            for (unit, &next) in next.iter().enumerate() {
                states[at(0, unit)] = next;
            }
            x = next;
        }
        let feature =
            |unit: usize| x[unit] * factor(self.masks.output.as_ref(), row * hidden + unit);
        let logit = |word: usize| {
            parameters[bias + word]
                + (0..hidden)
                    .map(|unit| feature(unit) * parameters[weight + unit * words + word])
                    .sum::<f64>()
        };
        (0..words).map(|word| logit(word).exp()).sum::<f64>().ln()
            - logit(self.targets[place] as usize)
    }
}
