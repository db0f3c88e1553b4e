//! A Controller replica: pulls the parameters, has a minibatch of children sampled, waits for their rewards, and pushes the
//! policy gradient to every shard (paper §3.2, figure 3). Must not know who trains the children or how a gradient is computed.

use super::compute::Compute;
use super::mailbox::Mailbox;
use super::messages::{Fatal, GradientHere, Pull, Pulled, Push, RequestTicket, Resume, Retire, Rewarded, Sampled, SampledHere, Ticket};
use super::shard::ParameterShard;
use super::supervisor::Supervisor;
use crate::journal::{SampledMinibatch, SampledTrial};
use crate::policy::{LearningSettings, Policy, PulledParameters, entry_gradient};
use crate::random::{Key, Purpose};
use crate::space::{Decision, Space};
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use std::sync::Arc;

/// What all replicas share.
#[derive(Clone)]
pub struct Shared {
    pub policy: Arc<Policy>,
    pub space: Arc<dyn Space>,
    pub compute: Compute,
    pub seed: u64,
    pub learning: LearningSettings,
    /// Shard i owns `boundaries[i]..boundaries[i + 1]`.
    pub boundaries: Arc<[usize]>,
    pub shards: Vec<Mailbox<ParameterShard>>,
    pub supervisor: Mailbox<Supervisor>,
    pub metrics: Arc<Metrics>,
}

/// One controller replica.
pub struct Controller {
    index: u64,
    shared: Shared,
    stage: Stage,
}

/// Where the replica stands in its loop.
enum Stage {
    Idle,
    /// Slices arrive.
    Pulling {
        ticket: Ticket,
        slices: Vec<Option<Pulled>>,
    },
    /// The compute thread samples.
    Sampling {
        parameters: Arc<[f32]>,
    },
    /// The children train.
    Waiting(Minibatch),
    /// The compute thread computes the gradient.
    Computing {
        pulled: PulledParameters,
    },
}

/// What the gradient will need.
struct Minibatch {
    layers: usize,
    pulled: PulledParameters,
    decisions: Vec<Vec<Decision>>,
    parameters: Arc<[f32]>,
}

impl Controller {
    /// Replica `index`, which asks for a ticket when it starts unless it is told to resume.
    pub fn new(index: u64, shared: Shared) -> Self {
        Self { index, shared, stage: Stage::Idle }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.shared.metrics)
    }

    /// All slices are here: put the vector together and have the minibatch sampled.
    fn sample(&mut self, ticket: Ticket, slices: Vec<Pulled>, context: &mut Context<Self>) {
        let versions = slices.iter().map(|slice| slice.version).collect();
        let parameters: Arc<[f32]> = slices.iter().flat_map(|slice| slice.values.iter().copied()).collect();
        let pulled = PulledParameters { boundaries: self.shared.boundaries.to_vec(), versions };
        self.stage = Stage::Sampling { parameters: parameters.clone() };
        let (shared, controller, reply) = (self.shared.clone(), self.index, self.mailbox(context));
        self.shared.compute.submit(move || match sample(&shared, controller, &ticket, pulled, &parameters) {
            Ok(sampled) => reply.do_send(SampledHere { sampled }),
            Err(reason) => shared.supervisor.do_send(Fatal(reason)),
        });
    }

    fn push(&self, sequence: u64, pulled: &PulledParameters, gradient: &Arc<[f32]>) {
        for (shard, version) in self.shared.shards.iter().zip(&pulled.versions) {
            shard.do_send(Push { sequence, pulled: *version, gradient: gradient.clone() });
        }
        self.shared.metrics.controller_updates_total.inc();
    }
}

