//! Runs that version 2 of the database holds, interrupted: made by the program of then, with
//! `tests/fixtures/version-2/KIND.toml`, and stopped by SIGTERM. They are continued from their
//! snapshot and end in the rows of the same search, uninterrupted, by the program of then; and they
//! verify, before and after.

use super::common::netwright;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One such run, in a folder with its config and data.
struct Earlier {
    kind: &'static str,
    folder: tempfile::TempDir,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2")
}

fn fixture(name: &str) -> String {
    std::fs::read_to_string(fixtures().join(name)).unwrap()
}

/// The config file, without the keys that had no effect and are refused since; the resolved settings
/// of then hold them still.
fn config(kind: &str) -> String {
    let text = fixture(&format!("{kind}.toml"));
    if kind != "random" {
        return text;
    }
    let without_effect = ["learning_rate = ", "accumulate = "];
    let kept = text
        .lines()
        .filter(|line| !without_effect.iter().any(|key| line.starts_with(key)));
    kept.collect::<Vec<_>>().join("\n")
}

impl Earlier {
    /// The run as it was left; `tamper` is SQL that changes it.
    fn new(kind: &'static str, tamper: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("text")).unwrap();
        std::fs::create_dir_all(path("run")).unwrap();
        for name in ["text/train.txt", "text/valid.txt", "table.csv"] {
            std::fs::copy(fixtures().join(name), path(name)).unwrap();
        }
        std::fs::write(path("search.toml"), config(kind)).unwrap();
        let resolved = fixture(&format!("{kind}.resolved.toml"));
        std::fs::write(path("run/config.toml"), resolved).unwrap();
        let connection = rusqlite::Connection::open(path("run/search.db")).unwrap();
        connection
            .execute_batch(&fixture(&format!("{kind}.sql")))
            .unwrap();
        connection.execute_batch(tamper).unwrap();
        drop(connection);
        Self { kind, folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command: Command = netwright();
        command
            .current_dir(self.folder.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed.
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{}: {arguments:?}: {}{}",
            self.kind,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("run/search.db")).unwrap()
    }

    /// The columns of the fixture, by trial.
    fn rows(&self) -> Vec<Value> {
        let columns = [
            "id",
            "controller",
            "minibatch",
            "slot",
            "decisions",
            "seed",
            "status",
            "reward",
            "metric",
        ];
        let sql = format!("SELECT {} FROM trials ORDER BY id", columns.join(", "));
        let connection = self.database();
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| {
            let value = |column: usize| -> rusqlite::Result<Value> {
                Ok(match row.get_ref(column)? {
                    rusqlite::types::ValueRef::Integer(number) => Value::from(number),
                    rusqlite::types::ValueRef::Real(number) => Value::from(number),
                    rusqlite::types::ValueRef::Text(text) => {
                        Value::from(String::from_utf8_lossy(text).into_owned())
                    }
                    _ => Value::Null,
                })
            };
            let fields = columns
                .iter()
                .enumerate()
                .map(|(column, name)| Ok(((*name).to_owned(), value(column)?)))
                .collect::<rusqlite::Result<serde_json::Map<_, _>>>()?;
            Ok(Value::Object(fields))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Compares the rows with those of the same search, uninterrupted, by the program of then.
    /// Trained children may differ in the last digits, which depend on the machine.
    fn assert_ends_as_then(&self) {
        let then: Vec<Value> =
            serde_json::from_str(&fixture(&format!("{}.json", self.kind))).unwrap();
        let now = self.rows();
        assert_eq!(now.len(), then.len(), "{}", self.kind);
        let exact = matches!(self.kind, "choices" | "random");
        for (now, then) in now.iter().zip(&then) {
            for (name, value) in then.as_object().unwrap() {
                match (value.as_f64(), now[name].as_f64()) {
                    (Some(value), Some(number)) if value.fract() != 0.0 && !exact => assert!(
                        (number - value).abs() <= 0.05 * value.abs().max(1.0),
                        "{}: {name} is {number}, not {value}: {now}",
                        self.kind
                    ),
                    _ => assert_eq!(&now[name], value, "{}: {name} of {now}", self.kind),
                }
            }
        }
    }
}

const SEARCH: &[&str] = &["search", "search.toml", "--run-dir", "run"];

#[test]
fn a_run_of_before_is_verified_as_it_is() {
    for kind in ["conv", "cell", "choices", "random"] {
        let earlier = Earlier::new(kind, "");
        let text = earlier.succeed(&["verify", "run"]);
        assert!(text.contains(" 1 snapshot compared"), "{kind}: {text}");
        let version: i64 = earlier
            .database()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, 2, "{kind}: readers change nothing");
    }
}

#[test]
fn a_run_of_before_goes_on_with_the_numbers_of_then_and_verifies() {
    for kind in ["conv", "cell", "choices", "random"] {
        let earlier = Earlier::new(kind, "");
        let printed = earlier.succeed(SEARCH);
        earlier.assert_ends_as_then();
        // Crops were whitened last then; of other children nothing is whitened.
        assert_eq!(
            printed.contains("data.whiten_order: this run did not record it before"),
            kind == "conv",
            "{printed}"
        );
        let config = std::fs::read_to_string(earlier.folder.path().join("run/config.toml"));
        assert_eq!(
            config.unwrap().contains("whiten_order = \"last\""),
            kind == "conv"
        );
        earlier.succeed(&["verify", "run"]);
        let changes: i64 = earlier
            .database()
            .query_row("SELECT count(*) FROM changes", [], |row| row.get(0))
            .unwrap();
        // Without the keys that are refused now, defaults stand in: a change, of what random ignores.
        assert_eq!(
            changes,
            1 + i64::from(kind == "random"),
            "{kind}: its learning settings are what they were"
        );
        let config = std::fs::read_to_string(earlier.folder.path().join("run/config.toml"));
        assert!(
            config.unwrap().contains("failed_reward = \"skip\""),
            "{kind}: failures teach nothing, as before"
        );
    }
}

#[test]
fn a_run_of_before_refuses_another_order_of_whitening() {
    let earlier = Earlier::new("conv", "");
    let first = [SEARCH, &["--set", "data.whiten_order=first"]].concat();
    let output = earlier.run(&first);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        message.contains("data.whiten_order: \"last\" in the run, \"first\" now"),
        "{message}"
    );
}

/// Decisions before the snapshot are altered: a log that was replayed from the seed would give other
/// parameters.
#[test]
fn a_run_of_before_goes_on_from_its_snapshot() {
    let earlier = Earlier::new("choices", OTHER_DECISIONS);
    earlier.succeed(SEARCH);
    let parameters = |earlier: &Earlier| -> Vec<u8> {
        let sql = "SELECT substr(data, 1, 3000) FROM snapshots ORDER BY sequence DESC LIMIT 1";
        earlier
            .database()
            .query_row(sql, [], |row| row.get(0))
            .unwrap()
    };
    let untouched = Earlier::new("choices", "");
    untouched.succeed(SEARCH);
    assert!(
        parameters(&earlier) == parameters(&untouched),
        "the parameters do not come from the snapshot"
    );
}

const OTHER_DECISIONS: &str = "
    UPDATE trials SET decisions = CASE decisions WHEN '[3,2,1]' THEN '[0,0,0]' ELSE '[3,2,1]' END WHERE id = 5;";

const OTHER_REWARD: &str = "UPDATE trials SET reward = reward + 0.01 WHERE id = 8;";

#[test]
fn one_changed_decision_or_reward_of_a_run_of_before_is_found() {
    for kind in ["choices", "random"] {
        for (tamper, expected) in [
            (
                OTHER_DECISIONS,
                "trial 5: its decisions are not those that the strategy",
            ),
            (OTHER_REWARD, "one of them was changed"),
        ] {
            let earlier = Earlier::new(kind, tamper);
            let output = earlier.run(&["verify", "run"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(1), "{kind}: {text}");
            assert!(text.contains(expected), "{kind}: {text}");
        }
    }
}
