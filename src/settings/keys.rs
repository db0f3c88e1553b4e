//! Every key of the config file, with its type and one line on what it does. The checks, the
//! nearest key of a misspelt one and the listing come from this table; a test proves that it has
//! exactly the keys of `Settings`. Must not know any value.

use super::nearest;

/// One key of the config file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// `section.key`
    pub name: &'static str,
    pub kind: Kind,
    /// One line: what it does.
    pub doc: &'static str,
}

/// What a key's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Boolean,
    /// A whole number, 0 or more.
    Count,
    /// A finite number, whole or not.
    Number,
    Counts,
    Numbers,
    Texts,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of such words.
    Words(&'static [&'static str]),
    /// `true`, `false` or `"all"`.
    Skips,
    /// `"auto"` or a list of devices.
    Devices,
    /// `"skip"` or a finite number.
    SkipOrNumber,
    /// `[[space.decision]]`
    Decisions,
    /// `[[enqueue]]`
    Entries,
}

impl Kind {
    /// Continues "must be".
    pub fn valid(self) -> String {
        match self {
            Self::Text => "a text, for example \"name\"".into(),
            Self::Boolean => "true or false".into(),
            Self::Count => "a whole number, 0 or more and below 2^63, for example 3".into(),
            Self::Number => "a finite number, for example 0.1".into(),
            Self::Counts => "a list of whole numbers, 0 or more, for example [1, 3, 5]".into(),
            Self::Numbers => "a list of finite numbers, for example [0.5, 0.75]".into(),
            Self::Texts => "a list of texts, for example [\"accuracy\"]".into(),
            Self::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            Self::Words(words) => format!("a list of {}", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")),
            Self::Skips => "true, false or \"all\"".into(),
            Self::Devices => "\"auto\" or a list of devices, for example [\"cpu\"] or [\"cuda:0\", \"cuda:1\"]".into(),
            Self::SkipOrNumber => "\"skip\" or a finite number, for example 0".into(),
            Self::Decisions => "a list of decisions, for example [{ name = \"units\", options = [64, 128] }]".into(),
            Self::Entries => "a list of entries, for example [{ name = \"plain\", architecture = \"plain.json\" }]".into(),
        }
    }

    /// Environment and `--set` take these as they are written, without TOML's quotes.
    pub fn is_plain_text(self) -> bool {
        matches!(self, Self::Text | Self::OneOf(_))
    }

    /// Words that may stand bare for a value that is TOML otherwise.
    pub fn is_word(self, text: &str) -> bool {
        matches!(
            (self, text),
            (Self::Skips, "all") | (Self::Devices, "auto") | (Self::SkipOrNumber, "skip")
        )
    }
}

/// The keys inside one `[[space.decision]]`.
pub const DECISION_KEYS: [&str; 3] = ["name", "options", "when"];

/// The keys inside one `[[enqueue]]`.
pub const ENTRY_KEYS: [&str; 3] = ["name", "architecture", "decisions"];

/// The types of layers.
const LAYER_TYPES: &[&str] = &["conv", "max_pool", "avg_pool", "lcn", "batch_norm"];

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc }
}

