//! `space.max_parameters` and `space.max_flops`: what is larger is not evaluated. Must not know how
//! evaluators work.

use super::{Cause, Evaluator, Outcome, Progress, Task};
use crate::space::{Architecture, SpaceSettings};

/// The largest networks that are evaluated; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub max_parameters: Option<u64>,
    pub max_flops: Option<u64>,
}

impl Limits {
    pub fn new(settings: &SpaceSettings) -> Self {
        Self {
            max_parameters: settings.max_parameters,
            max_flops: settings.max_flops,
        }
    }

    /// Why an architecture is too large, in one sentence; None: it is not, or its size is not known.
    pub fn exceeded(&self, architecture: &Architecture) -> Option<String> {
        let (parameters, flops) = architecture.size();
        let beyond = |size: Option<u64>, limit: Option<u64>| {
            size.zip(limit).filter(|(size, limit)| size > limit)
        };
        if let Some((size, limit)) = beyond(parameters, self.max_parameters) {
            return Some(format!(
                "not trained: it has {size} parameters, space.max_parameters is {limit}"
            ));
        }
        let (size, limit) = beyond(flops, self.max_flops)?;
        Some(format!(
            "not trained: one image takes {size} floating-point operations, space.max_flops is {limit}"
        ))
    }
}

/// An evaluator that fails what is too large, and leaves the rest to another one.
pub struct LimitedEvaluator {
    limits: Limits,
    inner: Box<dyn Evaluator>,
}

impl LimitedEvaluator {
    pub fn new(limits: Limits, inner: Box<dyn Evaluator>) -> Self {
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
                Limits {
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
