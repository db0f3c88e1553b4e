//! The `[child]` section: each key's declaration stands on its field. Must not know where a value
//! was written.

use super::Cost;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smart_default::SmartDefault;

/// Where rewards come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine down to 0 at the end of the last epoch.
    Cosine,
    /// Times `schedule_factor` at each of `schedule_steps` (fractions of all epochs).
    Steps,
    /// Times `schedule_factor` at every epoch beyond the first `schedule_after`.
    Decay,
    /// Up from 0 for the first `schedule_warm_up` of all steps, and down to 0 at the end of the
    /// last one.
    Triangular,
}

/// The defaults of the keys by which a convolutional child is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recipe {
    /// The paper's (§4.1), made for 50 epochs.
    Paper,
    /// For a few epochs: what trains networks on CIFAR-10 in seconds elsewhere (Jordan 2024, arXiv
    /// 2404.00498).
    Fast,
}

/// What a failed child teaches the controller.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum FailedReward {
    /// What the child itself brought about is worth the worst reward; the rest teaches nothing.
    #[default]
    ByCause,
    /// Nothing: it is left out of the gradient.
    Skip,
    /// That it is worth this, whatever the cause.
    Reward(f64),
}

impl Serialize for FailedReward {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::ByCause => serializer.serialize_str("by-cause"),
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
                f.write_str("\"by-cause\", \"skip\" or a number")
            }
            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<FailedReward, E> {
                match value {
                    "by-cause" => Ok(FailedReward::ByCause),
                    "skip" => Ok(FailedReward::Skip),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(value), &self)),
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

impl JsonSchema for FailedReward {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FailedReward".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({
            "anyOf": [{ "const": "by-cause" }, { "const": "skip" }, { "type": "number" }],
            "x-type": "\"by-cause\", \"skip\" or a finite number, for example 0",
        })
    }
}

const MAX_EPOCHS: usize = 1_000_000;
const MAX_EXAMPLES: usize = 1_000_000;
const MAX_RECURRENT_LAYERS: usize = 100;
const MAX_UNITS: usize = 100_000;
const MAX_PARAMETERS: usize = 100_000_000_000;
const MAX_STEPS: usize = 100_000;
const MAX_ATTEMPTS: u32 = 1_000;
const MAX_PIXELS: usize = 1 << 16;
const MAX_COST_BATCH: usize = 100_000;
const MAX_COST_THREADS: usize = 1_024;

/// The mean of all steps alike.
const MAX_AGE: f64 = 0.5;

const SHARE: &str = "must be a share from 0 (none) to below 1, for example 0.25";
const AGE: &str = "must be a share from 0 (none) to 0.5, for example 0.05";
const ASCENDING_FRACTIONS: &str =
    "must be ascending fractions of all epochs, each above 0 and below 1, for example [0.5, 0.75]";

