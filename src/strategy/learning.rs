//! The settings that are part of a run's log: what they were decides what every gradient and every
//! proposal was. Must not know where the log is kept.

use super::{PpoSettings, Scores, StrategyName};
use crate::policy::{ComparedRewards, RewardAverages, UpdateSettings};
use serde::{Deserialize, Serialize};

/// The sum of learning rates over a run below which a controller proposes as it began.
const LEAST_MOVEMENT: f64 = 0.05;

/// What proposals, gradients and updates need from the settings; a change takes a sequence number
/// of its own. The log holds them as JSON. A field that is absent there stands for the rule that
/// held before it existed, so a new field has a serde default of that meaning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Logged")]
pub struct LearningSettings {
    pub strategy: StrategyName,
    pub learning_rate: f64,
    pub baseline_decay: f64,
    pub entropy_weight: f64,
    /// Gradients per update.
    pub accumulate: usize,
    /// No advantage counts for more than this many times the running scale; None: advantages have no
    /// bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advantage_bound: Option<f64>,
    /// What `ppo` and `guided` learn by beside these; None: another strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppo: Option<PpoSettings>,
    /// What the surrogate of `guided` is fitted to.
    #[serde(skip_serializing_if = "is_ranks")]
    pub scores: Scores,
    /// Networks larger than the space's limits are drawn again; else they are proposed, and fail.
    #[serde(skip_serializing_if = "is_false")]
    pub redraws: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_ranks(scores: &Scores) -> bool {
    *scores == Scores::Ranks
}

impl LearningSettings {
    /// The bound of runs whose rewards may be any number.
    pub const ADVANTAGE_BOUND: f64 = 10.0;

    /// The scale that a minibatch is compared by, to be logged beside its baseline; None: its
    /// advantages have no bound.
    pub fn scale(&self, averages: &RewardAverages) -> Option<f64> {
        self.advantage_bound.map(|_| averages.scale())
    }

    /// A minibatch's rewards, compared with the baseline and the scale that were read before it.
    pub fn compare(
        &self,
        baseline: Option<f64>,
        scale: Option<f64>,
        rewards: &[Option<f64>],
    ) -> ComparedRewards {
        let limit = self.advantage_bound.zip(scale);
        ComparedRewards::new(baseline, limit.map(|(bound, scale)| bound * scale), rewards)
    }

    /// A compared minibatch enters the averages.
    pub fn average(&self, averages: &mut RewardAverages, compared: &ComparedRewards) {
        averages.push(
            compared,
            self.baseline_decay,
            self.advantage_bound.is_some(),
        );
    }

    /// How many updates so many trials make in minibatches of so many children, where these are too
    /// few or too small for the controller to learn: no parameter can move by a twentieth.
    pub fn too_little_to_learn(&self, trials: u64, children: usize) -> Option<u64> {
        let steps = match (self.strategy, self.ppo) {
            (StrategyName::REINFORCE, _) => 1,
            (StrategyName::PPO, Some(ppo)) => ppo.epochs as u64,
            _ => return None,
        };
        let minibatches = trials.div_ceil(children.max(1) as u64);
        let updates = steps * minibatches / self.accumulate.max(1) as u64;
        (updates as f64 * self.learning_rate < LEAST_MOVEMENT).then_some(updates)
    }

