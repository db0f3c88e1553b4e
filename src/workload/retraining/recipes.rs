//! The networks of a retraining and the recipes that each is trained by, as a space whose decisions
//! are the network and the recipe. Must not know how anything is trained.

use super::RetrainSettings;
use crate::child::{ChildSettings, Schedule};
use crate::space::{
    AdoptError, Architecture, ChoiceSpace, Decision, DecisionError, DecisionSettings, Kind,
    Network, Next, OptionValue, Space, SpaceKind, SpaceSettings,
};
use serde::{Deserialize, Serialize};

/// The decision that names the network.
const NETWORK: &str = "network";

/// A network that is trained again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainedNetwork {
    /// `trial 12`, or the name of an architecture's file: different for each network.
    pub name: String,
    /// The search's trial that it is; None: it comes from a file.
    pub trial: Option<u64>,
    pub architecture: Architecture,
}

/// What is trained again, and by what: plain data that does not change in a retraining's life. Every
/// network is trained by every recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipes {
    pub networks: Vec<RetrainedNetwork>,
    pub lists: RetrainSettings,
}

/// What one training is done by; None: as the search trained its children.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    pub learning_rate: Option<f64>,
    pub weight_decay: Option<f64>,
    pub batch_norm_epsilon: Option<f64>,
    pub init_scale: Option<f64>,
    /// Embedding, input, recurrent, output.
    pub dropouts: Option<Vec<f64>>,
    pub decay_epoch: Option<usize>,
}

impl Recipe {
    /// The settings of a training of `epochs` epochs, where each recipe is tried for
    /// `trial_epochs`: the learning rate falls at the same share of them.
    pub fn applied(
        &self,
        child: &ChildSettings,
        epochs: usize,
        trial_epochs: usize,
    ) -> ChildSettings {
        let mut child = child.clone();
        let set = |key: &mut f64, value: Option<f64>| *key = value.unwrap_or(*key);
        set(&mut child.learning_rate, self.learning_rate);
        set(&mut child.weight_decay, self.weight_decay);
        set(&mut child.batch_norm_epsilon, self.batch_norm_epsilon);
        set(&mut child.init_scale, self.init_scale);
        if let Some([embedding, input, recurrent, output]) = self.dropouts.as_deref() {
            child.embedding_dropout = *embedding;
            child.input_dropout = *input;
            child.recurrent_dropout = *recurrent;
            child.output_dropout = *output;
        }
        if let Some(epoch) = self.decay_epoch {
            let share = epoch as f64 / trial_epochs as f64;
            if child.schedule == Schedule::Decay {
                child.schedule_after = (share * epochs as f64).round() as usize;
            } else {
                child.schedule = Schedule::Steps;
                child.schedule_steps = vec![share];
            }
        }
        child.epochs = epochs;
        child
    }
}

impl Recipes {
    /// Each decision's name and options, in order.
    fn decisions(&self) -> Vec<(&'static str, Vec<OptionValue>)> {
        let floats = |values: &[f64]| values.iter().copied().map(OptionValue::Float).collect();
        let names = self.networks.iter();
        let names = names.map(|network| OptionValue::Text(network.name.clone()));
        let lists = &self.lists;
        let dropouts = lists.dropouts.iter();
        let dropouts = dropouts.map(|shares| OptionValue::Text(format!("{shares:?}")));
        let epochs = lists.decay_epoch.iter();
        let epochs = epochs.map(|epoch| OptionValue::Integer(*epoch as i64));
        vec![
            (NETWORK, names.collect()),
            ("learning_rate", floats(&lists.learning_rate)),
            ("weight_decay", floats(&lists.weight_decay)),
            ("batch_norm_epsilon", floats(&lists.batch_norm_epsilon)),
            ("init_scale", floats(&lists.init_scale)),
            ("dropouts", dropouts.collect()),
            ("decay_epoch", epochs.collect()),
        ]
    }

