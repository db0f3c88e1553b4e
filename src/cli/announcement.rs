//! What a search says before it starts and after it has ended. Must not decide anything, but for
//! the exit code of an end.

use super::progress::duration;
use super::{Failure, assembly, process_restart, reading};
use crate::actors::End;
use crate::journal::{Reader, Recovered, TrialRow};
use crate::machine::LaneSpec;
use crate::report;
use crate::settings::Settings;
use crate::telemetry::Endpoint;
use crate::workload::{BestChild, Reference, Workload};
use std::collections::BTreeSet;
use std::path::Path;

/// A search that is about to start, or ends.
pub struct Announced<'a> {
    pub settings: &'a Settings,
    pub workload: &'a dyn Workload,
    pub run_dir: &'a Path,
    pub lanes: &'a [LaneSpec],
}

impl Announced<'_> {
    /// What runs, where, and where to look.
    pub fn start(&self, endpoint: Option<&Endpoint>, recovered: &Recovered) {
        say!(
            "netwright search \"{}\" in {}",
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
        let devices: BTreeSet<&str> = self.lanes.iter().map(|lane| lane.device.as_str()).collect();
        let devices: Vec<&str> = devices.into_iter().collect();
        say!(
            "devices: {}; {} children at a time",
            devices.join(", "),
            self.lanes.len()
        );
        if let Some(address) = endpoint.and_then(Endpoint::address) {
            say!("page: http://{address}/");
            say!("metrics: http://{address}/metrics");
        }
        if let Some(warning) = endpoint.and_then(Endpoint::warning) {
            tracing::warn!("{warning}");
        }
        self.enqueued(recovered);
        let finished = recovered.completed + recovered.failed;
        if finished > 0 {
            let trials = self.settings.run.trials;
            say!("continuing: {finished} of {trials} trials are finished");
        }
    }

    /// The enqueued architectures, unless all of them are evaluated.
    fn enqueued(&self, recovered: &Recovered) {
        let entries = &self.settings.enqueue;
        let evaluated = recovered
            .enqueued
            .iter()
            .filter(|(_, trial)| trial.finished)
            .count();
        if entries.len() <= evaluated {
            return;
        }
        let names: Vec<String> = (1..)
            .zip(entries)
            .map(|(position, entry)| entry.name(position))
            .collect();
        say!(
            "first, before sampling starts: {} (enqueued; {evaluated} of {} are evaluated)",
            names.join(", "),
            entries.len()
        );
    }

    /// What was found, where it lies, and the exit code.
    pub fn end(&self, end: End) -> Result<(), Failure> {
        let reader = Reader::open(self.run_dir).map_err(reading)?;
        let leaderboard = report::leaderboard(&reader, 10).map_err(reading)?;
        super::print(&format!("\n{leaderboard}"))?;
        if end == End::Finished {
            self.reference(&reader)?;
        }
        say!(
            "the run: {}   (netwright top {0} · netwright show {0} TRIAL)",
            self.run_dir.display()
        );
        let again = "the same command continues it";
        match end {
            End::Finished => Ok(()),
            End::TimeIsUp => {
                say!("stopped after run.max_seconds; {again}");
                Ok(())
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
