//! The user-defined space: an ordered list of named decisions from the config file alone. Must not know what they mean.

use super::{Architecture, ChoiceNetwork, Decision, DecisionError, Kind, Network, Next, OptionValue, Space, SpaceSettings};

/// Named decisions in the order of the config file.
pub struct ChoiceSpace {
    /// Those with more than one option.
    kinds: Vec<Kind>,
    /// Those with one: always this.
    constants: Vec<(String, OptionValue)>,
}

impl ChoiceSpace {
    /// `settings` are free of problems.
    pub fn new(settings: &SpaceSettings) -> Self {
        let mut space = Self { kinds: Vec::new(), constants: Vec::new() };
        for decision in &settings.decision {
            match decision.options.as_slice() {
                [only] => space.constants.push((decision.name.clone(), only.clone())),
                options => space.kinds.push(Kind { name: decision.name.clone(), options: options.to_vec() }),
            }
        }
        space
    }
}

impl Space for ChoiceSpace {
    fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    fn has_anchors(&self) -> bool {
        false
    }

    fn next(&self, _layers: usize, decisions: &[Decision]) -> Next {
        if decisions.len() < self.kinds.len() { Next::Choose { kind: decisions.len() } } else { Next::Done }
    }

    fn build(&self, _layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        if decisions.len() != self.kinds.len() {
            let problem = format!("{} decisions are to be made, here are {}", self.kinds.len(), decisions.len());
            return Err(DecisionError { position: decisions.len().min(self.kinds.len()) + 1, problem });
        }
        let mut values: std::collections::BTreeMap<_, _> = self.constants.iter().cloned().collect();
        for (place, (kind, decision)) in self.kinds.iter().zip(decisions).enumerate() {
            let option = match decision {
                Decision::Choice(option) => kind.options.get(*option),
                Decision::Skips(_) => None,
            };
            let Some(option) = option else {
                let problem = format!("{} takes one of {} options, not {decision:?}", kind.name, kind.options.len());
                return Err(DecisionError { position: place + 1, problem });
            };
            values.insert(kind.name.clone(), option.clone());
        }
        Ok(Architecture { version: 1, network: Network::Choices(ChoiceNetwork { values }) })
    }

    fn layers(&self, _sampled: u64) -> usize {
        0
    }

    fn log10_size(&self, _layers: usize) -> f64 {
        self.kinds.iter().map(|kind| (kind.options.len() as f64).log10()).sum()
    }

    fn describe(&self, _layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let constant = self.constants.iter().map(|(name, value)| (name.clone(), value.to_string()));
        let chosen = self.kinds.iter().zip(decisions).filter_map(|(kind, decision)| match decision {
            Decision::Choice(option) => Some((kind.name.clone(), kind.options.get(*option)?.to_string())),
            Decision::Skips(_) => None,
        });
        constant.chain(chosen).collect()
    }
}
