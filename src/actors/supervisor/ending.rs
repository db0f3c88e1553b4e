//! The end of a search: children stop, outcomes are committed, the last snapshot is stored. Must
//! not know why the search ends.

use super::{End, Supervisor};
use crate::actors::messages::StopTraining;
use crate::actors::runtime::Stopwatch;

impl Supervisor {
    /// No more tickets are issued and no more children trained; the first reason counts.
    pub(super) fn start_ending(&mut self, end: End) {
        if self.ending.is_none() {
            self.parts.metrics.readiness.leaving("the search is ending");
            tracing::info!("the search is ending: {end:?}");
            self.ending = Some(end);
            self.ending_since = Stopwatch::start();
            self.scheduler.clear_queue();
            for trainer in &self.trainers {
                trainer.address.do_send(StopTraining);
            }
        }
        self.end_if_done();
    }

    /// Once nothing runs and every outcome is committed: takes the last snapshot, then finishes.
    pub(super) fn end_if_done(&mut self) {
        let finished = self.replicas.is_empty() && self.scheduler.queued() == 0;
        if self.scheduler.running() > 0
            || self.committing > 0
            || !(finished || self.ending.is_some())
        {
            return;
        }
        if self.ending.is_none() && self.confirm() {
            return;
        }
        let no_snapshot = matches!(self.ending, Some(End::Failed(_)))
            || (self.ending.is_some() && self.shards.blocked());
        if no_snapshot || self.shards.stored == self.sequence {
            self.finish();
        } else if self.shards.requested != self.sequence && !self.shards.blocked() {
            self.cut();
        }
    }

    pub(super) fn finish(&mut self) {
        let end = self.ending.clone().unwrap_or(End::Finished);
        self.finish_with(end);
    }

    /// The search has ended. The actors live on until the page's readers have been notified, but
    /// begin nothing more.
    pub(super) fn finish_with(&mut self, end: End) {
        self.ending.get_or_insert_with(|| end.clone());
        if let Some(ended) = self.ended.take() {
            tracing::info!("the search has ended: {end:?}");
            let _ = ended.send(end);
        }
    }
}