/// Samples a ticket's minibatch (on the compute thread): each slot from its own random stream.
fn sample(
    shared: &Shared,
    controller: u64,
    ticket: &Ticket,
    pulled: PulledParameters,
    parameters: &[f32],
) -> Result<SampledMinibatch, String> {
    let keys: Vec<Key> =
        (0..ticket.children as u32).map(|slot| Key { seed: shared.seed, controller, minibatch: ticket.minibatch, slot }).collect();
    let streams = keys.iter().map(|key| key.stream(Purpose::Decisions)).collect();
    let space = shared.space.as_ref();
    let samples = if shared.learning.learns {
        shared.policy.sample(parameters, space, ticket.layers, streams).map_err(|error| error.to_string())?
    } else {
        shared.policy.sample_uniform(space, ticket.layers, streams)
    };
    if !samples.is_empty() {
        let entropy = samples.iter().map(|sample| sample.entropy).sum::<f64>() / samples.len() as f64;
        shared.metrics.policy_entropy_nats.set(entropy);
        shared.metrics.architecture_layers.set(ticket.layers as f64);
    }
    let mut trials = Vec::with_capacity(samples.len());
    for (sample, key) in samples.into_iter().zip(keys) {
        let architecture = space.build(ticket.layers, &sample.decisions).map_err(|error| format!("a sampled architecture: {error}"))?;
        let (parameters, flops) = architecture.size();
        trials.push(SampledTrial { decisions: sample.decisions, architecture, seed: key.child_seed(), parameters, flops });
    }
    Ok(SampledMinibatch { controller, minibatch: ticket.minibatch, layers: ticket.layers, pulled, trials })
}

impl Actor for Controller {
    type Context = Context<Self>;
}

impl Handler<Ticket> for Controller {
    type Result = ();

    fn handle(&mut self, ticket: Ticket, context: &mut Self::Context) {
        for shard in &self.shared.shards {
            shard.do_send(Pull { after: ticket.after, reply: self.mailbox(context) });
        }
        self.stage = Stage::Pulling { ticket, slices: self.shared.shards.iter().map(|_| None).collect() };
    }
}

impl Handler<Pulled> for Controller {
    type Result = ();

    fn handle(&mut self, pulled: Pulled, context: &mut Self::Context) {
        let Stage::Pulling { slices, .. } = &mut self.stage else { return };
        let shard = pulled.shard;
        slices[shard] = Some(pulled);
        if slices.iter().any(Option::is_none) {
            return;
        }
        if let Stage::Pulling { ticket, slices } = std::mem::replace(&mut self.stage, Stage::Idle) {
            self.sample(ticket, slices.into_iter().flatten().collect(), context);
        }
    }
}

impl Handler<SampledHere> for Controller {
    type Result = ();

    fn handle(&mut self, message: SampledHere, _: &mut Self::Context) {
        let Stage::Sampling { parameters } = &self.stage else { return };
        let sampled = message.sampled;
        self.stage = Stage::Waiting(Minibatch {
            layers: sampled.layers,
            pulled: sampled.pulled.clone(),
            decisions: sampled.trials.iter().map(|trial| trial.decisions.clone()).collect(),
            parameters: parameters.clone(),
        });
        self.shared.supervisor.do_send(Sampled { sampled });
    }
}

impl Handler<Resume> for Controller {
    type Result = ();

    fn handle(&mut self, message: Resume, _: &mut Self::Context) {
        let open = message.open;
        self.stage = Stage::Waiting(Minibatch {
            layers: open.layers,
            pulled: open.pulled,
            decisions: open.trials.into_iter().map(|trial| trial.decisions).collect(),
            parameters: message.parameters,
        });
    }
}

impl Handler<Rewarded> for Controller {
    type Result = ();

    fn handle(&mut self, Rewarded(sequenced): Rewarded, context: &mut Self::Context) {
        let Stage::Waiting(minibatch) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        self.stage = Stage::Computing { pulled: minibatch.pulled.clone() };
        let (shared, reply) = (self.shared.clone(), self.mailbox(context));
        self.shared.compute.submit(move || {
            let episodes: Vec<_> = minibatch.decisions.into_iter().zip(sequenced.rewards).collect();
            let gradient = entry_gradient(
                &shared.policy,
                shared.space.as_ref(),
                &minibatch.parameters,
                minibatch.layers,
                &episodes,
                sequenced.baseline,
                &shared.learning,
            );
            match gradient {
                Ok(gradient) => reply.do_send(GradientHere { sequence: sequenced.sequence, gradient }),
                Err(error) => shared.supervisor.do_send(Fatal(error.to_string())),
            }
        });
    }
}

impl Handler<GradientHere> for Controller {
    type Result = ();

    fn handle(&mut self, message: GradientHere, _: &mut Self::Context) {
        let Stage::Computing { pulled } = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        self.shared.metrics.policy_gradient_norm.set(message.gradient.norm);
        self.push(message.sequence, &pulled, &message.gradient.values.into());
        self.shared.supervisor.do_send(RequestTicket { controller: self.index });
    }
}

impl Handler<Retire> for Controller {
    type Result = ();

    fn handle(&mut self, _: Retire, context: &mut Self::Context) {
        context.stop();
    }
}
