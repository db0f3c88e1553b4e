//! The `[child]` section.
use serde::{Deserialize, Serialize};

/// Where rewards come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvaluatorKind {
    /// Train the child on the data.
    Train,
    /// Look it up in a CSV file.
    Table,
    /// A program of the user's trains the child.
    Command,
}

/// Learning rate over a child's epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Constant,
    /// Half a cosine down to 0 at the end of the last epoch.
    Cosine,
    /// Times `schedule_factor` at each of `schedule_steps` (fractions of all epochs).
    Steps,
    /// Times `schedule_factor` at every epoch beyond the first `schedule_after`.
    Decay,
}

/// What a failed child teaches the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum FailedReward {
    /// Nothing: it is left out of the gradient.
    #[default]
    Skip,
    /// That it is worth this.
    Reward(f64),
}

impl FailedReward {
    /// The reward, if it has one.
    pub fn reward(self) -> Option<f64> {
        match self {
            Self::Skip => None,
            Self::Reward(reward) => Some(reward),
        }
    }
}

impl Serialize for FailedReward {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Skip => serializer.serialize_str("skip"),
            Self::Reward(reward) => serializer.serialize_f64(*reward),
        }
    }
}

impl<'de> Deserialize<'de> for FailedReward {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = FailedReward;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("\"skip\" or a number")
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<FailedReward, E> {
                if value == "skip" {
                    Ok(FailedReward::Skip)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(value), &self))
                }
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<FailedReward, E> {
                Ok(FailedReward::Reward(value))
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<FailedReward, E> {
                Ok(FailedReward::Reward(value as f64))
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<FailedReward, E> {
                Ok(FailedReward::Reward(value as f64))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// `[child]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildSettings {
    pub evaluator: EvaluatorKind,
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    pub weight_decay: f64,
    pub schedule: Schedule,
    pub schedule_steps: Vec<f64>,
    pub schedule_factor: f64,
    pub schedule_after: usize,
    /// Of a language model: reward = `reward_constant` / (lowest validation perplexity of the last
    /// `reward_window` epochs) to the power `reward_exponent`.
    pub reward_constant: f64,
    /// Of images: reward = (best validation accuracy of the last `reward_window` epochs) to the
    /// power `reward_exponent`.
    pub reward_exponent: f64,
    pub reward_window: usize,
    /// A child that trains for longer ends as failed; unset: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// A child that trains for longer keeps a checkpoint so often, and goes on from there when it
    /// is interrupted; 0: after every epoch.
    pub checkpoint_seconds: f64,
    /// How often a child is tried when the cause of its failure may pass.
    pub attempts: u32,
    /// The reward of a child that failed.
    pub failed_reward: FailedReward,
    /// A language model: layers of the cell, one on the other.
    pub layers: usize,
    /// Units of the embedding and of every layer; unset: as many as `parameters` allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Parameters that the hidden size is solved for, within 1%.
    pub parameters: usize,
    /// The softmax uses the embedding's matrix.
    pub shared_embeddings: bool,
    /// Steps that gradients flow back through (truncated back-propagation through time).
    pub steps: usize,
    /// A longer gradient is shortened to this length.
    pub clip_norm: f64,
    /// Weights start uniform in ± this.
    pub init_scale: f64,
    /// Share of words whose vectors are zeros in a step, wherever they stand (Gal & Ghahramani
    /// 2016).
    pub embedding_dropout: f64,
    /// Of what enters each layer, of h from the step before, and of what leaves the last layer: the
    /// same units at all steps of a window.
    pub input_dropout: f64,
    pub recurrent_dropout: f64,
    pub output_dropout: f64,
    #[serde(skip_serializing_if = "TableSettings::is_empty")]
    pub table: TableSettings,
    #[serde(skip_serializing_if = "CommandSettings::is_default")]
    pub command: CommandSettings,
}

/// `[child.table]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableSettings {
    /// The CSV file.
    pub path: String,
    /// Reward columns: with several, one is drawn for each trial.
    pub reward: Vec<String>,
    /// Column of training seconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub seconds: String,
    /// Columns shown for the best trial and never used by the search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<String>,
}

/// `[child.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandSettings {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Channels, height and width of the images that convolutional architectures are for.
    pub image: Vec<usize>,
    /// Classes that they tell apart.
    pub classes: usize,
}

impl Default for CommandSettings {
    fn default() -> Self {
        Self {
            argv: Vec::new(),
            image: vec![3, 32, 32],
            classes: 10,
        }
    }
}