    /// Which option of each of these decisions a list takes: 0 where there is nothing to decide.
    fn options(&self, decisions: &[Decision]) -> Result<Vec<usize>, DecisionError> {
        let mut given = decisions.iter();
        let mut options = Vec::new();
        for (position, (name, values)) in self.decisions().into_iter().enumerate() {
            if values.len() < 2 {
                options.push(0);
                continue;
            }
            match given.next() {
                Some(Decision::Choice(option)) if *option < values.len() => options.push(*option),
                _ => {
                    return Err(DecisionError {
                        position: position + 1,
                        problem: format!("{name} must be one of {} options", values.len()),
                    });
                }
            }
        }
        Ok(options)
    }

    /// How many trainings there are to choose from.
    pub fn count(&self) -> usize {
        let options = self.decisions().into_iter();
        options
            .map(|(_, values)| values.len().max(1))
            .fold(1, usize::saturating_mul)
    }

    /// The network and the recipe that a list of decisions names.
    ///
    /// # Errors
    /// The list is none of this space.
    pub fn chosen(
        &self,
        decisions: &[Decision],
    ) -> Result<(&RetrainedNetwork, Recipe), DecisionError> {
        let options = self.options(decisions)?;
        let [network, rate, weights, epsilon, scale, dropouts, epoch] = options[..] else {
            return Err(DecisionError {
                position: 1,
                problem: "the list is of another retraining".into(),
            });
        };
        let lists = &self.lists;
        let recipe = Recipe {
            learning_rate: lists.learning_rate.get(rate).copied(),
            weight_decay: lists.weight_decay.get(weights).copied(),
            batch_norm_epsilon: lists.batch_norm_epsilon.get(epsilon).copied(),
            init_scale: lists.init_scale.get(scale).copied(),
            dropouts: lists.dropouts.get(dropouts).cloned(),
            decay_epoch: lists.decay_epoch.get(epoch).copied(),
        };
        Ok((&self.networks[network], recipe))
    }

    /// What a list of decisions chose among several, as name and value: `[("network", "trial 12"),
    /// ("learning_rate", "0.05")]`.
    pub fn described(&self, decisions: &[Decision]) -> Vec<(String, String)> {
        let Ok(options) = self.options(decisions) else {
            return Vec::new();
        };
        self.decisions()
            .into_iter()
            .zip(options)
            .filter(|((_, values), _)| values.len() > 1)
            .map(|((name, values), option)| (name.to_owned(), values[option].to_string()))
            .collect()
    }

    /// As a space: its decision lists are the networks and recipes.
    pub fn space(self) -> RecipeSpace {
        let decision = self
            .decisions()
            .into_iter()
            .filter(|(_, values)| values.len() > 1)
            .map(|(name, options)| DecisionSettings {
                name: name.to_owned(),
                options,
                when: [].into(),
            });
        let settings = SpaceSettings {
            kind: SpaceKind::Choices,
            decision: decision.collect(),
            ..SpaceSettings::default()
        };
        RecipeSpace {
            choices: ChoiceSpace::new(&settings),
            recipes: self,
        }
    }
}

/// Decides network and recipe; what it builds is the network.
pub struct RecipeSpace {
    choices: ChoiceSpace,
    recipes: Recipes,
}

impl Space for RecipeSpace {
    fn kinds(&self) -> &[Kind] {
        self.choices.kinds()
    }

    fn has_anchors(&self) -> bool {
        false
    }

    fn next(&self, layers: usize, decisions: &[Decision]) -> Next {
        self.choices.next(layers, decisions)
    }

    fn build(&self, layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        self.choices.build(layers, decisions)?;
        let (network, recipe) = self.recipes.chosen(decisions)?;
        let mut architecture = network.architecture.clone();
        if let (Network::Conv(network), Some(_)) = (&mut architecture.network, recipe.learning_rate)
        {
            // The recipe's takes its place.
            network.learning_rate = None;
        }
        Ok(architecture)
    }

    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError> {
        Err(AdoptError::Kind {
            given: given.network.kind(),
            searched: "recipes",
        })
    }

    fn layers(&self, _: u64) -> usize {
        0
    }

    fn log10_size(&self, layers: usize) -> f64 {
        self.choices.log10_size(layers)
    }

    fn describe(&self, layers: usize, decisions: &[Decision]) -> Vec<(String, String)> {
        self.choices.describe(layers, decisions)
    }
}
