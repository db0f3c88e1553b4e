//! Changes of the config file while the search runs: each is applied by restarting only the actors
//! that it concerns, without losing their work. Must not know how the file is read or which keys it
//! has.

use super::restart::RestartSettings;
use super::scheduler::AfterDrain;
use super::{Event, SearchSettings, Supervisor};
use crate::actors::lane::EvaluatorFactory;
use crate::actors::messages::{LearningChange, PollConfig, Shutdown};
use crate::actors::runtime::{Receive, receives};
use crate::child::FailureRule;
use crate::machine::LaneSpec;
use crate::policy::shard_boundaries;
use crate::telemetry::Endpoint;
use actix::{AsyncContext, Context};
use std::time::Duration;

/// Timers run on while the process is suspended, so one may fire too early and is set again, but
/// not in a tight loop.
pub(super) const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// The settings with which a running search continues.
pub struct Reconfigured {
    pub search: SearchSettings,
    pub lanes: Vec<LaneSpec>,
    /// Some: children are trained in another way from now on.
    pub factory: Option<EvaluatorFactory>,
    pub attempts: u32,
    pub failed_reward: FailureRule,
    pub max_seconds: Option<f64>,
    pub restart: RestartSettings,
    /// Some: the endpoint moves, or is off (None).
    pub endpoint: Option<Option<Endpoint>>,
    /// The text of the run's new `config.toml`.
    pub config: String,
    /// What changed, in words.
    pub text: String,
}

/// What is new in the config file.
pub enum Notice {
    Accepted(Box<Reconfigured>),
    /// The run goes on as it was; names the key.
    Refused(String),
    /// A change without effect, because a source with precedence sets the same key.
    Masked(String),
}

/// The config file of a running search.
pub trait Reload: Send {
    /// What is new since the last call; must return quickly. `forced`: read the file even if it
    /// seems unchanged.
    fn poll(&mut self, forced: bool) -> Vec<Notice>;
}

receives!(Supervisor: PollConfig);

impl Receive<PollConfig> for Supervisor {
    fn receive(&mut self, PollConfig { forced }: PollConfig, context: &mut Self::Context) {
        if self.ending.is_some() {
            return;
        }
        let notices = self
            .parts
            .reload
            .as_mut()
            .map_or_else(Vec::new, |reload| reload.poll(forced));
        for notice in notices {
            let (kind, text) = match notice {
                Notice::Accepted(settings) => {
                    ("config accepted", self.reconfigure(*settings, context))
                }
                Notice::Refused(text) => (
                    "config refused",
                    format!("{text}; the run goes on as it was"),
                ),
                Notice::Masked(text) => ("config masked", text),
            };
            if kind == "config accepted" {
                tracing::info!("{kind}: {text}");
            } else {
                tracing::warn!("{kind}: {text}");
            }
            self.journal.event(kind, &text);
            self.notify(Event::Note(format!("{kind}: {text}")));
        }
        self.dispatch();
        self.end_if_done();
    }
}

impl Supervisor {
    fn reconfigure(&mut self, new: Reconfigured, context: &mut Context<Self>) -> String {
        self.journal.config(new.config);
        self.parts.attempts = new.attempts;
        self.parts.failed_reward = new.failed_reward;
        self.parts.restart = new.restart;
        if self.parts.max_seconds != new.max_seconds {
            self.parts.max_seconds = new.max_seconds;
            self.schedule_end(context);
        }
        if let Some(endpoint) = new.endpoint {
            self.move_endpoint(endpoint);
        }
        self.change_lanes(new.lanes, new.factory, context);
        let choice = new.search.controller.strategy;
        let strategy = choice.resume(self.requested_learning.strategy);
        let learning = new.search.learning(strategy);
        if learning != self.requested_learning {
            self.requested_learning = learning;
            let supervisor = self.mailbox(context);
            self.journal.change(
                learning,
                Box::new(move |sequence| supervisor.do_send(LearningChange { sequence, learning })),
            );
        }
        self.proposals.set_pruner(new.search.pruner);
        let shards = new.search.parameter_server.shards;
        if shards + 1 != self.shards.set.boundaries.len() {
            self.reshard(shard_boundaries(self.policy.parameter_count(), shards));
        }
        self.tally.set_trials(new.search.trials);
        let to_sample = self.reevaluations.set(&new.search, self.tickets.issued());
        self.tickets.set(
            to_sample,
            new.search.controller.children,
            new.search.controller.replicas,
        );
        self.start_missing_controllers(new.search.controller.replicas);
        new.text
    }

    /// Schedules the end of the search at `run.max_seconds`.
    pub(super) fn schedule_end(&self, context: &mut Context<Self>) {
        if let Some(limit) = self.parts.max_seconds {
            let left =
                Duration::from_secs_f64(limit.min(1e9)).saturating_sub(self.started.elapsed());
            context.notify_later(Shutdown::TimeIsUp, left.max(SHORTEST_WAIT));
        }
    }

    /// Lanes that are in the new list continue; the others end their child first. A new factory
    /// restarts every lane, also after its child.
    fn change_lanes(
        &mut self,
        mut lanes: Vec<LaneSpec>,
        factory: Option<EvaluatorFactory>,
        context: &Context<Self>,
    ) {
        let restart_all = factory.is_some();
        self.parts.factory = factory.unwrap_or_else(|| self.parts.factory.clone());
        for index in self.scheduler.lanes_in_use() {
            let own = &self.trainers[index].lane;
            match lanes.iter().position(|lane| lane == own) {
                Some(position) => {
                    lanes.remove(position);
                    if restart_all {
                        self.scheduler.drain(index, AfterDrain::Restart);
                    }
                }
                None => self.scheduler.drain(index, AfterDrain::Remove),
            }
        }
        for lane in lanes {
            self.add_trainer(lane, context);
        }
        self.log_lanes();
        self.retire_drained(context);
    }

    fn move_endpoint(&mut self, endpoint: Option<Endpoint>) {
        if let Some(old) = self.parts.serving.take() {
            actix::spawn(old.stop(false));
        }
        match endpoint.map(Endpoint::serve).transpose() {
            Ok(serving) => self.parts.serving = serving,
            Err(error) => tracing::error!("telemetry.listen: {error}"),
        }
    }
}
