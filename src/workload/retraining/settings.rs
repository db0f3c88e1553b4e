//! The `[retrain]` section: each key's declaration stands on its field. Must not know where a value
//! was written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MAX_EPOCHS: usize = 1_000_000;
const MAX_WIDEN: usize = 4_096;

/// `[retrain]`: what `netwright retrain` trains the networks of a search by. Every combination of one
/// entry from each list is a recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetrainSettings {
    /// Learning rates of the first epoch.
    #[schemars(
        extend(
            "items" = {"type": "number", "exclusiveMinimum": 0},
            "uniqueItems" = true,
            "x-valid" = "must list different rates above 0, for example [0.1, 0.05]; left out: the network's own, else child.learning_rate",
        )
    )]
    pub learning_rate: Vec<f64>,
    /// L2 penalties on the weights.
    #[schemars(
        extend(
            "items" = {"type": "number", "minimum": 0},
            "uniqueItems" = true,
            "x-applies" = convolutional_networks(),
            "x-valid" = "must list different penalties of 0 or more, for example [0.0001, 0.0005]; left out: child.weight_decay",
        )
    )]
    pub weight_decay: Vec<f64>,
    /// What batch normalisation adds to a variance before its root.
    #[schemars(
        extend(
            "items" = {"type": "number", "minimum": 1e-12, "maximum": 1},
            "uniqueItems" = true,
            "x-applies" = convolutional_networks(),
            "x-valid" = "must list different numbers from 1e-12 to 1, for example [0.00001, 0.001]; left out: child.batch_norm_epsilon",
        )
    )]
    pub batch_norm_epsilon: Vec<f64>,
    /// The first weights of a language model are uniform in plus or minus this.
    #[schemars(
        extend(
            "items" = {"type": "number", "exclusiveMinimum": 0},
            "uniqueItems" = true,
            "x-applies" = language_models(),
            "x-valid" = "must list different numbers above 0, for example [0.05, 0.1]; left out: child.init_scale",
        )
    )]
    pub init_scale: Vec<f64>,
    /// Dropout rates of a language model, four together: embedding, input, recurrent, output.
    #[schemars(
        extend(
            "items" = {
                "type": "array",
                "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                "minItems": 4,
                "maxItems": 4,
            },
            "uniqueItems" = true,
            "x-applies" = language_models(),
            "x-valid" = "must list different quadruples of shares from 0 to below 1 (embedding, input, recurrent, output), for example [[0.2, 0.5, 0.25, 0.5]]; left out: child.embedding_dropout and the others",
        )
    )]
    pub dropouts: Vec<Vec<f64>>,
    /// Epochs after which the learning rate falls, times child.schedule_factor: once for
    /// convolutional networks, at each further epoch for language models.
    #[schemars(
        extend(
            "items" = {"type": "integer", "minimum": 1, "maximum": MAX_EPOCHS},
            "uniqueItems" = true,
            "x-valid" = "must list different numbers of epochs from 1 to 1000000, for example [40, 60]; left out: child.schedule",
        )
    )]
    pub decay_epoch: Vec<usize>,
    /// Epochs that each recipe is trained for.
    #[schemars(
        range(min = 1, max = MAX_EPOCHS),
        extend("x-unit" = "epochs", "x-unset" = "child.epochs"),
    )]
    pub epochs: Option<usize>,
    /// Epochs of the winner's training on training and validation data; the learning rate falls at
    /// the same share of them.
    #[schemars(
        range(min = 1, max = MAX_EPOCHS),
        extend("x-unit" = "epochs", "x-unset" = "retrain.epochs"),
    )]
    pub final_epochs: Option<usize>,
    /// Filters that every convolution is given in addition (paper §4.1: "more filters").
    #[schemars(
        range(max = MAX_WIDEN),
        extend("x-applies" = convolutional_networks(), "x-unit" = "filters"),
    )]
    pub widen: usize,
}

/// Keys of convolutional networks.
fn convolutional_networks() -> Value {
    json!({ "space.kind": ["conv"] })
}

/// Keys of language models.
fn language_models() -> Value {
    json!({ "space.kind": ["cell"] })
}
