//! Tests of the controller network against things computed otherwise; and the small space that they
//! share.

mod adam;
mod gradient;
mod sampling;

use super::{NetworkSettings, Policy};
use crate::random::{Key, Purpose, Stream};
use crate::space::{
    AdoptError, Architecture, Decision, DecisionError, Kind, Next, OptionValue, Space,
};

/// A small space in which lists of one minibatch differ in length and ask for different kinds at
/// the same step: each layer takes one of three types; type 0 has a flag, type 1 one of four sizes,
/// type 2 nothing more; then comes the layer's anchor point.
pub(crate) struct Branching(Vec<Kind>);

impl Branching {
    pub fn new() -> Self {
        let kind = |name: &str, options: i64| Kind {
            name: name.into(),
            options: (0..options).map(OptionValue::Integer).collect(),
        };
        Self(vec![kind("type", 3), kind("flag", 2), kind("size", 4)])
    }

    /// Every list of this depth.
    pub fn lists(&self, layers: usize) -> Vec<Vec<Decision>> {
        let mut finished = Vec::new();
        let mut open = vec![Vec::new()];
        while let Some(list) = open.pop() {
            let with = |decision: Decision| [list.as_slice(), &[decision]].concat();
            match self.next(layers, &list) {
                Next::Done => finished.push(list),
                Next::Choose { kind } => open.extend(
                    (0..self.0[kind].options.len()).map(|option| with(Decision::Choice(option))),
                ),
                Next::Anchor { earlier } => {
                    let bits = |number: u32| {
                        (0..earlier)
                            .map(|place| u8::from(number >> place & 1 == 1))
                            .collect()
                    };
                    open.extend(
                        (0..1 << earlier).map(|number| with(Decision::Skips(bits(number)))),
                    );
                }
            }
        }
        finished
    }
}

impl Space for Branching {
    fn kinds(&self) -> &[Kind] {
        &self.0
    }

    fn has_anchors(&self) -> bool {
        true
    }

    fn next(&self, layers: usize, decisions: &[Decision]) -> Next {
        let anchors = decisions
            .iter()
            .filter(|decision| matches!(decision, Decision::Skips(_)))
            .count();
        if anchors == layers {
            return Next::Done;
        }
        match decisions
            .rsplit(|decision| matches!(decision, Decision::Skips(_)))
            .next()
        {
            None | Some([]) => Next::Choose { kind: 0 },
            Some([Decision::Choice(kind @ (0 | 1))]) => Next::Choose { kind: kind + 1 },
            Some(_) => Next::Anchor { earlier: anchors },
        }
    }

    fn build(&self, _: usize, _: &[Decision]) -> Result<Architecture, DecisionError> {
        Err(DecisionError {
            position: 1,
            problem: "this space describes no networks".into(),
        })
    }

    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError> {
        Err(AdoptError::Kind {
            given: given.network.kind(),
            searched: "none",
        })
    }

    fn layers(&self, _: u64) -> usize {
        2
    }

    fn log10_size(&self, layers: usize) -> f64 {
        (self.lists(layers).len() as f64).log10()
    }

    fn describe(&self, _: usize, _: &[Decision]) -> Vec<(String, String)> {
        Vec::new()
    }
}

pub(super) fn settings(hidden: usize, layers: usize, init_scale: f64) -> NetworkSettings {
    NetworkSettings {
        hidden,
        layers,
        init_scale,
    }
}

pub(crate) fn policy(space: &dyn Space, hidden: usize, init_scale: f64) -> Policy {
    Policy::new(space, &settings(hidden, 2, init_scale))
}

/// The streams of one minibatch.
pub(crate) fn streams(seed: u64, minibatch: u64, slots: u32) -> Vec<Stream> {
    (0..slots)
        .map(|slot| {
            Key {
                seed,
                minibatch,
                slot,
                ..Key::default()
            }
            .stream(Purpose::Decisions)
        })
        .collect()
}
