//! Every strategy by the word that names it in the config file and in the log. Must not know what
//! a strategy does.

use super::Strategy;
use super::evolution::Evolution;
use super::grid::Grid;
use super::guided::Guided;
use super::local_search::LocalSearch;
use super::ppo::Ppo;
use super::random::Random;
use super::reinforce::Reinforce;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// One strategy.
pub(super) struct Entry {
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Makes it with an empty state.
    pub create: fn() -> Arc<dyn Strategy>,
}

/// One line each. The key's valid words, its documentation and `check` come from here.
#[rustfmt::skip]
const STRATEGIES: &[Entry] = &[
    Entry { name: "reinforce", doc: "The paper's policy gradient.", create: || Arc::new(Reinforce) },
    Entry { name: "ppo", doc: "The controller made for short searches: ranks of rewards, several clipped steps from each minibatch, no repeats.", create: || Arc::new(Ppo::default()) },
    Entry { name: "guided", doc: "As ppo; a Gaussian process picks among the controller's proposals and neighbours of the best trials.", create: || Arc::new(Guided::default()) },
    Entry { name: "evolution", doc: "Regularised evolution without repeats: nothing is learned.", create: || Arc::new(Evolution::default()) },
    Entry { name: "grid", doc: "Every decision list once, in order, for small spaces: nothing is learned.", create: || Arc::new(Grid::default()) },
    Entry { name: "local-search", doc: "First improvement with restarts, without repeats: nothing is learned.", create: || Arc::new(LocalSearch::default()) },
    Entry { name: "random", doc: "Uniform, for comparison: nothing is learned.", create: || Arc::new(Random) },
];

/// The name of a strategy that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategyName(&'static str);

impl StrategyName {
    /// The paper's.
    pub const REINFORCE: Self = Self("reinforce");
    /// See `ppo.rs`.
    pub const PPO: Self = Self("ppo");
    /// See `guided.rs`.
    pub const GUIDED: Self = Self("guided");
    /// See `grid.rs`.
    pub const GRID: Self = Self("grid");
    /// Uniform.
    pub const RANDOM: Self = Self("random");

    /// Every valid name.
    pub const ALL: &'static [&'static str] = &names();

    /// The strategy of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        entries()
            .find(|entry| entry.name == name)
            .map(|entry| Self(entry.name))
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// One sentence: what it does.
    pub fn doc(self) -> &'static str {
        self.entry().doc
    }

    /// The strategy, with an empty state.
    pub fn create(self) -> Arc<dyn Strategy> {
        (self.entry().create)()
    }

    fn entry(self) -> &'static Entry {
        let own = entries().find(|entry| entry.name == self.0);
        own.expect("a name is made only of an entry's")
    }
}

/// What is not for users is in no listing.
fn entries() -> impl Iterator<Item = &'static Entry> {
    #[cfg(test)]
    let more = super::tests::STRATEGIES;
    #[cfg(not(test))]
    let more: &[Entry] = &[];
    STRATEGIES.iter().chain(more)
}

const fn names() -> [&'static str; STRATEGIES.len()] {
    let mut names = [""; STRATEGIES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = STRATEGIES[index].name;
        index += 1;
    }
    names
}

impl Serialize for StrategyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for StrategyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::find(&name).ok_or_else(|| serde::de::Error::unknown_variant(&name, Self::ALL))
    }
}
