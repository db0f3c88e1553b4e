//! A list of decisions as names and values, for programs that compare trials: each decision with
//! what else it could have been. Must not know those programs.

use super::{Decision, Next, OptionValue, Space};

/// A decision as others understand it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedDecision {
    /// The same for the same decision of any list, for example `layer 1 filter height`.
    pub name: String,
    /// Index of what was decided among the options.
    pub chosen: usize,
    /// What could be decided.
    pub options: Vec<OptionValue>,
}

impl NamedDecision {
    /// What was decided.
    pub fn value(&self) -> &OptionValue {
        &self.options[self.chosen]
    }
}

/// The decisions of a list in their order; an anchor point is one decision for each earlier layer,
/// false or true. None: the list is none of this space and depth.
pub fn named_decisions(
    space: &dyn Space,
    layers: usize,
    decisions: &[Decision],
) -> Option<Vec<NamedDecision>> {
    let mut named = Vec::with_capacity(decisions.len());
    for (position, decision) in decisions.iter().enumerate() {
        let before = &decisions[..position];
        let name = || space.name(layers, before);
        match (space.next(layers, before), decision) {
            (Next::Choose { kind }, Decision::Choice(chosen)) => {
                let options = &space.kinds()[kind].options;
                options.get(*chosen)?;
                named.push(NamedDecision {
                    name: name(),
                    chosen: *chosen,
                    options: options.clone(),
                });
            }
            (Next::Anchor { earlier }, Decision::Skips(bits)) if bits.len() == earlier => {
                let name = name();
                named.extend((1..).zip(bits).map(|(layer, bit)| NamedDecision {
                    name: format!("{name} {layer}"),
                    chosen: usize::from(*bit != 0),
                    options: vec![OptionValue::Boolean(false), OptionValue::Boolean(true)],
                }));
            }
            _ => return None,
        }
    }
    (space.next(layers, decisions) == Next::Done).then_some(named)
}