impl CommandSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl TableSettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ChildSettings {
    /// The paper's recipe (§4.1).
    fn default() -> Self {
        Self {
            evaluator: EvaluatorKind::Train,
            epochs: 50,
            batch_size: 64,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            schedule: Schedule::Constant,
            schedule_steps: vec![0.5, 0.75],
            schedule_factor: 0.1,
            schedule_after: 6,
            reward_constant: 80.0,
            reward_exponent: 3.0,
            reward_window: 5,
            max_seconds: None,
            checkpoint_seconds: 600.0,
            attempts: 3,
            failed_reward: FailedReward::Skip,
            layers: 2,
            hidden: None,
            parameters: 20_000_000,
            shared_embeddings: false,
            steps: 35,
            clip_norm: 5.0,
            init_scale: 0.05,
            embedding_dropout: 0.2,
            input_dropout: 0.5,
            recurrent_dropout: 0.25,
            output_dropout: 0.5,
            table: TableSettings::default(),
            command: CommandSettings::default(),
        }
    }
}

impl ChildSettings {
    /// What stands for a key that is left out where cells are searched: the recipe of the "medium"
    /// language model of Zaremba et al. (2014), with the paper's epochs and reward (§4.2).
    pub fn language_model() -> Self {
        Self {
            epochs: 35,
            batch_size: 20,
            learning_rate: 1.0,
            momentum: 0.0,
            weight_decay: 0.0,
            schedule: Schedule::Decay,
            schedule_factor: 0.8,
            reward_exponent: 2.0,
            ..Self::default()
        }
    }
}

const MOST_EPOCHS: usize = 1_000_000;
const MOST_EXAMPLES: usize = 1_000_000;
const MOST_RECURRENT_LAYERS: usize = 100;
const MOST_UNITS: usize = 100_000;
const MOST_PARAMETERS: usize = 100_000_000_000;
const MOST_STEPS: usize = 100_000;
const MOST_ATTEMPTS: u32 = 1_000;
const MOST_PIXELS: usize = 1 << 16;

