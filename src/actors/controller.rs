//! A Controller replica: pulls the parameters, has a minibatch of children sampled, waits for their
//! rewards, and pushes the policy gradient to every shard (paper §3.2, figure 3). Must not know who
//! trains the children or how a gradient is computed.

use crate::actors::messages::{
    GradientHere, Pull, Pulled, Push, RequestTicket, Resume, Retire, Rewarded, Sample, Sampled,
    SampledHere,
};
use crate::actors::messages::{ShardSet, Ticket};
use crate::actors::runtime::compute::Compute;
use crate::actors::runtime::fault;
use crate::actors::runtime::mailbox::Mailbox;
use crate::actors::runtime::watch::{ActorId, Fall, Gone, Guarded, Presence, Receive, receives};
use crate::actors::supervisor::Supervisor;
use crate::journal::{OpenMinibatch, SampledMinibatch, SampledTrial};
use crate::policy::Policy;
use crate::random::{Key, Purpose};
use crate::space::{Decision, Space};
use crate::strategy::{PulledParameters, entry_gradient};
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context};
use std::sync::Arc;

/// What all replicas share.
#[derive(Clone)]
pub struct Shared {
    pub policy: Arc<Policy>,
    pub space: Arc<dyn Space>,
    pub compute: Compute,
    pub seed: u64,
    pub supervisor: Mailbox<Supervisor>,
    pub metrics: Arc<Metrics>,
}

/// One controller replica.
pub struct Controller {
    index: u64,
    shared: Shared,
    shards: ShardSet,
    stage: Stage,
    presence: Presence,
}

/// Where the replica stands in its loop.
enum Stage {
    Idle,
    /// Slices arrive.
    Pulling {
        sample: Sample,
        slices: Vec<Option<Pulled>>,
    },
    /// The compute thread samples.
    Sampling,
    /// The children train.
    Waiting(Arc<Minibatch>),
    /// The compute thread computes the gradient.
    Computing,
}

/// What a minibatch's gradient needs: whoever has it can finish the minibatch.
pub struct Minibatch {
    layers: usize,
    pulled: PulledParameters,
    decisions: Vec<Vec<Decision>>,
    parameters: Arc<[f32]>,
}

impl Minibatch {
    /// One that was sampled here, from these parameters.
    fn sampled(sampled: &SampledMinibatch, parameters: Arc<[f32]>) -> Self {
        let decisions = sampled
            .trials
            .iter()
            .map(|trial| trial.decisions.clone())
            .collect();
        Self {
            layers: sampled.layers,
            pulled: sampled.pulled.clone(),
            decisions,
            parameters,
        }
    }

    /// One that an earlier process sampled, from these parameters.
    pub fn recovered(open: &OpenMinibatch, parameters: Arc<[f32]>) -> Self {
        let decisions = open
            .trials
            .iter()
            .map(|trial| trial.decisions.clone())
            .collect();
        Self {
            layers: open.layers,
            pulled: open.pulled.clone(),
            decisions,
            parameters,
        }
    }
}

impl Controller {
    /// Replica `index`, which waits to be told what to do; `generation` counts its rebuilds.
    pub fn new((index, generation): (u64, u64), shared: Shared, shards: ShardSet) -> Self {
        let presence = Presence::new(
            ActorId::Controller(index),
            generation,
            shared.supervisor.clone(),
        );
        Self {
            index,
            shared,
            shards,
            stage: Stage::Idle,
            presence,
        }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.shared.metrics)
    }

    fn pull(&mut self, sample: Sample, context: &Context<Self>) {
        for shard in &self.shards.addresses {
            shard.do_send(Pull {
                after: sample.ticket.after,
                set: self.shards.set,
                reply: self.mailbox(context),
            });
        }
        self.stage = Stage::Pulling {
            sample,
            slices: self.shards.addresses.iter().map(|_| None).collect(),
        };
    }

    /// Runs a job of this replica on the compute thread; its error is the end of this generation.
    fn compute(&self, job: impl FnOnce(&Shared) -> Result<(), String> + Send + 'static) {
        let owner = (ActorId::Controller(self.index), self.presence.generation);
        let shared = self.shared.clone();
        self.shared.compute.submit(owner, move || {
            if let Err(reason) = job(&shared) {
                shared.supervisor.do_send(Gone {
                    actor: owner.0,
                    generation: owner.1,
                    fall: Fall::Failed(reason),
                });
            }
        });
    }

    /// All slices are here: put the vector together and have the minibatch sampled.
    fn sample(&mut self, sample: Sample, slices: Vec<Pulled>, context: &mut Context<Self>) {
        let versions = slices.iter().map(|slice| slice.version).collect();
        let parameters: Arc<[f32]> = slices
            .iter()
            .flat_map(|slice| slice.values.iter().copied())
            .collect();
        let pulled = PulledParameters {
            boundaries: self.shards.boundaries.to_vec(),
            versions,
        };
        self.stage = Stage::Sampling;
        let (controller, reply) = (self.index, self.mailbox(context));
        self.compute(move |shared| {
            let sampled = draw(shared, controller, &sample, pulled, &parameters)?;
            reply.do_send(SampledHere {
                sampled,
                parameters,
            });
            Ok(())
        });
    }
}