/// `[child]`: the paper's recipe for images (§4.1). `x-default-fast` is what stands for a key that
/// is left out with recipe = "fast", `x-default-cell` where cells are searched: the recipe of the
/// "medium" language model of Zaremba et al. (2014), with the paper's epochs and reward (§4.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct ChildSettings {
    /// Where rewards come from: train each child, look it up in a CSV file, or run a program.
    #[default(EvaluatorKind::Train)]
    #[schemars(extend("x-identity" = true))]
    pub evaluator: EvaluatorKind,
    /// Which defaults the keys below and data.flip have: the paper's, or those of a recipe for
    /// short training. A key that is set wins.
    #[default(Recipe::Paper)]
    #[schemars(extend("x-applies" = convolutional_networks()))]
    pub recipe: Recipe,
    /// Epochs that each child is trained for.
    #[default = 50]
    #[schemars(
        range(min = 1, max = MAX_EPOCHS),
        extend("x-default-cell" = 35, "x-applies" = trained(), "x-unit" = "epochs"),
    )]
    pub epochs: usize,
    /// Examples in one training step.
    #[default = 64]
    #[schemars(
        range(min = 1, max = MAX_EXAMPLES),
        extend("x-default-cell" = 20, "x-applies" = trained(), "x-unit" = "examples"),
    )]
    pub batch_size: usize,
    /// Of SGD, at the first epoch (of a triangular schedule: the highest).
    #[default = 0.1]
    #[schemars(
        example = 0.1,
        extend(
            "exclusiveMinimum" = 0,
            "x-default-cell" = 1.0,
            "x-applies" = {"child.evaluator": ["train"], "space.learning_rates": []},
        ),
    )]
    pub learning_rate: f64,
    /// The Nesterov momentum, 0 to below 1.
    #[default = 0.9]
    #[schemars(
        range(min = 0),
        example = 0.9,
        extend("exclusiveMaximum" = 1, "x-default-cell" = 0.0, "x-applies" = trained()),
    )]
    pub momentum: f64,
    /// L2 penalty on the weights, or what decoupled_weight_decay says.
    #[default = 1e-4]
    #[schemars(
        range(min = 0),
        example = 0.0001,
        extend("x-default-cell" = 0.0, "x-default-fast" = 0.005, "x-applies" = trained()),
    )]
    pub weight_decay: f64,
    /// Each step shrinks the weights by learning rate × weight_decay (SGDW, Loshchilov & Hutter
    /// 2019), in place of the penalty, whose gradient the momentum multiplies.
    #[schemars(extend("x-default-fast" = true, "x-applies" = convolutional_networks()))]
    pub decoupled_weight_decay: bool,
    /// Share of each target that is spread evenly over all classes (Szegedy et al. 2016).
    #[schemars(
        range(min = 0),
        extend(
            "exclusiveMaximum" = 1,
            "x-default-fast" = 0.1,
            "x-applies" = convolutional_networks(),
            "x-valid" = SHARE,
        ),
    )]
    pub label_smoothing: f64,
    /// A child is validated by a running average of its weights, which is kept and exported too:
    /// the mean age of the weights in it, as a share of the steps so far (Shamir & Zhang 2013); 0:
    /// by its last weights.
    #[schemars(
        range(min = 0, max = MAX_AGE),
        extend(
            "x-default-fast" = 0.05,
            "x-applies" = convolutional_networks(),
            "x-valid" = AGE,
        ),
    )]
    pub weight_averaging: f64,
    /// What batch normalisation adds to a variance before its root.
    #[default = 1e-5]
    #[schemars(
        example = 0.001,
        extend("minimum" = 1e-12, "maximum" = 1, "x-applies" = convolutional_networks()),
    )]
    pub batch_norm_epsilon: f64,
    /// How the learning rate moves over the epochs.
    #[default(Schedule::Constant)]
    #[schemars(
        extend(
            "x-default-cell" = "decay",
            "x-default-fast" = "triangular",
            "x-applies" = trained(),
        ),
    )]
    pub schedule: Schedule,
    /// For "steps": when it falls, as fractions of all epochs.
    #[default(vec![0.5, 0.75])]
    #[schemars(
        extend(
            "items" = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "x-applies" = scheduled(&["steps"]),
            "x-valid" = ASCENDING_FRACTIONS,
        )
    )]
    pub schedule_steps: Vec<f64>,
    /// For "steps" and "decay": what it is multiplied by each time.
    #[default = 0.1]
    #[schemars(
        example = 0.1,
        extend(
            "exclusiveMinimum" = 0,
            "x-default-cell" = 0.8,
            "x-applies" = scheduled(&["steps", "decay"]),
        ),
    )]
    pub schedule_factor: f64,
    /// For "decay": epochs before it falls at each further one.
    #[default = 6]
    #[schemars(
        range(max = MAX_EPOCHS),
        extend("x-applies" = scheduled(&["decay"]), "x-unit" = "epochs")
    )]
    pub schedule_after: usize,
    /// For "triangular": share of all steps over which it rises.
    #[default = 0.2]
    #[schemars(
        range(min = 0),
        extend(
            "exclusiveMaximum" = 1,
            "x-applies" = {"child.evaluator": ["train"], "child.schedule": ["triangular"]},
            "x-valid" = SHARE,
        ),
    )]
    pub schedule_warm_up: f64,
    /// Of language models: reward = this / (lowest validation perplexity) ^ reward_exponent.
    #[default = 80.0]
    #[schemars(
        example = 80,
        extend("exclusiveMinimum" = 0, "x-applies" = language_models(), "x-identity" = true),
    )]
    pub reward_constant: f64,
    /// Reward = (best validation accuracy of the last reward_window epochs) to this power.
    #[default = 3.0]
    #[schemars(
        example = 3,
        extend(
            "exclusiveMinimum" = 0,
            "x-default-cell" = 2.0,
            "x-applies" = trained(),
            "x-identity" = true,
        ),
    )]
    pub reward_exponent: f64,
    /// What networks cost: reward = accuracy ^ reward_exponent × (cost / cost_target) ^ cost_weight
    /// (Tan et al. 2019). The milliseconds of one image are measured on the lane.
    #[default(Cost::None)]
    #[schemars(extend("x-applies" = convolutional_networks(), "x-identity" = "unless default"))]
    pub cost: Cost,
    /// The cost at which the reward is that of the accuracy alone.
    #[schemars(
        example = 1_000_000,
        extend(
            "exclusiveMinimum" = 0,
            "x-applies" = costing(&["parameters", "flops", "milliseconds"]),
            "x-identity" = "unless default",
            "x-unset" = "rewards without a cost",
        ),
    )]
    pub cost_target: Option<f64>,
    /// The power of the cost in the reward.
    #[default(-0.07)]
    #[schemars(
        example = -0.07,
        extend(
            "minimum" = -10,
            "maximum" = 0,
            "x-applies" = costing(&["parameters", "flops", "milliseconds"]),
            "x-identity" = "unless default",
        ),
    )]
    pub cost_weight: f64,
    /// Images at once while milliseconds are measured.
    #[default = 1]
    #[schemars(
        range(min = 1, max = MAX_COST_BATCH),
        extend("x-applies" = costing(&["milliseconds"]), "x-unit" = "images", "x-identity" = "unless default"),
    )]
    pub cost_batch: usize,
    /// Threads that they are measured with, on the CPU.
    #[default = 1]
    #[schemars(
        range(min = 1, max = MAX_COST_THREADS),
        extend("x-applies" = costing(&["milliseconds"]), "x-unit" = "threads", "x-identity" = "unless default"),
    )]
    pub cost_threads: usize,
    /// Last epochs whose best accuracy (lowest perplexity) counts.
    #[default = 5]
    #[schemars(
        range(min = 1),
        example = 5,
        extend("x-applies" = trained(), "x-identity" = true, "x-unit" = "epoch"),
    )]
    pub reward_window: usize,
    /// A child that trains for longer ends as failed.
    #[schemars(
        extend(
            "exclusiveMinimum" = 0,
            "x-applies" = {"child.evaluator": ["train", "command"]},
            "x-unit" = "seconds",
            "x-unset" = "no limit",
        ),
    )]
    pub max_seconds: Option<f64>,
    /// A child that trains for longer is kept so often, and goes on from there when it is
    /// interrupted; 0: after every epoch.
    #[default = 600.0]
    #[schemars(
        range(min = 0),
        example = 600,
        extend("x-applies" = trained(), "x-unit" = "seconds (after every epoch)"),
    )]
    pub checkpoint_seconds: f64,
    /// How often a child is tried when the cause of its failure may pass.
    #[default = 3]
    #[schemars(range(min = 1, max = MAX_ATTEMPTS))]
    pub attempts: u32,
    /// Reward of a child that failed. "by-cause": the worst reward where the network itself is the
    /// cause (it diverged, cannot be built, is too large or too slow, its program failed); else, and
    /// with "skip", it is left out of the gradient.
    #[default(FailedReward::ByCause)]
    pub failed_reward: FailedReward,
    /// Layers of a language model.
    #[default = 2]
    #[schemars(
        range(min = 1, max = MAX_RECURRENT_LAYERS),
        example = 2,
        extend("x-applies" = language_models()),
    )]
    pub layers: usize,
    /// Its units: of the embedding and of each layer.
    #[schemars(
        range(min = 1, max = MAX_UNITS),
        extend("x-applies" = language_models(), "x-unset" = "as many as child.parameters allows"),
    )]
    pub hidden: Option<usize>,
    /// Its parameters, within 1%: the hidden size is solved for them.
    #[default = 20_000_000]
    #[schemars(
        range(min = 1, max = MAX_PARAMETERS),
        example = 20_000_000,
        extend(
            "x-applies" = {"child.evaluator": ["train"], "space.kind": ["cell"], "child.hidden": []},
        ),
    )]
    pub parameters: usize,
    /// Its softmax uses the embedding's matrix.
    #[schemars(extend("x-applies" = language_models()))]
    pub shared_embeddings: bool,
    /// Steps that its gradients flow back through (truncated back-propagation through time).
    #[default = 35]
    #[schemars(
        range(min = 1, max = MAX_STEPS),
        example = 35,
        extend("x-applies" = language_models()),
    )]
    pub steps: usize,
    /// Its gradient is shortened to this length.
    #[default = 5.0]
    #[schemars(example = 5, extend("exclusiveMinimum" = 0, "x-applies" = language_models()))]
    pub clip_norm: f64,
    /// Its first weights are uniform in plus or minus this.
    #[default = 0.05]
    #[schemars(example = 0.05, extend("exclusiveMinimum" = 0, "x-applies" = language_models()))]
    pub init_scale: f64,
    /// Share of the vocabulary whose vectors are zeros in a step (Gal & Ghahramani 2016).
    #[default = 0.2]
    #[schemars(
        range(min = 0),
        extend("exclusiveMaximum" = 1, "x-applies" = language_models(), "x-valid" = SHARE),
    )]
    pub embedding_dropout: f64,
    /// Share of what enters each layer that is zero, the same at all steps.
    #[default = 0.5]
    #[schemars(
        range(min = 0),
        extend("exclusiveMaximum" = 1, "x-applies" = language_models(), "x-valid" = SHARE),
    )]
    pub input_dropout: f64,
    /// The same of h from the step before.
    #[default = 0.25]
    #[schemars(
        range(min = 0),
        extend("exclusiveMaximum" = 1, "x-applies" = language_models(), "x-valid" = SHARE),
    )]
    pub recurrent_dropout: f64,
    /// The same of what leaves the last layer.
    #[default = 0.5]
    #[schemars(
        range(min = 0),
        extend("exclusiveMaximum" = 1, "x-applies" = language_models(), "x-valid" = SHARE),
    )]
    pub output_dropout: f64,
    /// Rewards from a CSV file.
    #[schemars(extend("x-live" = false, "x-applies" = {"child.evaluator": ["table"]}))]
    pub table: TableSettings,
    /// A program of the user's that trains children.
    #[schemars(extend("x-live" = false, "x-applies" = {"child.evaluator": ["command"]}))]
    pub command: CommandSettings,
}

