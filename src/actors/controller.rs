//! A Controller replica: pulls the parameters, has a minibatch of children sampled, waits for their
//! rewards, and pushes the policy gradient to every shard (paper §3.2, figure 3). Must not know who
//! trains the children or how a gradient is computed.

use crate::actors::messages::{
    GradientComputed, MinibatchProposed, ProposalComputed, ProposeMinibatch, Pull, Pulled, Push,
    RequestTicket, Resume, Retire, Rewarded, ShardSet, Ticket,
};
use crate::actors::runtime::compute::Compute;
use crate::actors::runtime::fault;
use crate::actors::runtime::mailbox::Mailbox;
use crate::actors::runtime::watch::{ActorId, Fall, Gone, Guarded, Presence, Receive, receives};
use crate::actors::supervisor::Supervisor;
use crate::journal::{OpenMinibatch, SampledMinibatch, SampledTrial};
use crate::policy::Policy;
use crate::random::Key;
use crate::space::{Decision, Space};
use crate::strategy::{
    GradientRequest, Proposal, ProposalRequest, PulledParameters, RewardedMinibatch,
};
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
        request: ProposeMinibatch,
        slices: Vec<Option<Pulled>>,
    },
    /// The compute thread proposes.
    Proposing,
    /// The children train.
    Waiting(Arc<Minibatch>),
    /// The compute thread computes the gradient.
    Computing,
}

/// What a minibatch's gradient needs: whoever has it can finish the minibatch.
pub struct Minibatch {
    pub layers: usize,
    pulled: PulledParameters,
    /// In slot order.
    pub decisions: Arc<[Vec<Decision>]>,
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

    fn pull(&mut self, request: ProposeMinibatch, context: &Context<Self>) {
        for shard in &self.shards.addresses {
            shard.do_send(Pull {
                after: request.ticket.after,
                set: self.shards.set,
                reply: self.mailbox(context),
            });
        }
        self.stage = Stage::Pulling {
            request,
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

    /// All slices are here: put the vector together and have the minibatch proposed.
    fn propose(
        &mut self,
        request: ProposeMinibatch,
        slices: Vec<Pulled>,
        context: &mut Context<Self>,
    ) {
        let versions = slices.iter().map(|slice| slice.version).collect();
        let parameters: Arc<[f32]> = slices
            .iter()
            .flat_map(|slice| slice.values.iter().copied())
            .collect();
        let pulled = PulledParameters {
            boundaries: self.shards.boundaries.to_vec(),
            versions,
        };
        self.stage = Stage::Proposing;
        let (controller, reply) = (self.index, self.mailbox(context));
        self.compute(move |shared| {
            let sampled = propose(shared, controller, &request, pulled, &parameters)?;
            reply.do_send(ProposalComputed {
                sampled,
                parameters,
            });
            Ok(())
        });
    }
}

/// Has the strategy propose a ticket's minibatch (on the compute thread).
fn propose(
    shared: &Shared,
    controller: u64,
    request: &ProposeMinibatch,
    pulled: PulledParameters,
    parameters: &[f32],
) -> Result<SampledMinibatch, String> {
    let ProposeMinibatch {
        ticket,
        learning,
        history,
    } = request;
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
    let keys = Key::of_minibatch(shared.seed, controller, minibatch, ticket.children);
    let proposals = history
        .strategy
        .propose(&ProposalRequest {
            policy: &shared.policy,
            space: shared.space.as_ref(),
            parameters,
            learning,
            layers,
            keys: &keys,
            pending: &history.pending,
        })
        .map_err(|error| error.to_string())?;
    observe(&shared.metrics, layers, &proposals);
    let trials = proposals
        .into_iter()
        .zip(keys)
        .map(|(proposal, key)| trial(shared.space.as_ref(), layers, proposal, key))
        .collect::<Result<_, String>>()?;
    Ok(SampledMinibatch {
        controller,
        minibatch,
        layers,
        pulled,
        history: history.position,
        repeated: 0,
        trials,
    })
}

fn observe(metrics: &Metrics, layers: usize, proposals: &[Proposal]) {
    if proposals.is_empty() {
        return;
    }
    metrics.architecture_layers.set(layers as f64);
    let entropies: Option<Vec<f64>> = proposals.iter().map(|proposal| proposal.entropy).collect();
    if let Some(entropies) = entropies {
        let mean = entropies.iter().sum::<f64>() / entropies.len() as f64;
        metrics.policy_entropy_nats.set(mean);
    }
}

/// The trial that a proposal becomes.
fn trial(
    space: &dyn Space,
    layers: usize,
    proposal: Proposal,
    key: Key,
) -> Result<SampledTrial, String> {
    let architecture = space
        .build(layers, &proposal.decisions)
        .map_err(|error| format!("a sampled architecture: {error}"))?;
    let (parameters, flops) = architecture.size();
    Ok(SampledTrial {
        decisions: proposal.decisions,
        architecture,
        seed: key.child_seed(),
        parameters,
        flops,
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

receives!(Controller: ProposeMinibatch, Pulled, ProposalComputed, Resume, Rewarded, GradientComputed, ShardSet, Retire);

impl Receive<ProposeMinibatch> for Controller {
    fn receive(&mut self, request: ProposeMinibatch, context: &mut Self::Context) {
        self.pull(request, context);
    }
}

impl Receive<ShardSet> for Controller {
    fn receive(&mut self, shards: ShardSet, context: &mut Self::Context) {
        self.shards = shards;
        if let Stage::Pulling { request, .. } = &self.stage {
            self.pull(request.clone(), context);
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
        if let Stage::Pulling { request, slices } = std::mem::replace(&mut self.stage, Stage::Idle)
        {
            self.propose(request, slices.into_iter().flatten().collect(), context);
        }
    }
}

impl Receive<ProposalComputed> for Controller {
    fn receive(&mut self, message: ProposalComputed, _: &mut Self::Context) {
        if !matches!(self.stage, Stage::Proposing) {
            return;
        }
        let ProposalComputed {
            sampled,
            parameters,
        } = message;
        let minibatch = Arc::new(Minibatch::sampled(&sampled, parameters));
        self.stage = Stage::Waiting(minibatch.clone());
        self.shared.supervisor.do_send(MinibatchProposed {
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
            strategy,
        }: Rewarded,
        context: &mut Self::Context,
    ) {
        let Stage::Waiting(minibatch) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        self.stage = Stage::Computing;
        let reply = self.mailbox(context);
        self.compute(move |shared| {
            let gradient = strategy
                .gradient(&GradientRequest {
                    policy: &shared.policy,
                    space: shared.space.as_ref(),
                    parameters: &minibatch.parameters,
                    learning: &learning,
                    minibatch: RewardedMinibatch {
                        sequence: sequenced.sequence,
                        layers: minibatch.layers,
                        decisions: &minibatch.decisions,
                        rewards: &sequenced.rewards,
                        baseline: sequenced.baseline,
                    },
                })
                .map_err(|error| error.to_string())?;
            reply.do_send(GradientComputed {
                sequence: sequenced.sequence,
                pulled: minibatch.pulled.oldest(),
                gradient,
            });
            Ok(())
        });
    }
}

impl Receive<GradientComputed> for Controller {
    fn receive(&mut self, message: GradientComputed, _: &mut Self::Context) {
        if !matches!(self.stage, Stage::Computing) {
            return;
        }
        self.stage = Stage::Idle;
        let GradientComputed {
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
