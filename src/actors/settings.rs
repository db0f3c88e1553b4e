//! The `[run]` and `[[enqueue]]` sections: each key's declaration stands on its field. Must not
//! know where a value was written.

use crate::space::Decision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use std::path::Path;

/// Far more than any search has had.
const MAX_TRIALS: u64 = 1_000_000_000;
const MAX_KEPT_WEIGHTS: usize = 1_000_000;
/// Networks of another run.
const MAX_TAKEN: u64 = 1_000;
/// Longest name of an enqueued architecture: it stands in one line with the rest.
const MAX_NAME_LENGTH: usize = 40;

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, SmartDefault)]
#[serde(default)]
pub struct RunSettings {
    /// Name of the run.
    #[default = "search"]
    pub name: String,
    /// Directory of the run.
    #[schemars(
        length(min = 1),
        extend(
            "x-unset" = "runs/<run.name>",
            "x-valid" = "must be a folder, or left out for runs/<run.name>",
        )
    )]
    pub dir: Option<String>,
    /// All randomness of the run derives from it.
    #[default = 1]
    #[schemars(
        range(max = i64::MAX),
        extend("x-identity" = true, "x-valid" = "must be below 2^63"),
    )]
    pub seed: u64,
    /// How many architectures are sampled and evaluated, exactly; `run.confirm` of them again.
    #[default = 100]
    #[schemars(
        range(min = 1, max = MAX_TRIALS),
        extend("x-live" = true, "x-unit" = "architectures")
    )]
    pub trials: u64,
    /// So many of the last trials evaluate the best networks again, with new seeds: where rewards are
    /// noisy, the highest of many is more luck than the others. Confirmed networks rank first, by the
    /// mean reward of their confirmations.
    #[schemars(
        range(max = MAX_TRIALS),
        extend("x-live" = true, "x-unit" = "trials")
    )]
    pub confirm: u64,
    /// A program and its arguments, called at a new best trial, at the end and at a failure of the
    /// run, with what happened as JSON behind the arguments.
    #[schemars(
        inner(length(min = 1)),
        extend("x-valid" = "must be a program and its arguments, for example [\"sh\", \"notify.sh\"]")
    )]
    pub on_event: Vec<String>,
    /// The search stops after this long, saved.
    #[schemars(extend("exclusiveMinimum" = 0, "x-live" = true, "x-unset" = "no limit"))]
    pub max_seconds: Option<f64>,
    /// A network sampled again takes the reward that is known, instead of being trained again.
    pub reuse: bool,
    /// The trained weights of this many of the best children so far are kept, to be exported.
    #[default = 5]
    #[schemars(
        range(max = MAX_KEPT_WEIGHTS),
        extend("x-applies" = {"child.evaluator": ["train"]}, "x-unit" = "children")
    )]
    pub keep_weights: usize,
}

/// `[[enqueue]]`: an architecture that is evaluated before sampling starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EnqueueSettings {
    /// Its name; left out: that of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A file that holds its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// As the controller would decide for the first architectures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Vec<Decision>>,
    /// The directory of another run, whose best networks are taken; they are copied into this run at
    /// its first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// How many of them, 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<u64>,
}

impl EnqueueSettings {
    /// Its name; unset: that of its file or run, or its position among the entries, from 1.
    pub fn name(&self, position: usize) -> String {
        let file = || {
            Some(
                Path::new(self.architecture.as_ref().or(self.run.as_ref())?)
                    .file_stem()?
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        self.name
            .clone()
            .or_else(file)
            .unwrap_or_else(|| format!("entry {position}"))
    }

    /// How many networks of another run it takes.
    pub fn taken(&self) -> usize {
        usize::try_from(self.top.unwrap_or(1)).unwrap_or(usize::MAX)
    }

    /// What cannot work among these entries: (key, what would be valid).
    pub fn problems(entries: &[Self]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let names: Vec<String> = (1..)
            .zip(entries)
            .map(|(position, entry)| entry.name(position))
            .collect();
        for (index, (entry, name)) in entries.iter().zip(&names).enumerate() {
            let part = format!("enqueue[{}]", index + 1);
            let ways = [
                entry.architecture.is_some(),
                entry.decisions.is_some(),
                entry.run.is_some(),
            ];
            match (ways.iter().filter(|is_there| **is_there).count(), entry.top) {
                (0, _) => problems.push((
                    part.clone(),
                    "needs architecture = \"FILE.json\" (as `netwright show RUN TRIAL --json` prints it), decisions = [...], or run = \"DIR\" \
                     and top = 5"
                        .into(),
                )),
                (1, Some(_)) if entry.run.is_none() => problems.push((
                    format!("{part}.top"),
                    "has an effect beside run = \"DIR\" alone: leave it out".into(),
                )),
                (1, Some(top)) if !(1..=MAX_TAKEN).contains(&top) => {
                    problems.push((format!("{part}.top"), format!("must be 1 to {MAX_TAKEN}")));
                }
                (1, _) => {}
                _ => problems.push((
                    part.clone(),
                    "has more than one of architecture, decisions and run: leave one of them".into(),
                )),
            }
            if names[..index].contains(name) {
                problems.push((
                    format!("{part}.name"),
                    format!("another entry is called \"{name}\" too: give each a name of its own"),
                ));
            }
            if name.trim().is_empty()
                || name.chars().count() > MAX_NAME_LENGTH
                || name.chars().any(char::is_control)
            {
                problems.push((
                    format!("{part}.name"),
                    format!(
                        "\"{}\": must be 1 to {MAX_NAME_LENGTH} characters in one line",
                        name.escape_debug()
                    ),
                ));
            }
        }
        problems
    }
}

impl RunSettings {
    /// What cannot work together among this section's keys: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if self.dir.is_none() && !is_folder_name(&self.name) {
            let valid =
                "must be the name of a folder under runs/: not empty, without / and not . or ..";
            problems.push(("name".into(), valid.into()));
        }
        if self.confirm > 0 && self.confirm >= self.trials {
            let valid = format!(
                "must be below run.trials = {}, for confirmations are among the trials",
                self.trials
            );
            problems.push(("confirm".into(), valid));
        }
        problems
    }
}

fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}