/// `[child.table]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TableSettings {
    /// The CSV file of evaluator = "table".
    pub path: String,
    /// Its reward columns; with several, one is drawn for each trial.
    #[schemars(extend("x-identity" = true))]
    pub reward: Vec<String>,
    /// Its column of training seconds.
    pub seconds: String,
    /// Columns shown for the best trial, never used by the search.
    pub report: Vec<String>,
}

/// `[child.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct CommandSettings {
    /// The program of evaluator = "command" and its arguments.
    pub argv: Vec<String>,
    /// Channels, height and width of the images that its convolutional networks are for.
    #[default(vec![3, 32, 32])]
    #[schemars(
        inner(range(min = 1, max = MAX_PIXELS)),
        length(equal = 3),
        extend(
            "x-identity" = true,
            "x-valid" = format!("must be channels, height and width of the images, each 1 to {MAX_PIXELS}, for example [3, 32, 32]"),
        )
    )]
    pub image: Vec<usize>,
    /// Classes that its convolutional networks tell apart.
    #[default = 10]
    #[schemars(range(min = 1, max = MAX_PIXELS), extend("x-identity" = true, "x-unit" = "classes"))]
    pub classes: usize,
}

/// Keys of children that are trained here.
fn trained() -> Value {
    json!({ "child.evaluator": ["train"] })
}

