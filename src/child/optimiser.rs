//! Stochastic gradient descent with Nesterov momentum and weight decay (paper §4.1), on one packed
//! vector. Must not know what the numbers mean or where the gradient came from.

/// `torch.optim.SGD(nesterov=True)` without dampening: every parameter decays, batch
/// normalisation's too. With `decoupled` it is `timm.optim.SGDW(nesterov=True)`.
#[derive(Clone, Debug)]
pub struct Sgd {
    momentum: f32,
    weight_decay: f64,
    decoupled: bool,
    velocity: Vec<f32>,
}

impl Sgd {
    /// For `count` parameters, at rest.
    pub fn new(count: usize, momentum: f64, weight_decay: f64) -> Self {
        Self {
            momentum: momentum as f32,
            weight_decay,
            decoupled: false,
            velocity: vec![0.0; count],
        }
    }

    /// Whether a step shrinks the parameters themselves, by learning rate times weight decay
    /// (Loshchilov & Hutter 2019), in place of an L2 penalty's gradient, which the momentum takes up.
    #[must_use]
    pub fn with_decoupled_decay(self, decoupled: bool) -> Self {
        Self { decoupled, ..self }
    }

    /// The momentum: one number for each parameter.
    pub fn velocity(&mut self) -> &mut [f32] {
        &mut self.velocity
    }

    /// How many parameters it moves.
    pub fn count(&self) -> usize {
        self.velocity.len()
    }

    /// One step against `gradient` (as long as `parameters`). False: a parameter is no longer
    /// finite.
    #[must_use = "a step may leave parameters that are not finite"]
    pub fn step(&mut self, parameters: &mut [f32], gradient: &[f32], learning_rate: f64) -> bool {
        assert_eq!(
            parameters.len(),
            self.velocity.len(),
            "one velocity for each parameter"
        );
        assert_eq!(
            gradient.len(),
            self.velocity.len(),
            "one gradient for each parameter"
        );
        let rate = learning_rate as f32;
        let momentum = self.momentum;
        let (decay, kept) = if self.decoupled {
            (0.0, (1.0 - learning_rate * self.weight_decay) as f32)
        } else {
            (self.weight_decay as f32, 1.0)
        };
        let mut finite = true;
        for ((parameter, velocity), &gradient) in
            parameters.iter_mut().zip(&mut self.velocity).zip(gradient)
        {
            let decayed = gradient + decay * *parameter;
            *velocity = momentum * *velocity + decayed;
            *parameter = kept * *parameter - rate * (decayed + momentum * *velocity);
            finite &= parameter.is_finite();
        }
        finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // import torch
    // p = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    // opt = torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    // for g in ([0.5, -1.0, 0.0], [0.1, 0.2, 0.3], [-0.4, 0.0, 1.0]):
    //     p.grad = torch.tensor(g); opt.step(); print(p.tolist())
    const EXPECTED: [[f32; 3]; 3] = [
        [0.9031, -1.8062, 0.49905],
        [0.8410741, -1.7581482, 0.4406968],
        [0.8694656, -1.6951867, 0.2247908],
    ];

    #[test]
    fn steps_equal_torch() {
        let mut parameters = [1.0, -2.0, 0.5];
        let mut sgd = Sgd::new(3, 0.9, 0.01);
        let gradients = [[0.5, -1.0, 0.0], [0.1, 0.2, 0.3], [-0.4, 0.0, 1.0]];
        for (gradient, expected) in gradients.iter().zip(EXPECTED) {
            assert!(sgd.step(&mut parameters, gradient, 0.1));
            for (parameter, expected) in parameters.iter().zip(expected) {
                assert!(
                    (parameter - expected).abs() < 1e-6,
                    "{parameters:?} against {expected:?}"
                );
            }
        }
    }

    // A step of timm.optim.SGDW(lr=0.1, momentum=0.9, weight_decay=0.5, nesterov=True), on the
    // gradients above in torch.float64; buf is g at the first:
    //   p.mul_(1 - lr * weight_decay)
    //   buf.mul_(momentum).add_(g)
    //   p.add_(g.add(buf, alpha=momentum), alpha=-lr)
    const DECOUPLED: [[f32; 3]; 3] = [
        [0.855, -1.71, 0.475],
        [0.75275, -1.5815, 0.39425],
        [0.746_562_5, -1.445_725, 0.160_237_5],
    ];

    #[test]
    fn decoupled_steps_equal_timm() {
        let mut parameters = [1.0, -2.0, 0.5];
        let mut sgd = Sgd::new(3, 0.9, 0.5).with_decoupled_decay(true);
        let gradients = [[0.5, -1.0, 0.0], [0.1, 0.2, 0.3], [-0.4, 0.0, 1.0]];
        for (gradient, expected) in gradients.iter().zip(DECOUPLED) {
            assert!(sgd.step(&mut parameters, gradient, 0.1));
            for (parameter, expected) in parameters.iter().zip(expected) {
                assert!(
                    (parameter - expected).abs() < 1e-6,
                    "{parameters:?} against {expected:?}"
                );
            }
        }
    }

    #[test]
    fn says_when_a_parameter_is_no_longer_finite() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Sgd::new(3, 0.9, 0.0).step(&mut [0.0, 1.0, 2.0], &[0.0, bad, 0.0], 0.1));
        }
    }
}