/// Samples a ticket's minibatch (on the compute thread): each slot from its own random stream.
fn draw(
    shared: &Shared,
    controller: u64,
    Sample { ticket, learns }: &Sample,
    pulled: PulledParameters,
    parameters: &[f32],
) -> Result<SampledMinibatch, String> {
    let Ticket {
        minibatch, layers, ..
    } = *ticket;
    assert!(
        !fault::wanted("controller.panic", minibatch),
        "a fault on purpose in minibatch {minibatch}"
    );
    while fault::wanted("controller.freeze", minibatch) {
        std::thread::sleep(std::time::Duration::from_hours(1));
    }
    let keys: Vec<Key> = (0..ticket.children as u32)
        .map(|slot| Key {
            seed: shared.seed,
            controller,
            minibatch,
            slot,
        })
        .collect();
    let streams = keys
        .iter()
        .map(|key| key.stream(Purpose::Decisions))
        .collect();
    let space = shared.space.as_ref();
    let samples = if *learns {
        shared
            .policy
            .sample(parameters, space, layers, streams)
            .map_err(|error| error.to_string())?
    } else {
        shared.policy.sample_uniform(space, layers, streams)
    };
    if !samples.is_empty() {
        let entropy =
            samples.iter().map(|sample| sample.entropy).sum::<f64>() / samples.len() as f64;
        shared.metrics.policy_entropy_nats.set(entropy);
        shared.metrics.architecture_layers.set(layers as f64);
    }
    let mut trials = Vec::with_capacity(samples.len());
    for (sample, key) in samples.into_iter().zip(keys) {
        let architecture = space
            .build(layers, &sample.decisions)
            .map_err(|error| format!("a sampled architecture: {error}"))?;
        let (parameters, flops) = architecture.size();
        trials.push(SampledTrial {
            decisions: sample.decisions,
            architecture,
            seed: key.child_seed(),
            parameters,
            flops,
        });
    }
    Ok(SampledMinibatch {
        controller,
        minibatch,
        layers,
        pulled,
        trials,
    })
}

impl Actor for Controller {
    type Context = Context<Self>;
}

impl Guarded for Controller {
    fn panicked(&mut self, panic: String) {
        self.presence.fell(Fall::Panicked(panic));
    }
}

receives!(Controller: Sample, Pulled, SampledHere, Resume, Rewarded, GradientHere, ShardSet, Retire);

impl Receive<Sample> for Controller {
    fn receive(&mut self, sample: Sample, context: &mut Self::Context) {
        self.pull(sample, context);
    }
}

impl Receive<ShardSet> for Controller {
    fn receive(&mut self, shards: ShardSet, context: &mut Self::Context) {
        self.shards = shards;
        if let Stage::Pulling { sample, .. } = &self.stage {
            self.pull(sample.clone(), context);
        }
    }
}

impl Receive<Pulled> for Controller {
    fn receive(&mut self, pulled: Pulled, context: &mut Self::Context) {
        let Stage::Pulling { slices, .. } = &mut self.stage else {
            return;
        };
        if pulled.set != self.shards.set {
            return;
        }
        let shard = pulled.shard;
        slices[shard] = Some(pulled);
        if slices.iter().any(Option::is_none) {
            return;
        }
        if let Stage::Pulling { sample, slices } = std::mem::replace(&mut self.stage, Stage::Idle) {
            self.sample(sample, slices.into_iter().flatten().collect(), context);
        }
    }
}

impl Receive<SampledHere> for Controller {
    fn receive(&mut self, message: SampledHere, _: &mut Self::Context) {
        if !matches!(self.stage, Stage::Sampling) {
            return;
        }
        let SampledHere {
            sampled,
            parameters,
        } = message;
        let minibatch = Arc::new(Minibatch::sampled(&sampled, parameters));
        self.stage = Stage::Waiting(minibatch.clone());
        self.shared.supervisor.do_send(Sampled {
            generation: self.presence.generation,
            sampled,
            minibatch,
        });
    }
}

impl Receive<Resume> for Controller {
    fn receive(&mut self, Resume(minibatch): Resume, _: &mut Self::Context) {
        self.stage = Stage::Waiting(minibatch);
    }
}

impl Receive<Rewarded> for Controller {
    fn receive(
        &mut self,
        Rewarded {
            sequenced,
            learning,
        }: Rewarded,
        context: &mut Self::Context,
    ) {
        let Stage::Waiting(minibatch) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        self.stage = Stage::Computing;
        let reply = self.mailbox(context);
        self.compute(move |shared| {
            let episodes: Vec<_> = minibatch
                .decisions
                .iter()
                .cloned()
                .zip(sequenced.rewards)
                .collect();
            let (policy, space) = (&shared.policy, shared.space.as_ref());
            let (parameters, layers) = (&minibatch.parameters, minibatch.layers);
            let gradient = entry_gradient(
                policy,
                space,
                parameters,
                layers,
                &episodes,
                sequenced.baseline,
                &learning,
            );
            let gradient = gradient.map_err(|error| error.to_string())?;
            reply.do_send(GradientHere {
                sequence: sequenced.sequence,
                pulled: minibatch.pulled.oldest(),
                gradient,
            });
            Ok(())
        });
    }
}

impl Receive<GradientHere> for Controller {
    fn receive(&mut self, message: GradientHere, _: &mut Self::Context) {
        if !matches!(self.stage, Stage::Computing) {
            return;
        }
        self.stage = Stage::Idle;
        let GradientHere {
            sequence,
            pulled,
            gradient,
        } = message;
        self.shared.metrics.policy_gradient_norm.set(gradient.norm);
        let gradient: Arc<[f32]> = gradient.values.into();
        for shard in &self.shards.addresses {
            shard.do_send(Push {
                sequence,
                pulled,
                gradient: gradient.clone(),
            });
        }
        self.shared.metrics.controller_updates_total.inc();
        self.shared.supervisor.do_send(RequestTicket {
            controller: self.index,
            generation: self.presence.generation,
        });
    }
}

impl Receive<Retire> for Controller {
    fn receive(&mut self, _: Retire, context: &mut Self::Context) {
        self.presence.leaves();
        context.stop();
    }
}
