//! `netwright verify`: derives every proposal and the controller's parameters again, from the seed
//! and the journal alone, and compares them with what is stored: the trials' decisions, every
//! snapshot, and after which epoch children were pruned. Must not train or write anything.

use super::{Failure, print, reading, warm_start};
use crate::child::verify_pruning;
use crate::journal::{Reader, TrialRow};
use crate::policy::Policy;
use crate::settings;
use crate::space::{CellSpace, ImageShape, Network, Space, SpaceSettings};
use crate::strategy::{Again, LogEntry, StrategyName, Verification, surrogate_state};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The run directory
    pub run: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Default, Serialize)]
struct Verdict {
    matches: bool,
    entries: u64,
    /// Sequence numbers of the snapshots compared.
    snapshots: Vec<u64>,
    /// The first snapshot that differs.
    first_difference: Option<u64>,
    problem: Option<String>,
}

pub fn run(args: VerifyArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.run).map_err(reading)?;
    let config = args.run.join("config.toml");
    // The run's own file is complete: neither environment nor arguments may change what is
    // verified.
    let settings = settings::load(&config, &[], std::iter::empty())
        .map_err(|error| Failure::Input(error.to_string()))?;
    let space: Box<dyn Space> = match reader.retraining().map_err(reading)? {
        Some(recipes) => Box::new(recipes.space()),
        None => space(&settings.space, reader.first_sampled().map_err(reading)?),
    };
    let copies = reader.copies().map_err(reading)?;
    let policy = Policy::new(space.as_ref(), &settings.controller.network())
        .starting_from(warm_start::copied_parameters(&copies));

    let mut log: Vec<LogEntry> = Vec::new();
    reader
        .for_each_entry(|entry| log.push(entry))
        .map_err(reading)?;
    let open = reader.open_minibatches().map_err(reading)?;
    let (held, damaged) = reader.held().map_err(reading)?;
    let mut verdict = Verdict {
        matches: true,
        ..Verdict::default()
    };
    if !log.is_empty() {
        match Verification::new(&policy, space.as_ref(), settings.run.seed, &log, &open) {
            Ok(verification) => {
                let known = warm_start::copied_trials(&copies)?;
                let known = known.filter(|_| begins_guided(&log)).map(surrogate_state);
                match verification.beginning_with(&known.unwrap_or_default()) {
                    Ok(begun) => compare(begun.holding(&held), &reader, &mut verdict)?,
                    Err(discrepancy) => verdict.refuse(None, &discrepancy),
                }
            }
            Err(discrepancy) => verdict.refuse(None, &discrepancy),
        }
    }
    if verdict.matches {
        let pruned = reader.pruned_minibatches().map_err(reading)?;
        if let Err(discrepancy) = verify_pruning(&pruned) {
            verdict.refuse(None, &discrepancy);
        }
    }
    if verdict.matches && damaged > 0 {
        verdict.matches = false;
        verdict.problem = Some(format!(
            "the parameters kept for {damaged} minibatches are damaged; a search goes on without them, from the seed"
        ));
    }
    if verdict.matches
        && let Some(problem) = changed_reevaluation(&reader, settings.run.seed)?
    {
        verdict.matches = false;
        verdict.problem = Some(problem);
    }
    if args.json {
        super::print_json(&verdict)?;
    } else {
        print(&text(&verdict))?;
    }
    if verdict.matches {
        Ok(())
    } else {
        Err(Failure::Failed(format!(
            "{}: the run does not verify",
            args.run.display()
        )))
    }
}

/// The space of a run whose first sampled trial is this one. What surrounds its networks (the image, the classes, the
/// language model) is known from that alone: the data need not be there.
fn space(settings: &SpaceSettings, first: Option<TrialRow>) -> Box<dyn Space> {
    const USUAL: ImageShape = ImageShape {
        channels: 3,
        height: 32,
        width: 32,
    };
    match first.map(|row| row.architecture.network) {
        Some(Network::Conv(network)) => settings.build(network.image, network.classes),
        Some(Network::Cell(network)) => Box::new(CellSpace::new(settings, network.model)),
        Some(Network::Choices(_)) | None => settings.build(USUAL, 10),
    }
}

impl Verdict {
    fn refuse(&mut self, sequence: Option<u64>, discrepancy: &impl Display) {
        self.matches = false;
        self.first_difference = sequence;
        self.problem = Some(discrepancy.to_string());
    }
}

/// Verifies entry after entry, and the snapshots between them.
fn compare(
    mut verification: Verification,
    reader: &Reader,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let snapshots = reader.snapshot_numbers().map_err(reading)?;
    loop {
        let next = verification.next_sequence();
        let sequence = match verification.step() {
            Ok(Some(sequence)) => sequence,
            Ok(None) => break,
            Err(discrepancy) => {
                verdict.refuse(next, &discrepancy);
                return Ok(());
            }
        };
        verdict.entries += 1;
        if snapshots.contains(&sequence) {
            verdict.snapshots.push(sequence);
            let stored = reader.snapshot(sequence).map_err(reading)?;
            if stored != Some(verification.snapshot()) {
                verdict.matches = false;
                verdict.first_difference = Some(sequence);
                return Ok(());
            }
        }
    }
    if let Err(discrepancy) = verification.finish() {
        verdict.refuse(None, &discrepancy);
    }
    Ok(())
}

/// The run's first strategy has a surrogate.
fn begins_guided(log: &[LogEntry]) -> bool {
    matches!(log.first(), Some(LogEntry::Change { learning, .. }) if learning.strategy == StrategyName::GUIDED)
}

/// A trial that should evaluate an earlier one's network again, and has another network or another
/// seed.
fn changed_reevaluation(reader: &Reader, seed: u64) -> Result<Option<String>, Failure> {
    let mut before: HashMap<(bool, u64), u64> = HashMap::new();
    for row in reader.reevaluations().map_err(reading)? {
        let again = Again {
            confirms: row.confirms,
            retry_of: row.retry_of,
        };
        let count = before
            .entry((again.is_confirmation(), again.of()))
            .or_default();
        let of = reader.trial(again.of()).map_err(reading)?;
        let is_same = |of: TrialRow| {
            of.id < row.id && of.decisions == row.decisions && of.architecture == row.architecture
        };
        if !of.is_some_and(is_same) {
            return Ok(Some(format!(
                "trial {}: its network is not that of trial {}, which it evaluates again",
                row.id,
                again.of()
            )));
        }
        if row.seed != again.seed(seed, *count) {
            return Ok(Some(format!(
                "trial {}: its seed is not the one that it was given",
                row.id
            )));
        }
        *count += 1;
    }
    Ok(None)
}

fn text(verdict: &Verdict) -> String {
    let number = |count: u64, one: &str, more: &str| {
        format!("{count} {}", if count == 1 { one } else { more })
    };
    let compared = format!(
        "{} replayed, {} compared",
        number(verdict.entries, "log entry", "log entries"),
        number(verdict.snapshots.len() as u64, "snapshot", "snapshots")
    );
    match (verdict.first_difference, &verdict.problem) {
        (None, None) => {
            format!("verified: {compared}, every parameter is what seed and journal say\n")
        }
        (Some(sequence), None) => format!(
            "NOT verified: the snapshot at sequence number {sequence} differs; {compared}\n"
        ),
        (Some(sequence), Some(problem)) => {
            format!("NOT verified: sequence number {sequence}: {problem}\n")
        }
        (None, Some(problem)) => format!("NOT verified: {problem}\n"),
    }
}
