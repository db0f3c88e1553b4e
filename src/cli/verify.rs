//! `netwright verify`: derives the controller's parameters again, from the seed and the journal
//! alone, and compares them with every snapshot that is stored. Must not train or write anything.

use super::{Failure, print, reading};
use crate::journal::Reader;
use crate::policy::Policy;
use crate::settings;
use crate::space::ImageShape;
use crate::strategy::{LogEntry, Replay, ReplayError, initial_snapshot};
use serde::Serialize;
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
    // Image and classes shape the networks, not the decisions that are replayed.
    let space = settings.space.build(
        ImageShape {
            channels: 3,
            height: 32,
            width: 32,
        },
        10,
    );
    let policy = Policy::new(space.as_ref(), &settings.controller.network());

    let snapshots = reader.snapshot_numbers().map_err(reading)?;
    let mut verdict = Verdict {
        matches: true,
        ..Verdict::default()
    };
    let mut log: Vec<LogEntry> = Vec::new();
    reader
        .for_each_entry(|entry| log.push(entry))
        .map_err(reading)?;
    if let Some(LogEntry::Change { learning, .. }) = log.first() {
        let mut replay = Replay::new(
            &policy,
            space.as_ref(),
            initial_snapshot(&policy, settings.run.seed, *learning),
        );
        compare(&mut replay, &log, &snapshots, &reader, &mut verdict)?;
    } else if !log.is_empty() {
        (verdict.matches, verdict.problem) = (
            false,
            Some("the log does not begin with the learning settings".into()),
        );
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

fn compare(
    replay: &mut Replay,
    log: &[LogEntry],
    snapshots: &[u64],
    reader: &Reader,
    verdict: &mut Verdict,
) -> Result<(), Failure> {
    let mut before = None;
    for (entry, wanted) in log.iter().zip(Replay::wanted_versions(log)) {
        replay.forget_before(wanted);
        if let LogEntry::Minibatch(minibatch) = entry
            && entry.sequence() == replay.snapshot().state.sequence + 1
        {
            // A synchronous round shares the baseline before it.
            let baseline = replay.snapshot().baseline.value();
            if minibatch.baseline != baseline && Some(minibatch.baseline) != before {
                verdict.matches = false;
                verdict.first_difference = Some(entry.sequence());
                verdict.problem = Some(format!(
                    "it was compared with the baseline {:?}, but the rewards before it give {baseline:?}: one of them was changed",
                    minibatch.baseline
                ));
                return Ok(());
            }
            before = Some(minibatch.baseline);
        }
        if let Err(error) = replay.apply(entry) {
            return refuse(verdict, entry.sequence(), &error);
        }
        verdict.entries += 1;
        if snapshots.contains(&entry.sequence()) {
            verdict.snapshots.push(entry.sequence());
            if reader.snapshot(entry.sequence()).map_err(reading)?.as_ref()
                != Some(replay.snapshot())
            {
                verdict.matches = false;
                verdict.first_difference = Some(entry.sequence());
                return Ok(());
            }
        }
    }
    Ok(())
}

fn refuse(verdict: &mut Verdict, sequence: u64, error: &ReplayError) -> Result<(), Failure> {
    verdict.matches = false;
    verdict.first_difference = Some(sequence);
    verdict.problem = Some(error.to_string());
    Ok(())
}

fn text(verdict: &Verdict) -> String {
    let compared = format!(
        "{} log entries replayed, {} snapshots compared",
        verdict.entries,
        verdict.snapshots.len()
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