    /// What the shards need of them.
    pub fn update(&self) -> UpdateSettings {
        UpdateSettings {
            rule: self.strategy.create().update_rule(self),
            accumulate: self.accumulate,
        }
    }
}

/// The settings as a log may hold them.
#[derive(Deserialize)]
struct Logged {
    strategy: Option<StrategyName>,
    /// Stood for the strategy before there were others: false meant `random`.
    learns: Option<bool>,
    learning_rate: f64,
    baseline_decay: f64,
    entropy_weight: f64,
    accumulate: usize,
    advantage_bound: Option<f64>,
    #[serde(default)]
    ppo: Option<PpoSettings>,
    #[serde(default)]
    scores: Scores,
    #[serde(default)]
    redraws: bool,
}

impl From<Logged> for LearningSettings {
    fn from(logged: Logged) -> Self {
        let earlier = match logged.learns {
            Some(false) => StrategyName::RANDOM,
            Some(true) | None => StrategyName::REINFORCE,
        };
        Self {
            strategy: logged.strategy.unwrap_or(earlier),
            learning_rate: logged.learning_rate,
            baseline_decay: logged.baseline_decay,
            entropy_weight: logged.entropy_weight,
            accumulate: logged.accumulate,
            advantage_bound: logged.advantage_bound,
            ppo: logged.ppo,
            scores: logged.scores,
            redraws: logged.redraws,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGGED: &str =
        r#"{"learning_rate":0.1,"baseline_decay":0.9,"entropy_weight":0.0,"accumulate":2"#;

    #[test]
    fn a_log_of_before_says_whether_it_learned() {
        for (field, name) in [
            (r#","learns":true}"#, StrategyName::REINFORCE),
            (r#","learns":false}"#, StrategyName::RANDOM),
            ("}", StrategyName::REINFORCE),
        ] {
            let learning: LearningSettings =
                serde_json::from_str(&format!("{LOGGED}{field}")).unwrap();
            assert_eq!((learning.strategy, learning.accumulate), (name, 2));
            let again = serde_json::to_string(&learning).unwrap();
            assert!(!again.contains("learns"), "{again}");
            assert_eq!(
                serde_json::from_str::<LearningSettings>(&again).unwrap(),
                learning
            );
        }
    }

    #[test]
    fn a_log_of_before_has_no_bound_and_one_of_today_keeps_its_own() {
        let bare: LearningSettings = serde_json::from_str(&format!("{LOGGED}}}")).unwrap();
        assert_eq!(bare.advantage_bound, None);
        assert!(!serde_json::to_string(&bare).unwrap().contains("advantage"));
        let bounded = LearningSettings {
            advantage_bound: Some(LearningSettings::ADVANTAGE_BOUND),
            ..bare
        };
        let text = serde_json::to_string(&bounded).unwrap();
        assert_eq!(
            serde_json::from_str::<LearningSettings>(&text).unwrap(),
            bounded
        );
    }

    #[test]
    fn a_log_of_before_proposed_networks_of_any_size() {
        let bare: LearningSettings = serde_json::from_str(&format!("{LOGGED}}}")).unwrap();
        assert!(!bare.redraws);
        assert!(!serde_json::to_string(&bare).unwrap().contains("redraws"));
        let now = LearningSettings {
            redraws: true,
            ..bare
        };
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(
            serde_json::from_str::<LearningSettings>(&text).unwrap(),
            now
        );
    }

    #[test]
    fn a_log_of_before_fits_to_ranks_and_lets_no_trial_teach_again() {
        let ppo = r#","ppo":{"epochs":5,"clip":0.2,"entropy_half_life":null}"#;
        let text = format!("{LOGGED}{ppo}}}");
        let before: LearningSettings = serde_json::from_str(&text).unwrap();
        assert_eq!(before.scores, Scores::Ranks);
        assert_eq!(before.ppo.unwrap().replayed, 0);
        let again = serde_json::to_string(&before).unwrap();
        assert!(!again.contains("scores") && !again.contains("replayed"));
        for strategy in [StrategyName::GUIDED, StrategyName::PPO] {
            let now = crate::strategy::ControllerSettings::default().learning(strategy, 1);
            let text = serde_json::to_string(&now).unwrap();
            let again: LearningSettings = serde_json::from_str(&text).unwrap();
            assert_eq!(again, now);
        }
    }

    #[test]
    fn a_strategy_that_this_program_does_not_have_is_an_error() {
        let text = format!(r#"{LOGGED},"strategy":"telepathy"}}"#);
        let error = serde_json::from_str::<LearningSettings>(&text).unwrap_err();
        assert!(error.to_string().contains("telepathy"), "{error}");
    }
}
