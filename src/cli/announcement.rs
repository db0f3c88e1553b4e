//! What a search says before it starts and after it has ended. Must not decide anything, but for
//! the exit code of an end.

use super::progress::duration;
use super::{Failure, assembly, process_restart, reading};
use crate::actors::End;
use crate::journal::{Enqueued, Failures, Reader, Recovered, TrialRow};
use crate::machine::LaneSpec;
use crate::report;
use crate::settings::Settings;
use crate::strategy::confirmed_networks;
use crate::telemetry::Endpoint;
use crate::workload::{BestChild, Reference, Workload};
use std::collections::BTreeSet;
use std::path::Path;

/// A search that is about to start, or ends.
pub struct Announced<'a> {
    /// The subcommand.
    pub command: &'static str,
    pub settings: &'a Settings,
    pub workload: &'a dyn Workload,
    pub run_dir: &'a Path,
    pub lanes: &'a [LaneSpec],
}

impl Announced<'_> {
    /// What runs, where, and where to look.
    pub fn start(&self, endpoint: Option<&Endpoint>, recovered: &Recovered, enqueued: &[Enqueued]) {
        say!(
            "netwright {} \"{}\" in {}",
            self.command,
            self.settings.run.name,
            self.run_dir.display()
        );
        say!("{}", self.workload.description());
        for note in self.workload.notes() {
            say!("{note}");
        }
        for warning in self.workload.warnings() {
            tracing::warn!("{warning}");
        }
        for fact in &recovered.recorded {
            say!("{fact}: this run did not record it before; from now on another one is refused");
        }
        if let Some(kept) = &recovered.kept_config {
            say!(
                "the config.toml that lay in the run was not what the run had written: it is kept as {}",
                kept.display()
            );
        }
        let devices: BTreeSet<&str> = self.lanes.iter().map(|lane| lane.device.as_str()).collect();
        let devices: Vec<&str> = devices.into_iter().collect();
        let reason = assembly::why_on_cpu(self.settings).map(|reason| format!(" ({reason})"));
        say!(
            "devices: {}{}; {} children at a time",
            devices.join(", "),
            reason.unwrap_or_default(),
            self.lanes.len()
        );
        if let Some(address) = endpoint.and_then(Endpoint::address) {
            say!("page: http://{address}/");
            say!("metrics: http://{address}/metrics");
        }
        if let Some(warning) = endpoint.and_then(Endpoint::warning) {
            tracing::warn!("{warning}");
        }
        note_enqueued(recovered, enqueued);
        self.confirmations();
        let finished = recovered.finished();
        if finished > 0 {
            let trials = self.settings.run.trials;
            say!("continuing: {finished} of {trials} trials are finished");
        }
    }

    /// That the last trials confirm the best networks.
    fn confirmations(&self) {
        let confirm = self.settings.run.confirm;
        if confirm > 0 {
            let networks = match confirmed_networks(confirm) {
                1 => "network".to_owned(),
                many => format!("{many} networks"),
            };
            say!(
                "last, after sampling: {confirm} evaluations of the best {networks} again (run.confirm)"
            );
        }
    }

    /// What was found, where it lies, and the exit code.
    pub fn end(&self, end: End) -> Result<(), Failure> {
        let reader = Reader::open(self.run_dir).map_err(reading)?;
        say!(
            "\n{}",
            report::leaderboard(&reader, 10)
                .map_err(reading)?
                .trim_end()
        );
        if end == End::Finished {
            self.reference(&reader)?;
        }
        say!(
            "the run: {}   (netwright top {0} · netwright show {0} TRIAL)",
            self.run_dir.display()
        );
        say!(
            "the report: {}",
            self.run_dir.join("report/index.html").display()
        );
        let again = "the same command continues it";
        match end {
            End::Finished => self.success(&reader),
            End::TimeIsUp => {
                say!("stopped after run.max_seconds; {again}");
                self.success(&reader)
            }
            End::Signal(number) => {
                say!("stopped by a signal, saved; {again}");
                Err(Failure::Signal(number))
            }
            End::Restart(reason) => Err(process_restart::replace_process(
                self.run_dir,
                &self.settings.restart.child_trainer,
                &reason,
            )),
            End::Failed(reason) => Err(Failure::Failed(format!(
                "{reason}; what was finished is saved, {again}"
            ))),
        }
    }

    /// A search that came to its end is a success if one of its trials is.
    pub fn success(&self, reader: &Reader) -> Result<(), Failure> {
        let Some(failures) = reader.only_failures().map_err(reading)? else {
            return Ok(());
        };
        let Failures {
            failed,
            error,
            times,
            first,
        } = failures;
        let all = match failed {
            1 => "the only trial has failed".to_owned(),
            _ => format!("all {failed} trials have failed"),
        };
        let how_often = match (failed, times) {
            (1, _) => String::new(),
            (_, times) if times == failed => ", all with the same error".into(),
            (_, times) => format!(", {times} of them with the same error"),
        };
        Err(Failure::Failed(format!(
            "{all}{how_often} (trial {first}): {error}\nonce its cause is mended, --fresh starts anew, and a larger run.trials goes on"
        )))
    }

    /// Compares the best child with what needs no search.
    fn reference(&self, reader: &Reader) -> Result<(), Failure> {
        let Some(best) = reader.best().map_err(reading)? else {
            return Ok(());
        };
        let child = BestChild {
            trial: best.id,
            decisions: &best.decisions,
        };
        let pool = assembly::every_core("reference")?;
        let Reference { model, remarks } = self.workload.reference(&child, &pool);
        if let Some(model) = model {
            let unit = assembly::workload_settings(self.settings).scoring().metric;
            let worst = reader.worst().map_err(reading)?;
            let metric = |row: Option<&TrialRow>| {
                unit.number(row.and_then(|row| row.metric).unwrap_or_default())
            };
            let training = model.training_seconds.map_or_else(String::new, |seconds| {
                format!(" ({} to train)", duration(seconds))
            });
            say!(
                "validation {}: best child {}, worst {}; {} {}{training}",
                unit.name(),
                metric(Some(&best)),
                metric(worst.as_ref()),
                model.name,
                unit.number(model.metric)
            );
        }
        for remark in remarks {
            say!("{remark}");
        }
        Ok(())
    }
}

/// So many enqueued architectures are named.
const NAMED: usize = 8;

/// The enqueued architectures, unless all of them are evaluated.
fn note_enqueued(recovered: &Recovered, enqueued: &[Enqueued]) {
    let finished = recovered
        .enqueued
        .iter()
        .filter(|(_, trial)| trial.finished);
    let evaluated = finished.count();
    if enqueued.len() <= evaluated {
        return;
    }
    let names: Vec<&str> = enqueued
        .iter()
        .take(NAMED)
        .map(|entry| entry.name.as_str())
        .collect();
    let more = match enqueued.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    say!(
        "first, before sampling starts: {}{more} (enqueued; {evaluated} of {} are evaluated)",
        names.join(", "),
        enqueued.len()
    );
}
