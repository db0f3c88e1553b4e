//! What can be searched. A Space says which decision comes next and turns a finished list of
//! decisions into an Architecture. Pure: no tensors, no IO, no clocks; imports nothing of ours but
//! `random`.

mod architecture;
mod blocks;
mod canonical;
mod cell;
mod cell_network;
mod choices;
mod conditions;
mod conv;
mod enumeration;
mod error;
mod given;
mod layer;
mod layer_settings;
mod limits;
mod named;
mod settings;
mod survey;
#[cfg(test)]
mod tests;

pub use architecture::{
    Architecture, ChoiceNetwork, ConvNetwork, Fingerprint, ImageShape, Network, OptionValue,
};
pub use cell::CellSpace;
pub use cell_network::{
    Activation, Cell, CellNetwork, CellNode, Combination, LanguageModel, ReferenceCell, TreeCell,
};
pub use choices::ChoiceSpace;
pub use conv::ConvSpace;
pub use enumeration::{first_list, next_list};
pub use error::{AdoptError, LayerError, TreeError};
pub use layer::{ConvLayer, Convolution, LayerType, Operation, Pool};
pub use limits::{SizeLimits, is_too_large};
pub use named::{NamedDecision, named_decisions};
pub use settings::{Allowed, DecisionSettings, SkipConnections, SpaceKind, SpaceSettings};
pub use survey::{Survey, survey};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One decision of the controller. In JSON: an option's index (`3`), or an anchor point's 0/1 list
/// (`[0,1,1]`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Decision {
    /// Index into the options of the kind that `Space::next` asked for.
    Choice(usize),
    /// One 0 or 1 for each earlier layer, in order: does it feed this layer? (paper §3.3)
    Skips(Vec<u8>),
}

/// As in JSON.
impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Choice(option) => option.fmt(f),
            Self::Skips(bits) => write!(f, "{bits:?}"),
        }
    }
}

/// A kind of decision: it has one embedding and one softmax head in the controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// For example `filter_height`, or the name of a user's decision.
    pub name: String,
    /// What can be chosen; at least two.
    pub options: Vec<OptionValue>,
}

impl Kind {
    /// Why a decision is none of this kind.
    fn refusal(&self, given: &Decision) -> String {
        const SHOWN: usize = 12;
        let options: Vec<String> = (0..SHOWN)
            .zip(&self.options)
            .map(|(number, option)| format!("{number} for {option}"))
            .collect();
        let more = if self.options.len() > SHOWN {
            ", …"
        } else {
            ""
        };
        format!(
            "{} must be the number of an option ({}{more}), not {given}",
            self.name,
            options.join(", ")
        )
    }
}

/// What a Space asks the controller for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Choose one option of `Space::kinds()[kind]`.
    Choose { kind: usize },
    /// An anchor point: for each of `earlier` earlier layers, is it an input of this one? (0 for
    /// the first layer)
    Anchor { earlier: usize },
    /// The list is finished.
    Done,
}

/// A list of decisions that describes no network of this space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("decision {position}: {problem}")]
pub struct DecisionError {
    /// Position in the list, from 1.
    pub position: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A set of architectures, described as sequences of decisions.
pub trait Space: Send + Sync {
    /// The kinds of decisions, in a fixed order.
    fn kinds(&self) -> &[Kind];

    /// True if `next` ever returns `Next::Anchor` (the controller then owns the attention of paper
    /// §3.3).
    fn has_anchors(&self) -> bool;

    /// The decision that follows `decisions`, for an architecture of `layers` layers (ignored where
    /// depth means nothing). `decisions` is a valid prefix.
    fn next(&self, layers: usize, decisions: &[Decision]) -> Next;

    /// Which part of the architecture the decision after `decisions` belongs to: its layer or node,
    /// from 0. Decisions of the same kind and part mean the same in any two lists, whatever was
    /// decided before them.
    fn part(&self, _layers: usize, decisions: &[Decision]) -> usize {
        let anchors = decisions
            .iter()
            .filter(|decision| matches!(decision, Decision::Skips(_)));
        anchors.count()
    }

    /// What the decision after `decisions` is called, as in [`Space::describe`]; an anchor point as
    /// its layer's `skip`.
    fn name(&self, layers: usize, decisions: &[Decision]) -> String {
        match self.next(layers, decisions) {
            Next::Choose { kind } => self.kinds()[kind].name.clone(),
            Next::Anchor { .. } => "skip".into(),
            Next::Done => String::new(),
        }
    }

    /// The network that a finished list describes.
    ///
    /// # Errors
    /// Names the first decision that does not fit.
    fn build(&self, layers: usize, decisions: &[Decision]) -> Result<Architecture, DecisionError>;

    /// An architecture from elsewhere, in the form in which this space builds one, and the
    /// decisions that describe it: empty where they are not looked for. Networks and cells need not
    /// be ones that the space can describe; named decisions must be.
    ///
    /// # Errors
    /// What does not fit, and what would.
    fn adopt(&self, given: Architecture) -> Result<(Architecture, Vec<Decision>), AdoptError>;

    /// Shape and classes of the images that the networks are for; None: for none.
    fn images(&self) -> Option<(ImageShape, usize)> {
        None
    }

    /// Depth of the architectures sampled when `sampled` have been sampled before (paper §3.2, the
    /// depth schedule); 0 where depth means nothing.
    fn layers(&self, sampled: u64) -> usize;

    /// log10 of the number of decision lists of this depth.
    fn log10_size(&self, layers: usize) -> f64;

    /// How large its networks may be.
    fn limits(&self) -> SizeLimits {
        SizeLimits::default()
    }

    /// A name for each decision and a text for each value, flattened: `[("layer 1 filter height",
    /// "3"), …]`; an anchor point gives one entry for each earlier layer (`layer 3 skip 1`: `0` or
    /// `1`). The names are the same for every list of a depth: a decision that this list does not
    /// have is there with an empty text. What the table evaluator's columns are.
    fn describe(&self, layers: usize, decisions: &[Decision]) -> Vec<(String, String)>;
}

impl SpaceSettings {
    /// Builds the space. `image` and `classes` come from the data and matter for `kind = "conv"`
    /// alone; cells of which the language model is known are built by [`CellSpace::new`].
    pub fn build(&self, image: ImageShape, classes: usize) -> Box<dyn Space> {
        match self.kind {
            SpaceKind::Conv => Box::new(ConvSpace::new(self, image, classes)),
            SpaceKind::Cell => Box::new(CellSpace::new(self, None)),
            SpaceKind::Choices => Box::new(ChoiceSpace::new(self)),
        }
    }
}