/// All keys, in the order of the config file.
pub const KEYS: &[Key] = &[
    key("run.name", Kind::Text, "name of the run"),
    key(
        "run.dir",
        Kind::Text,
        "directory of the run; unset: runs/<run.name>",
    ),
    key(
        "run.seed",
        Kind::Count,
        "all randomness of the run derives from it",
    ),
    key(
        "run.trials",
        Kind::Count,
        "how many architectures are sampled and evaluated, exactly",
    ),
    key(
        "run.max_seconds",
        Kind::Number,
        "the search stops after this long, saved; unset: no limit",
    ),
    key(
        "run.reuse",
        Kind::Boolean,
        "a network sampled again takes the reward that is known, instead of being trained again",
    ),
    key(
        "space.kind",
        Kind::OneOf(&["conv", "cell", "choices"]),
        "what is searched: convolutional networks, recurrent cells, or the decisions listed here",
    ),
    key(
        "space.layers",
        Kind::Count,
        "layers of the first architectures",
    ),
    key(
        "space.layers_step",
        Kind::Count,
        "layers added each time layers_every architectures have been sampled; 0: depth stays",
    ),
    key(
        "space.layers_every",
        Kind::Count,
        "architectures between two additions of layers",
    ),
    key(
        "space.layers_max",
        Kind::Count,
        "depth at which growth ends; unset: it goes on",
    ),
    key(
        "space.filter_height",
        Kind::Counts,
        "filter heights that a layer can have; one entry: always this",
    ),
    key(
        "space.filter_width",
        Kind::Counts,
        "filter widths that a layer can have",
    ),
    key(
        "space.filters",
        Kind::Counts,
        "numbers of filters that a layer can have",
    ),
    key(
        "space.stride_height",
        Kind::Counts,
        "vertical strides that a layer can have; [1]: not predicted",
    ),
    key(
        "space.stride_width",
        Kind::Counts,
        "horizontal strides that a layer can have; [1]: not predicted",
    ),
    key(
        "space.skip_connections",
        Kind::Skips,
        "true: predicted for each pair of layers; false: a chain; \"all\": every earlier layer",
    ),
    key(
        "space.layer_types",
        Kind::Words(LAYER_TYPES),
        "types that a layer can have; [\"conv\"]: not predicted",
    ),
    key(
        "space.pool_size",
        Kind::Counts,
        "sides of the windows that a pooling layer can have",
    ),
    key(
        "space.pool_stride",
        Kind::Counts,
        "strides that a pooling layer can have",
    ),
    key(
        "space.lcn_window",
        Kind::Counts,
        "sides of the windows that local contrast normalisation can have",
    ),
    key(
        "space.learning_rates",
        Kind::Numbers,
        "learning rates that a network can be trained with; unset: child.learning_rate",
    ),
    key(
        "space.block",
        Kind::Count,
        "equal, fully connected layers that one prediction stands for",
    ),
    key(
        "space.pool_after",
        Kind::Counts,
        "layers after which everything is max-pooled, 2 x 2 with stride 2",
    ),
    key(
        "space.widen",
        Kind::Count,
        "filters that every convolution has beyond those predicted",
    ),
    key(
        "space.max_parameters",
        Kind::Count,
        "a network with more parameters ends as failed, untrained; unset: no limit",
    ),
    key(
        "space.max_flops",
        Kind::Count,
        "the same for the floating-point operations of one image",
    ),
    key("space.base", Kind::Count, "leaves of a cell's tree"),
    key(
        "space.combinations",
        Kind::Words(&["add", "elem_mult", "max"]),
        "how a node of a cell may join its two inputs",
    ),
    key(
        "space.activations",
        Kind::Words(&["identity", "tanh", "sigmoid", "relu", "sin"]),
        "what a node of a cell may apply to the result",
    ),
    key(
        "space.decision",
        Kind::Decisions,
        "the named decisions of kind = \"choices\", in order",
    ),
    key(
        "enqueue",
        Kind::Entries,
        "architectures that are evaluated before sampling starts, beyond run.trials: known ones, to compare with",
    ),
    key(
        "controller.replicas",
        Kind::Count,
        "K: controllers that sample side by side",
    ),
    key(
        "controller.children",
        Kind::Count,
        "m: children that a controller samples for one gradient",
    ),
    key(
        "controller.hidden",
        Kind::Count,
        "LSTM units in each layer of the controller",
    ),
    key(
        "controller.layers",
        Kind::Count,
        "LSTM layers of the controller",
    ),
    key(
        "controller.init_scale",
        Kind::Number,
        "the controller's first parameters are uniform in plus or minus this",
    ),
    key(
        "controller.learning_rate",
        Kind::Number,
        "of Adam, which updates the controller",
    ),
    key(
        "controller.baseline_decay",
        Kind::Number,
        "how slowly the moving average of rewards forgets, 0 to below 1",
    ),
    key(
        "controller.entropy_weight",
        Kind::Number,
        "weight of a bonus for undecided policies; the paper has none",
    ),
    key(
        "controller.strategy",
        Kind::OneOf(crate::strategy::StrategyName::ALL),
        "learn by policy gradient, or sample uniformly for comparison",
    ),
    key(
        "controller.synchronous",
        Kind::Boolean,
        "replicas wait for each other; the run is then reproducible with any number of them",
    ),
    key(
        "parameter_server.shards",
        Kind::Count,
        "S: shards that hold the controller's parameters",
    ),
    key(
        "parameter_server.accumulate",
        Kind::Count,
        "gradients that are averaged into one update",
    ),
    key(
        "child.evaluator",
        Kind::OneOf(&["train", "table", "command"]),
        "where rewards come from: train each child, look it up in a CSV file, or run a program",
    ),
    key(
        "child.epochs",
        Kind::Count,
        "epochs that each child is trained for",
    ),
    key(
        "child.batch_size",
        Kind::Count,
        "examples in one training step",
    ),
    key(
        "child.learning_rate",
        Kind::Number,
        "of SGD, at the first epoch",
    ),
    key(
        "child.momentum",
        Kind::Number,
        "Nesterov momentum, 0 to below 1",
    ),
    key(
        "child.weight_decay",
        Kind::Number,
        "L2 penalty on the weights",
    ),
    key(
        "child.schedule",
        Kind::OneOf(&["constant", "cosine", "steps", "decay"]),
        "how the learning rate falls over the epochs",
    ),
    key(
        "child.schedule_steps",
        Kind::Numbers,
        "for \"steps\": when it falls, as fractions of all epochs",
    ),
    key(
        "child.schedule_factor",
        Kind::Number,
        "for \"steps\" and \"decay\": what it is multiplied by each time",
    ),
    key(
        "child.schedule_after",
        Kind::Count,
        "for \"decay\": epochs before it falls at each further one",
    ),
    key(
        "child.reward_constant",
        Kind::Number,
        "of language models: reward = this / (lowest validation perplexity) ^ reward_exponent",
    ),
    key(
        "child.reward_exponent",
        Kind::Number,
        "reward = (best validation accuracy of the last reward_window epochs) to this power",
    ),
    key(
        "child.reward_window",
        Kind::Count,
        "last epochs whose best accuracy (lowest perplexity) counts",
    ),
    key(
        "child.max_seconds",
        Kind::Number,
        "a child that trains for longer ends as failed; unset: no limit",
    ),
    key(
        "child.checkpoint_seconds",
        Kind::Number,
        "a child that trains for longer is kept so often, and goes on from there when it is interrupted; 0: after every epoch",
    ),
    key(
        "child.attempts",
        Kind::Count,
        "how often a child is tried when the cause of its failure may pass",
    ),
    key(
        "child.failed_reward",
        Kind::SkipOrNumber,
        "reward of a child that failed; \"skip\": it is left out of the gradient",
    ),
    key("child.layers", Kind::Count, "layers of a language model"),
    key(
        "child.hidden",
        Kind::Count,
        "its units: of the embedding and of each layer; unset: as many as child.parameters allows",
    ),
    key(
        "child.parameters",
        Kind::Count,
        "its parameters, within 1%: the hidden size is solved for them",
    ),
    key(
        "child.shared_embeddings",
        Kind::Boolean,
        "its softmax uses the embedding's matrix",
    ),
    key(
        "child.steps",
        Kind::Count,
        "steps that its gradients flow back through",
    ),
    key(
        "child.clip_norm",
        Kind::Number,
        "its gradient is shortened to this length",
    ),
    key(
        "child.init_scale",
        Kind::Number,
        "its first weights are uniform in plus or minus this",
    ),
    key(
        "child.embedding_dropout",
        Kind::Number,
        "share of the vocabulary whose vectors are zeros in a step",
    ),
    key(
        "child.input_dropout",
        Kind::Number,
        "share of what enters each layer that is zero, the same at all steps",
    ),
    key(
        "child.recurrent_dropout",
        Kind::Number,
        "the same of h from the step before",
    ),
    key(
        "child.output_dropout",
        Kind::Number,
        "the same of what leaves the last layer",
    ),
    key(
        "child.table.path",
        Kind::Text,
        "the CSV file of evaluator = \"table\"",
    ),
    key(
        "child.table.reward",
        Kind::Texts,
        "its reward columns; with several, one is drawn for each trial",
    ),
    key(
        "child.table.seconds",
        Kind::Text,
        "its column of training seconds",
    ),
    key(
        "child.table.report",
        Kind::Texts,
        "columns shown for the best trial, never used by the search",
    ),
    key(
        "child.command.argv",
        Kind::Texts,
        "the program of evaluator = \"command\" and its arguments",
    ),
    key(
        "child.command.image",
        Kind::Counts,
        "channels, height and width of the images that its convolutional networks are for",
    ),
    key(
        "child.command.classes",
        Kind::Count,
        "classes that its convolutional networks tell apart",
    ),
    key(
        "data.kind",
        Kind::OneOf(&["builtin", "cifar10", "image-folder", "text"]),
        "the examples: drawn by the program, CIFAR-10's binary files, your own images, or a text",
    ),
    key("data.path", Kind::Text, "folder of the data files"),
    key(
        "data.size",
        Kind::Count,
        "side in pixels that the images of a folder are scaled to",
    ),
    key(
        "data.train_size",
        Kind::Count,
        "training examples; unset: 45000, or 90% of a smaller set; of a text all tokens",
    ),
    key(
        "data.validation_size",
        Kind::Count,
        "validation examples; unset: 5000, or 10% of a smaller set; of a text all tokens",
    ),
    key(
        "data.augment",
        Kind::Boolean,
        "upsample, random crop and random horizontal flip of training images",
    ),
    key(
        "data.upsample",
        Kind::Count,
        "side that training images are scaled to before the crop",
    ),
    key(
        "data.whiten",
        Kind::OneOf(&["image", "channel"]),
        "normalise each image by itself, or each channel over the training set",
    ),
    key(
        "data.train_file",
        Kind::Text,
        "the training text; unset: train.txt or *.train.txt in data.path",
    ),
    key(
        "data.validation_file",
        Kind::Text,
        "the validation text; unset: valid.txt or *.valid.txt in data.path",
    ),
    key(
        "data.unit",
        Kind::OneOf(&["word", "char"]),
        "what a text's tokens are: words, or characters",
    ),
    key(
        "data.vocabulary",
        Kind::Count,
        "the most frequent tokens of a text that are kept, the others are <unk>; unset: all",
    ),
    key(
        "devices.use",
        Kind::Devices,
        "what trains children; \"auto\": every GPU of a CUDA build, else the CPU",
    ),
    key(
        "devices.lanes_per_device",
        Kind::Count,
        "children trained at once on each device; unset: as many as its cores allow, one on a GPU",
    ),
    key(
        "devices.threads_per_lane",
        Kind::Count,
        "CPU threads of each of them",
    ),
    key(
        "restart.child_trainer.max_restarts",
        Kind::Count,
        "how often the trainers of a device may be rebuilt within window_seconds",
    ),
    key(
        "restart.child_trainer.window_seconds",
        Kind::Number,
        "length of that window",
    ),
    key(
        "restart.child_trainer.backoff_first_seconds",
        Kind::Number,
        "longest pause before the first rebuild; it doubles with each one in the window",
    ),
    key(
        "restart.child_trainer.backoff_last_seconds",
        Kind::Number,
        "the longest pause of all",
    ),
    key(
        "restart.child_trainer.beyond",
        Kind::OneOf(&["stop", "isolate"]),
        "beyond the limit: go on without the device (unset: this), or stop the run",
    ),
    key(
        "restart.child_trainer.freeze_seconds",
        Kind::Number,
        "a child without a training step for so long has frozen: its lane is given up, and it is tried again",
    ),
    key(
        "restart.controller.max_restarts",
        Kind::Count,
        "how often controllers may be rebuilt within window_seconds",
    ),
    key(
        "restart.controller.window_seconds",
        Kind::Number,
        "length of that window",
    ),
    key(
        "restart.controller.backoff_first_seconds",
        Kind::Number,
        "longest pause before the first rebuild; it doubles with each one in the window",
    ),
    key(
        "restart.controller.backoff_last_seconds",
        Kind::Number,
        "the longest pause of all",
    ),
    key(
        "restart.controller.beyond",
        Kind::OneOf(&["stop", "isolate"]),
        "beyond the limit the run stops, saved",
    ),
    key(
        "restart.controller.freeze_seconds",
        Kind::Number,
        "a computation of a controller that takes so long has frozen",
    ),
    key(
        "restart.parameter_shard.max_restarts",
        Kind::Count,
        "how often parameter shards may be rebuilt within window_seconds",
    ),
    key(
        "restart.parameter_shard.window_seconds",
        Kind::Number,
        "length of that window",
    ),
    key(
        "restart.parameter_shard.backoff_first_seconds",
        Kind::Number,
        "longest pause before the first rebuild; it doubles with each one in the window",
    ),
    key(
        "restart.parameter_shard.backoff_last_seconds",
        Kind::Number,
        "the longest pause of all",
    ),
    key(
        "restart.parameter_shard.beyond",
        Kind::OneOf(&["stop", "isolate"]),
        "beyond the limit the run stops, saved",
    ),
    key(
        "restart.parameter_shard.freeze_seconds",
        Kind::Number,
        "when the actors' thread stands still for so long, the process ends with exit code 1",
    ),
    key(
        "telemetry.listen",
        Kind::Text,
        "address of the metrics endpoint, or \"off\"; unset: 127.0.0.1:9464 or the next free port",
    ),
];

/// The key of this name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The keys of a section (`child`, `child.table`); empty: there is no such section.
pub fn section(name: &str) -> Vec<&'static str> {
    KEYS.iter()
        .map(|key| key.name)
        .filter(|key| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
        })
        .collect()
}

/// The valid key that a misspelt one most probably meant.
pub fn nearest(unknown: &str) -> &'static str {
    nearest::among(unknown, KEYS.iter().map(|key| key.name)).unwrap_or("run.name")
}

/// All keys as text: each with what it may be and what it does.
pub fn listing() -> String {
    let width = KEYS.iter().map(|key| key.name.len()).max().unwrap_or(0);
    KEYS.iter()
        .map(|key| format!("{:width$}  {} ({})\n", key.name, key.doc, key.kind.valid()))
        .collect()
}
