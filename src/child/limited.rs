//! What is larger than the space's limits is not evaluated. Must not know how
//! evaluators work.

use super::{Cause, Evaluator, Outcome, Progress, Task};
use crate::space::SizeLimits;

/// An evaluator that fails what is too large, and leaves the rest to another one.
pub struct LimitedEvaluator {
    limits: SizeLimits,
    inner: Box<dyn Evaluator>,
}

impl LimitedEvaluator {
    pub fn new(limits: SizeLimits, inner: Box<dyn Evaluator>) -> Self {
        Self { limits, inner }
    }
}

impl Evaluator for LimitedEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        match self.limits.exceeded(&task.architecture) {
            Some(error) => Outcome::Failed {
                cause: Cause::Unbuildable,
                error,
            },
            None => self.inner.evaluate(task, progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::{Log, network, task};
    use crate::space::Network;

    struct Always;

    impl Evaluator for Always {
        fn evaluate(&mut self, _: &Task, _: &mut dyn Progress) -> Outcome {
            Outcome::Completed {
                reward: 1.0,
                metric: 1.0,
                seconds: None,
            }
        }
    }

    #[test]
    fn what_is_larger_fails_untrained_and_what_is_as_large_does_not() {
        let network = network();
        let parameters = network.parameters();
        let flops = network.flops();
        let task = task(Network::Conv(network), 1);
        let outcome = |max_parameters, max_flops| {
            LimitedEvaluator::new(
                SizeLimits {
                    max_parameters,
                    max_flops,
                },
                Box::new(Always),
            )
            .evaluate(&task, &mut Log::default())
        };
        assert!(matches!(
            outcome(Some(parameters), Some(flops)),
            Outcome::Completed { .. }
        ));
        assert!(matches!(outcome(None, None), Outcome::Completed { .. }));
        for (outcome, part) in [
            (
                outcome(Some(parameters - 1), None),
                format!(
                    "it has {parameters} parameters, space.max_parameters is {}",
                    parameters - 1
                ),
            ),
            (
                outcome(None, Some(flops - 1)),
                format!("space.max_flops is {}", flops - 1),
            ),
        ] {
            let Outcome::Failed {
                cause: Cause::Unbuildable,
                error,
            } = outcome
            else {
                panic!("{outcome:?}")
            };
            assert!(error.contains(&part), "{error}");
        }
    }
}