impl ChildSettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let fractions = self.schedule_steps.windows(2).all(|pair| pair[0] < pair[1])
            && self
                .schedule_steps
                .iter()
                .all(|&step| step > 0.0 && step < 1.0);
        let rules = [
            ("epochs", (1..=MOST_EPOCHS).contains(&self.epochs), format!("must be 1 to {MOST_EPOCHS} epochs")),
            ("batch_size", (1..=MOST_EXAMPLES).contains(&self.batch_size), format!("must be 1 to {MOST_EXAMPLES} examples")),
            ("learning_rate", positive(self.learning_rate), "must be above 0, for example 0.1".into()),
            ("momentum", (0.0..1.0).contains(&self.momentum), "must be from 0 to below 1, for example 0.9".into()),
            ("weight_decay", self.weight_decay.is_finite() && self.weight_decay >= 0.0, "must be 0 or more, for example 0.0001".into()),
            (
                "schedule_steps",
                fractions,
                "must be ascending fractions of all epochs, each above 0 and below 1, for example [0.5, 0.75]".into(),
            ),
            ("schedule_factor", positive(self.schedule_factor), "must be above 0, for example 0.1".into()),
            ("reward_exponent", positive(self.reward_exponent), "must be above 0, for example 3".into()),
            ("reward_window", self.reward_window >= 1, "must be 1 epoch or more, for example 5".into()),
            ("max_seconds", self.max_seconds.is_none_or(positive), "must be above 0 seconds, or left out for no limit".into()),
            (
                "checkpoint_seconds",
                self.checkpoint_seconds.is_finite() && self.checkpoint_seconds >= 0.0,
                "must be 0 seconds (after every epoch) or more, for example 600".into(),
            ),
            ("attempts", (1..=MOST_ATTEMPTS).contains(&self.attempts), format!("must be 1 to {MOST_ATTEMPTS}")),
        ];
        let rules = rules.into_iter().chain(self.language_rules());
        let broken = rules
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (key.to_owned(), valid));
        broken
            .chain(self.table_problems())
            .chain(self.command_problems())
            .collect()
    }

    fn command_problems(&self) -> Vec<(String, String)> {
        let (command, defaults) = (&self.command, CommandSettings::default());
        let is_used = self.evaluator == EvaluatorKind::Command;
        let without = "has an effect with child.evaluator = \"command\" alone: set that, or leave this key out";
        let argv = "child.evaluator = \"command\" needs it: the program and its arguments, for example [\"python3\", \"train.py\"]";
        let nul = command.argv.iter().any(|argument| argument.contains('\0'));
        let named = !nul
            && command
                .argv
                .first()
                .is_some_and(|program| !program.is_empty());
        let sides = command.image.len() == 3
            && command
                .image
                .iter()
                .all(|side| (1..=MOST_PIXELS).contains(side));
        let rules = [
            ("argv", is_used || command.argv.is_empty(), without),
            ("argv", !is_used || named, argv),
            ("image", is_used || command.image == defaults.image, without),
            (
                "image",
                sides,
                "must be channels, height and width of the images, each 1 to 65536, for example [3, 32, 32]",
            ),
            (
                "classes",
                is_used || command.classes == defaults.classes,
                without,
            ),
            (
                "classes",
                (1..=MOST_PIXELS).contains(&command.classes),
                "must be 1 to 65536 classes",
            ),
        ];
        rules
            .into_iter()
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (format!("command.{key}"), valid.to_owned()))
            .collect()
    }

    fn language_rules(&self) -> impl Iterator<Item = (&'static str, bool, String)> {
        let positive = |number: f64| number.is_finite() && number > 0.0;
        let share = |share: f64| (0.0..1.0).contains(&share);
        let shares = || "must be a share from 0 (none) to below 1, for example 0.25".to_owned();
        let size = |size: usize| (1..=MOST_PARAMETERS).contains(&size);
        let rules = [
            (
                "schedule_after",
                self.schedule_after <= MOST_EPOCHS,
                format!("must be 0 to {MOST_EPOCHS} epochs"),
            ),
            (
                "reward_constant",
                positive(self.reward_constant),
                "must be above 0, for example 80".into(),
            ),
            (
                "layers",
                (1..=MOST_RECURRENT_LAYERS).contains(&self.layers),
                format!("must be 1 to {MOST_RECURRENT_LAYERS}, for example 2"),
            ),
            (
                "hidden",
                self.hidden
                    .is_none_or(|units| (1..=MOST_UNITS).contains(&units)),
                format!("must be 1 to {MOST_UNITS}, or left out"),
            ),
            (
                "parameters",
                size(self.parameters),
                format!("must be 1 to {MOST_PARAMETERS}, for example 20000000"),
            ),
            (
                "steps",
                (1..=MOST_STEPS).contains(&self.steps),
                format!("must be 1 to {MOST_STEPS}, for example 35"),
            ),
            (
                "clip_norm",
                positive(self.clip_norm),
                "must be above 0, for example 5".into(),
            ),
            (
                "init_scale",
                positive(self.init_scale),
                "must be above 0, for example 0.05".into(),
            ),
            ("embedding_dropout", share(self.embedding_dropout), shares()),
            ("input_dropout", share(self.input_dropout), shares()),
            ("recurrent_dropout", share(self.recurrent_dropout), shares()),
            ("output_dropout", share(self.output_dropout), shares()),
        ];
        rules.into_iter()
    }

    /// Keys of language models that were written although images are trained on.
    pub fn foreign_language_keys(&self) -> Vec<(String, String)> {
        let defaults = Self::default();
        let keys = [
            (
                "reward_constant",
                self.reward_constant != defaults.reward_constant,
            ),
            ("layers", self.layers != defaults.layers),
            ("hidden", self.hidden != defaults.hidden),
            ("parameters", self.parameters != defaults.parameters),
            (
                "shared_embeddings",
                self.shared_embeddings != defaults.shared_embeddings,
            ),
            ("steps", self.steps != defaults.steps),
            ("clip_norm", self.clip_norm != defaults.clip_norm),
            ("init_scale", self.init_scale != defaults.init_scale),
            (
                "embedding_dropout",
                self.embedding_dropout != defaults.embedding_dropout,
            ),
            (
                "input_dropout",
                self.input_dropout != defaults.input_dropout,
            ),
            (
                "recurrent_dropout",
                self.recurrent_dropout != defaults.recurrent_dropout,
            ),
            (
                "output_dropout",
                self.output_dropout != defaults.output_dropout,
            ),
        ];
        let without =
            "has an effect with space.kind = \"cell\" alone: set that, or leave this key out";
        keys.into_iter()
            .filter(|(_, written)| *written)
            .map(|(key, _)| (key.to_owned(), without.to_owned()))
            .collect()
    }

    fn table_problems(&self) -> Vec<(String, String)> {
        let problem = |key: &str, valid: &str| (format!("table.{key}"), valid.to_owned());
        let table = &self.table;
        if self.evaluator != EvaluatorKind::Table {
            let written = [
                ("path", !table.path.is_empty()),
                ("reward", !table.reward.is_empty()),
                ("seconds", !table.seconds.is_empty()),
                ("report", !table.report.is_empty()),
            ];
            let without = "has an effect with child.evaluator = \"table\" alone: set that, or leave this key out";
            return written
                .into_iter()
                .filter(|(_, there)| *there)
                .map(|(key, _)| problem(key, without))
                .collect();
        }
        let mut problems = Vec::new();
        if table.path.is_empty() {
            problems.push(problem(
                "path",
                "child.evaluator = \"table\" needs it: the CSV file",
            ));
        }
        if table.reward.is_empty() {
            problems.push(problem("reward", "child.evaluator = \"table\" needs it: one reward column or more, for example [\"accuracy\"]"));
        }
        if table
            .reward
            .iter()
            .any(|column| table.report.contains(column))
        {
            problems.push(problem("report", "must not repeat a reward column"));
        }
        problems
    }
}
