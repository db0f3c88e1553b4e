//! The `[run]` and `[[enqueue]]` sections.
use crate::space::Decision;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `[run]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSettings {
    pub name: String,
    /// Unset: `runs/<name>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    pub seed: u64,
    /// Architectures to sample and evaluate, exactly.
    pub trials: u64,
    /// The search stops after this long, saved; unset: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<f64>,
    /// A network sampled again takes the reward that is known, instead of being trained again.
    pub reuse: bool,
}

/// `[[enqueue]]`: an architecture that is evaluated before sampling starts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnqueueSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A file that holds its JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// As the controller would decide for the first architectures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<Vec<Decision>>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            name: "search".into(),
            dir: None,
            seed: 1,
            trials: 100,
            max_seconds: None,
            reuse: false,
        }
    }
}

/// Longest name of an enqueued architecture: it stands in one line with the rest.
const LONGEST_NAME: usize = 40;

impl EnqueueSettings {
    /// Its name; unset: that of its file, or its place among the entries, from 1.
    pub fn name(&self, place: usize) -> String {
        let file = || {
            Some(
                Path::new(self.architecture.as_ref()?)
                    .file_stem()?
                    .to_string_lossy()
                    .into_owned(),
            )
        };
        self.name
            .clone()
            .or_else(file)
            .unwrap_or_else(|| format!("entry {place}"))
    }

    /// What cannot work among these entries: (key, what would be valid).
    pub fn problems(entries: &[Self]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let names: Vec<String> = (1..)
            .zip(entries)
            .map(|(place, entry)| entry.name(place))
            .collect();
        for (index, (entry, name)) in entries.iter().zip(&names).enumerate() {
            let part = format!("enqueue[{}]", index + 1);
            match (&entry.architecture, &entry.decisions) {
                (Some(_), Some(_)) => problems.push((part.clone(), "has both architecture and decisions: leave one of them out".into())),
                (None, None) => problems.push((
                    part.clone(),
                    "needs architecture = \"FILE.json\" (as `netwright show RUN TRIAL --json` prints it), or decisions = [...]".into(),
                )),
                _ => {}
            }
            if names[..index].contains(name) {
                problems.push((
                    format!("{part}.name"),
                    format!("another entry is called \"{name}\" too: give each a name of its own"),
                ));
            }
            if name.trim().is_empty()
                || name.chars().count() > LONGEST_NAME
                || name.chars().any(char::is_control)
            {
                problems.push((
                    format!("{part}.name"),
                    format!(
                        "\"{}\": must be 1 to {LONGEST_NAME} characters in one line",
                        name.escape_debug()
                    ),
                ));
            }
        }
        problems
    }
}

impl RunSettings {
    /// What cannot work in this section: (key, what would be valid).
    pub fn problems(&self) -> Vec<(String, String)> {
        let named = self.dir.is_some() || is_folder_name(&self.name);
        let rules = [
            (
                "name",
                named,
                "must be the name of a folder under runs/: not empty, without / and not . or ..",
            ),
            (
                "dir",
                self.dir.as_deref() != Some(""),
                "must be a folder, or left out for runs/<run.name>",
            ),
            (
                "seed",
                i64::try_from(self.seed).is_ok(),
                "must be below 2^63",
            ),
            (
                "trials",
                (1..=MAX_TRIALS).contains(&self.trials),
                "must be 1 to 1000000000 architectures",
            ),
            (
                "max_seconds",
                self.max_seconds.is_none_or(|seconds| seconds > 0.0),
                "must be above 0, or left out for no limit",
            ),
        ];
        broken(rules)
    }
}

const MAX_TRIALS: u64 = 1_000_000_000;

fn is_folder_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

/// The rules that do not hold.
fn broken<const N: usize>(rules: [(&str, bool, &str); N]) -> Vec<(String, String)> {
    rules
        .into_iter()
        .filter(|(_, holds, _)| !holds)
        .map(|(key, _, valid)| (key.to_owned(), valid.to_owned()))
        .collect()
}
