//! A running average of a child's weights: what is validated and kept in place of the last step's,
//! which jump about while the learning rate is high. Must not know how the weights are trained.

/// The average of weights and running statistics of batch normalisation. Step s of t counts in
/// proportion to s^γ, so that the mean age of what counts is always the same share of the steps so
/// far: polynomial-decay averaging (Shamir & Zhang 2013), which unlike an average of fixed decay
/// needs no other setting in a longer training.
pub struct WeightAverage {
    age: f64,
    parameters: Vec<f32>,
    running: Vec<f32>,
}

impl WeightAverage {
    /// The average before the first step: these weights. `age`: the mean age of what counts, as a
    /// share of the steps so far, above 0 and at most 0.5 (all steps alike).
    pub fn new(age: f64, parameters: &[f32], running: &[f32]) -> Self {
        Self {
            age,
            parameters: parameters.to_vec(),
            running: running.to_vec(),
        }
    }

    /// Takes the weights after a step in, the first being 1.
    pub fn add(&mut self, step: usize, parameters: &[f32], running: &[f32]) {
        let share = share(self.age, step);
        move_towards(&mut self.parameters, parameters, share);
        move_towards(&mut self.running, running, share);
    }

    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    pub fn running(&self) -> &[f32] {
        &self.running
    }

    /// Everything that a step changes.
    pub fn tensors(&mut self) -> [&mut [f32]; 2] {
        [&mut self.parameters, &mut self.running]
    }
}

/// How far a step, the first being 1, moves an average of this mean age towards its weights.
pub fn share(age: f64, step: usize) -> f32 {
    // Of s^γ up to t, the mean of s is (γ + 1) / (γ + 2) t; this is γ + 1.
    let exponent = 1.0 / age - 1.0;
    let kept = (1.0 - 1.0 / step.max(1) as f64).powf(exponent);
    (1.0 - kept) as f32
}

fn move_towards(average: &mut [f32], values: &[f32], share: f32) {
    assert_eq!(
        average.len(),
        values.len(),
        "one average for each of the numbers"
    );
    for (average, value) in average.iter_mut().zip(values) {
        *average += share * (value - *average);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The average of the numbers 1, 2, … after each step.
    fn averages(age: f64, steps: usize) -> Vec<f32> {
        let mut average = WeightAverage::new(age, &[100.0], &[-100.0]);
        (1..=steps)
            .map(|step| {
                let value = step as f32;
                average.add(step, &[value], &[-value]);
                assert_eq!(average.running()[0], -average.parameters()[0]);
                average.parameters()[0]
            })
            .collect()
    }

    #[test]
    fn the_first_weights_do_not_count_once_there_is_a_step() {
        assert_eq!(averages(0.1, 1), [1.0]);
    }

    #[test]
    fn half_is_the_mean_of_all_steps() {
        for (step, average) in (1..).zip(averages(0.5, 50)) {
            assert!((average - f32::midpoint(step as f32, 1.0)).abs() < 1e-4);
        }
    }

    #[test]
    fn the_mean_age_is_a_share_of_the_steps_so_far() {
        for age in [0.02, 0.05, 0.2] {
            let averages = averages(age, 4000);
            for step in [1000, 4000] {
                let found = 1.0 - f64::from(averages[step - 1]) / step as f64;
                assert!((found - age).abs() < 0.002, "{found}, not {age}");
            }
        }
    }

    /// Shamir & Zhang keep 1 − (η + 1) / (t + η) of the average at step t, here with η = γ = 8.
    #[test]
    fn it_agrees_with_the_published_recursion() {
        let mut published = 0.0;
        let mut average = WeightAverage::new(0.1, &[0.0], &[]);
        for step in 1..=3000 {
            let value = (0.01 * step as f64).sin();
            published += 9.0 / (step as f64 + 8.0) * (value - published);
            average.add(step, &[value as f32], &[]);
            let found = f64::from(average.parameters()[0]);
            assert!(step < 300 || (found - published).abs() < 0.02, "{step}");
        }
    }
}