/// Keys of these schedules.
fn scheduled(schedules: &[&str]) -> Value {
    json!({ "child.evaluator": ["train"], "child.schedule": schedules })
}

/// Keys of convolutional networks that are trained here.
fn convolutional_networks() -> Value {
    json!({ "child.evaluator": ["train"], "space.kind": ["conv"] })
}

/// Keys of rewards with a cost of one of these kinds.
fn costing(kinds: &[&str]) -> Value {
    json!({ "child.evaluator": ["train"], "space.kind": ["conv"], "child.cost": kinds })
}

/// Keys of language models that are trained here.
fn language_models() -> Value {
    json!({ "child.evaluator": ["train"], "space.kind": ["cell"] })
}

impl ChildSettings {
    /// The defaults where cells are searched.
    pub fn language_model() -> Self {
        Self::defaults_of("x-default-cell")
    }

    /// The defaults with recipe = "fast".
    pub fn fast() -> Self {
        Self {
            recipe: Recipe::Fast,
            ..Self::defaults_of("x-default-fast")
        }
    }

    fn defaults_of(keyword: &str) -> Self {
        let mut settings = json!(Self::default());
        let schema = schemars::schema_for!(Self);
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, property) in properties.into_iter().flatten() {
            if let Some(value) = property.get(keyword) {
                settings[key] = value.clone();
            }
        }
        serde_json::from_value(settings).expect("the declared defaults are of their fields' types")
    }

    /// What cannot work together among this section's keys: (key, what would be valid). Each value
    /// alone is as its declaration says.
    pub fn problems(&self) -> Vec<(String, String)> {
        let rules = [
            (
                "schedule_steps",
                self.schedule_steps.is_sorted_by(|a, b| a < b),
                ASCENDING_FRACTIONS,
            ),
            (
                "cost_target",
                self.cost == Cost::None || self.cost_target.is_some(),
                "child.cost needs it: the cost at which a reward is that of the accuracy alone, for example 1000000 (parameters), 5e7 (FLOPs) or 2 (milliseconds)",
            ),
        ];
        let of_evaluator = match self.evaluator {
            EvaluatorKind::Train => Vec::new(),
            EvaluatorKind::Table => self.table.rules(),
            EvaluatorKind::Command => self.command.rules(),
        };
        rules
            .into_iter()
            .chain(of_evaluator)
            .filter(|(_, holds, _)| !holds)
            .map(|(key, _, valid)| (key.to_owned(), valid.to_owned()))
            .collect()
    }
}

/// Key, whether it is as it must be, and what would be valid.
type Rule = (&'static str, bool, &'static str);

impl TableSettings {
    /// Rules of evaluator = "table".
    fn rules(&self) -> Vec<Rule> {
        let repeats = self
            .reward
            .iter()
            .any(|column| self.report.contains(column));
        vec![
            (
                "table.path",
                !self.path.is_empty(),
                "child.evaluator = \"table\" needs it: the CSV file",
            ),
            (
                "table.reward",
                !self.reward.is_empty(),
                "child.evaluator = \"table\" needs it: one reward column or more, for example [\"accuracy\"]",
            ),
            ("table.report", !repeats, "must not repeat a reward column"),
        ]
    }
}

impl CommandSettings {
    /// Rules of evaluator = "command".
    fn rules(&self) -> Vec<Rule> {
        let has_nul = self.argv.iter().any(|argument| argument.contains('\0'));
        let has_program = self.argv.first().is_some_and(|program| !program.is_empty());
        vec![(
            "command.argv",
            has_program && !has_nul,
            "child.evaluator = \"command\" needs it: the program and its arguments, for example [\"python3\", \"train.py\"]",
        )]
    }
}
