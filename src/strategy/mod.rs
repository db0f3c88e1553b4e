//! How the next architectures are chosen and what is learned from their rewards; and the replay of
//! a run's log, which asks a strategy the same questions as a running search. Functions of a seed,
//! a ticket and the log: no actors, no files, no clocks.

mod automatic;
mod confirmation;
mod decision_columns;
mod encoding;
mod evolution;
mod grid;
mod guided;
mod history;
mod importance;
mod learning;
mod local_search;
mod moves;
mod networks;
mod oversized;
mod ppo;
mod random;
mod registry;
mod reinforce;
mod replay;
mod scores;
mod settings;
mod surrogate;
#[cfg(test)]
mod tests;
mod verification;

pub use automatic::{Resolved, StrategyChoice};
pub use confirmation::{Again, TrialBudget, confirmed_networks, share};
pub use decision_columns::{DecisionColumn, DecisionColumns, NOT_DECIDED};
pub use guided::{KnownTrial, surrogate_state};
pub use history::{History, HistoryPosition, HistoryView, PendingMinibatch};
pub use importance::{FactorColumn, Importance, importance};
pub use learning::LearningSettings;
pub use ppo::PpoSettings;
pub use registry::StrategyName;
pub use replay::{
    HeldParameters, LogEntry, MinibatchEntry, ProposedMinibatch, PulledParameters, Replay,
    ReplayError, Snapshot, initial_snapshot,
};
pub use scores::Scores;
pub use settings::{ControllerSettings, ParameterServerSettings};
pub use verification::{Discrepancy, Verification};

use crate::policy::{ComparedRewards, Gradient, Policy, PolicyError, UpdateRule};
use crate::random::Key;
use crate::space::{Decision, Space};
use std::sync::Arc;

/// Proposes decision lists, and says what their rewards change.
///
/// A value of this type is the strategy's state after a prefix of the log. It starts empty at the
/// log entry that puts the strategy in force, and [`observe`](Strategy::observe) moves it on, one
/// minibatch after the other. All else is a function of the state and the arguments: no clock, no
/// randomness but that of the keys, no order of calls. So a search that is killed and continued
/// proposes the same, and `netwright verify` can propose every minibatch again.
///
/// A new strategy is a new file here and a line in `registry.rs`. Its settings are fields of
/// [`LearningSettings`], because what alters a proposal or a gradient belongs to the log.
pub trait Strategy: Send + Sync {
    /// Whether proposals depend on the log or on the pending trials. Where they do, the replicas of
    /// a synchronous round propose one after the other, each seeing what those before it proposed.
    fn reads_history(&self) -> bool {
        false
    }

    /// What the shards do with the gradients.
    fn update_rule(&self, learning: &LearningSettings) -> UpdateRule;

    /// One decision list for each of the request's keys, in their order. The state is that after
    /// the log entry that the ticket names. Called on the compute thread, and by `verify`.
    ///
    /// # Errors
    /// When the controller network's arithmetic fails.
    fn propose(&self, request: &ProposalRequest) -> Result<Vec<Proposal>, PolicyError>;

    /// What a minibatch with all its rewards adds to the parameters, in their layout. The state is
    /// that before the minibatch, in a synchronous round that before the round. Called on the
    /// compute thread, and by every replay.
    ///
    /// # Errors
    /// When the controller network's arithmetic fails.
    fn gradient(&self, request: &GradientRequest) -> Result<Gradient, PolicyError>;

    /// Takes the next minibatch of the log into the state. Called in the order of the sequence
    /// numbers; must be quick, for a running search does it between two messages.
    fn observe(&mut self, _space: &dyn Space, _minibatch: &RewardedMinibatch) {}

    /// Other learning settings hold from here on, of the same strategy.
    fn change(&mut self, _before: &LearningSettings, _now: &LearningSettings) {}

    /// The state, for a snapshot. The strategy versions its own format.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes over a state that [`save`](Strategy::save) gave.
    ///
    /// # Errors
    /// One sentence, when the bytes are not such a state.
    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state.is_empty() {
            Ok(())
        } else {
            Err("this strategy has no state".into())
        }
    }

    /// A copy that goes its own way.
    fn copy(&self) -> Arc<dyn Strategy>;
}

/// A strategy's state as bytes.
fn saved(state: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(state).expect("a state is plain data")
}

/// A part of a strategy's state that holds decisions: [`Decision`] has no other form.
fn as_json(state: &impl serde::Serialize) -> String {
    serde_json::to_string(state).expect("a state is plain data")
}

/// What a proposal depends on, beside the strategy's state.
pub struct ProposalRequest<'a> {
    pub policy: &'a Policy,
    pub space: &'a dyn Space,
    /// As pulled for this minibatch.
    pub parameters: &'a [f32],
    pub learning: &'a LearningSettings,
    /// Depth of the architectures; see [`Space::layers`].
    pub layers: usize,
    /// One for each slot: names the slot's random streams.
    pub keys: &'a [Key],
    /// What was proposed before and is not in the state: by ascending trial, then what the earlier
    /// replicas of the same round proposed. Empty where the strategy does not read the history.
    pub pending: &'a [Arc<PendingMinibatch>],
}

/// What a strategy proposes for one slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub decisions: Vec<Decision>,
    /// Sum over the decisions of the entropy of each one's distribution, in nats; None: they were
    /// not drawn from distributions.
    pub entropy: Option<f64>,
    /// The strategy repeats no network if it can help it, and found no new one.
    pub repeats: bool,
    /// Lists that were drawn before it and are larger than the space's limits.
    pub redrawn: usize,
}

/// A minibatch all of whose outcomes are known, as the log holds it.
#[derive(Clone, Copy, Debug)]
pub struct RewardedMinibatch<'a> {
    pub sequence: u64,
    pub layers: usize,
    /// In slot order.
    pub decisions: &'a [Vec<Decision>],
    /// In slot order; None: the child failed and is left out.
    pub rewards: &'a [Option<f64>],
    /// The moving average read before these rewards entered it (synchronous: before the round's);
    /// None: there was no reward yet.
    pub baseline: Option<f64>,
    /// Read with it; see [`LearningSettings::scale`].
    pub scale: Option<f64>,
}

impl RewardedMinibatch<'_> {
    /// Its advantages, and the rewards that enter the averages.
    pub fn compared(&self, learning: &LearningSettings) -> ComparedRewards {
        learning.compare(self.baseline, self.scale, self.rewards)
    }
}

/// What a gradient depends on, beside the strategy's state.
pub struct GradientRequest<'a> {
    pub policy: &'a Policy,
    pub space: &'a dyn Space,
    /// Those that the minibatch was proposed from.
    pub parameters: &'a [f32],
    pub learning: &'a LearningSettings,
    pub minibatch: RewardedMinibatch<'a>,
}
