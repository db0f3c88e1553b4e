//! What a failed child is worth to the controller (`child.failed_reward`). Must not know who hears of
//! the failure, nor which rewards there have been.

use super::{Cause, FailedReward, RewardScale};

/// What the controller learns from one failed child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FailureWorth {
    /// Nothing: it is left out of the gradient.
    Nothing,
    /// That it is worth this.
    Reward(f64),
    /// That it is worth as little as the lowest reward so far, which is known when its minibatch
    /// takes its place in the log.
    Lowest,
}

/// How a run values its failed children.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureRule {
    pub reward: FailedReward,
    /// Where the rewards of the run lie.
    pub scale: RewardScale,
}

impl FailureRule {
    /// Failures teach nothing.
    pub const SKIP: Self = Self {
        reward: FailedReward::Skip,
        scale: RewardScale::Any,
    };

    /// What a failure of this cause is worth.
    pub fn worth(&self, cause: Cause) -> FailureWorth {
        match self.reward {
            FailedReward::Skip => FailureWorth::Nothing,
            FailedReward::Reward(reward) => FailureWorth::Reward(reward),
            FailedReward::ByCause if !cause.is_own() => FailureWorth::Nothing,
            FailedReward::ByCause => match self.scale.worst() {
                Some(worst) => FailureWorth::Reward(worst),
                None => FailureWorth::Lowest,
            },
        }
    }
}

impl Cause {
    /// Whether the network (or the program that trains it) brought the failure about; else the
    /// machine did, or its neighbours there, and nothing is known about the network.
    pub fn is_own(self) -> bool {
        match self {
            Self::Diverged
            | Self::Timeout
            | Self::OutOfMemory
            | Self::Unbuildable
            | Self::Exited
            | Self::Protocol => true,
            Self::DeviceFull
            | Self::Frozen
            | Self::Panicked
            | Self::Device
            | Self::Killed
            | Self::Error => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(reward: FailedReward, scale: RewardScale, cause: Cause) -> FailureWorth {
        FailureRule { reward, scale }.worth(cause)
    }

    #[test]
    fn the_network_answers_for_what_it_brought_about_and_for_nothing_else() {
        let accuracy = RewardScale::Accuracy {
            exponent: 3.0,
            has_cost: false,
        };
        let perplexity = RewardScale::Perplexity {
            constant: 80.0,
            exponent: 2.0,
        };
        let own = [
            Cause::Diverged,
            Cause::Timeout,
            Cause::OutOfMemory,
            Cause::Unbuildable,
            Cause::Exited,
            Cause::Protocol,
        ];
        let others = [
            Cause::DeviceFull,
            Cause::Frozen,
            Cause::Panicked,
            Cause::Device,
            Cause::Killed,
            Cause::Error,
        ];
        let rule = FailedReward::ByCause;
        for cause in own {
            for scale in [accuracy, perplexity] {
                assert_eq!(worth(rule, scale, cause), FailureWorth::Reward(0.0));
            }
            assert_eq!(worth(rule, RewardScale::Any, cause), FailureWorth::Lowest);
        }
        for cause in others {
            for scale in [accuracy, perplexity, RewardScale::Any] {
                assert_eq!(
                    worth(rule, scale, cause),
                    FailureWorth::Nothing,
                    "{cause:?}"
                );
            }
        }
    }

    #[test]
    fn a_number_and_skip_hold_for_every_cause() {
        for cause in [Cause::Diverged, Cause::Device] {
            let scale = RewardScale::Any;
            assert_eq!(
                worth(FailedReward::Reward(-0.5), scale, cause),
                FailureWorth::Reward(-0.5)
            );
            assert_eq!(
                worth(FailedReward::Skip, scale, cause),
                FailureWorth::Nothing
            );
        }
    }
}
