//! The user-defined space: named decisions from the config file alone, each under its condition.
//! Must not know what they mean.

use super::conditions::{Rule, log10_count, rules};
use super::given;
use super::{
    AdoptError, Architecture, ChoiceNetwork, Decision, DecisionError, Kind, Network, Next,
    OptionValue, Space, SpaceSettings,
};

/// Named decisions in the order of the config file, each after those that its condition names.
pub struct ChoiceSpace {
    items: Vec<Item>,
    rules: Vec<Rule>,
    /// Of the items with more than one option.
    kinds: Vec<Kind>,
    log10_size: f64,
}

/// A decision; one option: always this, where its condition holds.
struct Item {
    name: String,
    options: Vec<OptionValue>,
    kind: Option<usize>,
}

/// How far a list of decisions goes.
struct Walk {
    /// The option of each item; None: not decided (yet, or at all).
    taken: Vec<Option<usize>>,
    /// The item that the next decision is for; None: the list is finished.
    wanted: Option<usize>,
    /// Decisions that were used.
    used: usize,
}

impl ChoiceSpace {
    /// `settings` are free of problems.
    pub fn new(settings: &SpaceSettings) -> Self {
        let rules = rules(&settings.decision).unwrap_or_default();
        let mut kinds = Vec::new();
        let items = rules
            .iter()
            .map(|rule| &settings.decision[rule.index])
            .map(|decision| {
                let kind = (decision.options.len() > 1).then(|| {
                    kinds.push(Kind {
                        name: decision.name.clone(),
                        options: decision.options.clone(),
                    });
                    kinds.len() - 1
                });
                Item {
                    name: decision.name.clone(),
                    options: decision.options.clone(),
                    kind,
                }
            });
        Self {
            items: items.collect(),
            log10_size: log10_count(&rules),
            rules,
            kinds,
        }
    }

    /// The decisions that give these values.
    fn decisions(&self, given: &ChoiceNetwork) -> Result<Vec<Decision>, AdoptError> {
        let listed = |texts: Vec<String>| texts.join(", ");
        if let Some(name) = given
            .values
            .keys()
            .find(|name| !self.items.iter().any(|item| item.name == **name))
        {
            let names = self.items.iter().map(|item| item.name.clone()).collect();
            return Err(AdoptError::UnknownValue {
                name: name.clone(),
                known: listed(names),
            });
        }
        let mut decisions = Vec::new();
        let mut taken = Vec::with_capacity(self.items.len());
        for (item, rule) in self.items.iter().zip(&self.rules) {
            let name = item.name.clone();
            let value = given.values.get(&item.name);
            let options = || listed(item.options.iter().map(ToString::to_string).collect());
            let option = match (rule.holds(&taken), value) {
                (false, None) => None,
                (false, Some(_)) => return Err(AdoptError::SuperfluousValue { name }),
                (true, None) => {
                    return Err(AdoptError::MissingValue {
                        name,
                        options: options(),
                    });
                }
                (true, Some(value)) => {
                    let position = item.options.iter().position(|option| option == value);
                    Some(position.ok_or_else(|| AdoptError::OtherValue {
                        name,
                        value: value.to_string(),
                        options: options(),
                    })?)
                }
            };
            decisions.extend(option.filter(|_| item.kind.is_some()).map(Decision::Choice));
            taken.push(option);
        }
        Ok(decisions)
    }

    /// Options that are out of range end the walk where they stand.
    fn walk(&self, decisions: &[Decision]) -> Walk {
        let mut walk = Walk {
            taken: Vec::with_capacity(self.items.len()),
            wanted: None,
            used: 0,
        };
        for (number, (item, rule)) in self.items.iter().zip(&self.rules).enumerate() {
            let option = match (rule.holds(&walk.taken), item.kind) {
                (false, _) => None,
                (true, None) => Some(0),
                (true, Some(_)) => match decisions.get(walk.used) {
                    Some(Decision::Choice(option)) if *option < item.options.len() => {
                        walk.used += 1;
                        Some(*option)
                    }
                    _ => {
                        walk.wanted = Some(number);
                        break;
                    }
                },
            };
            walk.taken.push(option);
        }
        walk.taken.resize(self.items.len(), None);
        walk
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
        match self
            .walk(decisions)
            .wanted
            .and_then(|item| self.items[item].kind)
        {
            Some(kind) => Next::Choose { kind },
            None => Next::Done,
        }
    }

    fn build(&self, _layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        let walk = self.walk(decisions);
        let problem = match (
            walk.wanted.map(|item| &self.items[item]),
            decisions.get(walk.used),
        ) {
            (None, None) => {
                let values = self.items.iter().zip(&walk.taken);
                let values = values.filter_map(|(item, option)| {
                    Some((item.name.clone(), item.options.get((*option)?)?.clone()))
                });
                return Ok(Architecture {
                    version: 1,
                    network: Network::Choices(ChoiceNetwork {
                        values: values.collect(),
                    }),
                });
            }
            (Some(item), Some(other)) => item
                .kind
                .map(|kind| self.kinds[kind].refusal(other))
                .unwrap_or_default(),
            (Some(item), None) => format!("the list ends here, and {} is not decided", item.name),
            (None, Some(_)) => "everything is decided before this decision".to_owned(),
        };
        Err(DecisionError {
            position: walk.used + 1,
            problem,
        })
    }

    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError> {
        let Network::Choices(given) = given.network else {
            return Err(given::other_kind(&given.network, "choices"));
        };
        let decisions = self.decisions(&given)?;
        Ok((self.build(0, &decisions)?, decisions))
    }

    fn layers(&self, _sampled: u64) -> usize {
        0
    }

    fn log10_size(&self, _layers: usize) -> f64 {
        self.log10_size
    }

    fn describe(&self, _layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        let taken = self.walk(decisions).taken;
        let described = |constant: bool| {
            self.items
                .iter()
                .zip(&taken)
                .filter(move |(item, _)| item.kind.is_none() == constant)
                .map(|(item, option)| {
                    let value = option
                        .and_then(|option| item.options.get(option))
                        .map_or_else(String::new, ToString::to_string);
                    (item.name.clone(), value)
                })
        };
        described(true).chain(described(false)).collect()
    }
}
