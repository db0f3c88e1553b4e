//! A Controller replica: pulls the parameters, has a minibatch of children sampled, waits for their
//! rewards, and pushes the policy gradient to every shard (paper §3.2, figure 3). Must not know who
//! trains the children or how a gradient is computed.

use crate::actors::messages::{
    GradientComputed, MinibatchProposed, ProposeMinibatch, PruningRequest, Pull, Pulled, Push,
    RequestTicket, Resume, Retire, Rewarded, ShardSet, SubmitMinibatch, Ticket,
};
use crate::actors::minibatch::Minibatch;
use crate::actors::runtime::{
    ActorId, Compute, ExitNotifier, ExitReason, Guarded, JobOwner, Mailbox, Receive, Recipient,
    counts_mailbox, fault, receives,
};
use crate::journal::{SampledMinibatch, SampledTrial};
use crate::policy::Policy;
use crate::random::Key;
use crate::space::{DecisionError, Space};
use crate::strategy::{
    GradientRequest, Proposal, ProposalRequest, PulledParameters, RewardedMinibatch,
};
use crate::telemetry::Metrics;
use actix::{Actor, ActorContext, AsyncContext, Context};
use std::sync::Arc;

/// What all replicas share.
#[derive(Clone)]
pub struct ControllerContext {
    pub policy: Arc<Policy>,
    pub space: Arc<dyn Space>,
    pub compute: Compute,
    pub seed: u64,
    pub tickets: Recipient<RequestTicket>,
    pub sampled: Recipient<SubmitMinibatch>,
    pub metrics: Arc<Metrics>,
}

/// One controller replica.
pub struct Controller {
    index: u64,
    shared: ControllerContext,
    shards: ShardSet,
    stage: Stage,
    exit: ExitNotifier,
}

/// What the replica is doing.
enum Stage {
    Idle,
    /// Slices of the parameters come in; None: not here yet.
    Pulling {
        request: Box<ProposeMinibatch>,
        slices: Vec<Option<Pulled>>,
    },
    /// The compute thread proposes.
    Proposing,
    /// The children train.
    Waiting(Arc<Minibatch>),
    /// The compute thread computes the gradient.
    Computing,
}

impl Controller {
    /// Replica `index`, which waits for a ticket or for a minibatch to resume.
    pub fn new(
        index: u64,
        exit: ExitNotifier,
        shared: ControllerContext,
        shards: ShardSet,
    ) -> Self {
        Self {
            index,
            shared,
            shards,
            stage: Stage::Idle,
            exit,
        }
    }

    fn mailbox(&self, context: &Context<Self>) -> Mailbox<Self> {
        Mailbox::new(context.address(), &self.shared.metrics)
    }

    /// Asks every shard for its slice of the parameters.
    fn pull(&mut self, request: ProposeMinibatch, context: &Context<Self>) {
        for shard in &self.shards.shards {
            shard.pull.do_send(Pull {
                after: request.ticket.after,
                set: self.shards.set,
                reply: self.mailbox(context).recipient(),
            });
        }
        self.stage = Stage::Pulling {
            request: Box::new(request),
            slices: self.shards.shards.iter().map(|_| None).collect(),
        };
    }

    /// Runs a job of this replica on the compute thread; an error ends this generation.
    fn compute(&self, job: impl FnOnce(&ControllerContext) -> Result<(), String> + Send + 'static) {
        let owner = JobOwner {
            actor: ActorId::Controller(self.index),
            generation: self.exit.generation,
        };
        let shared = self.shared.clone();
        self.shared.compute.submit(owner, move || job(&shared));
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
        let controller = self.index;
        let reply = self.mailbox(context);
        self.compute(move |shared| {
            let sampled = propose(shared, controller, &request, pulled, &parameters)?;
            reply.do_send(MinibatchProposed {
                sampled,
                parameters,
            });
            Ok(())
        });
    }
}

/// Has the strategy propose a ticket's minibatch (on the compute thread).
fn propose(
    shared: &ControllerContext,
    controller: u64,
    request: &ProposeMinibatch,
    pulled: PulledParameters,
    parameters: &[f32],
) -> Result<SampledMinibatch, String> {
    let ProposeMinibatch {
        ticket,
        learning,
        history,
        pruning,
    } = request;
    let Ticket {
        minibatch, layers, ..
    } = *ticket;
    fault::point("controller", minibatch);
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
    let repeated = proposals.iter().filter(|proposal| proposal.repeats).count() as u64;
    let redrawn = proposals
        .iter()
        .map(|proposal| proposal.redrawn as u64)
        .sum();
    let trials = proposals
        .into_iter()
        .zip(keys)
        .map(|(proposal, key)| trial(shared.space.as_ref(), layers, proposal, key))
        .collect::<Result<_, DecisionError>>()
        .map_err(|error| format!("a sampled architecture: {error}"))?;
    Ok(SampledMinibatch {
        controller,
        minibatch,
        layers,
        pulled,
        history: history.position,
        repeated,
        redrawn,
        pruning: pruning.as_ref().map(PruningRequest::pruning),
        trials,
        held: None,
    })
}

/// Shows depth and mean entropy of what was proposed in the metrics.
fn observe(metrics: &Metrics, layers: usize, proposals: &[Proposal]) {
    if proposals.is_empty() {
        return;
    }
    metrics.learning.architecture_layers.set(layers as f64);
    let entropies: Option<Vec<f64>> = proposals.iter().map(|proposal| proposal.entropy).collect();
    if let Some(entropies) = entropies {
        let mean = entropies.iter().sum::<f64>() / entropies.len() as f64;
        metrics.learning.policy_entropy_nats.set(mean);
    }
}

/// The trial that a proposal becomes.
fn trial(
    space: &dyn Space,
    layers: usize,
    proposal: Proposal,
    key: Key,
) -> Result<SampledTrial, DecisionError> {
    let architecture = space.build(layers, &proposal.decisions)?;
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
        self.exit.failed(ExitReason::Panicked(panic));
    }
}

counts_mailbox!(Controller, Controller);
receives!(Controller: ProposeMinibatch, Pulled, MinibatchProposed, Resume, Rewarded, GradientComputed, ShardSet, Retire);

impl Receive<ProposeMinibatch> for Controller {
    fn receive(&mut self, request: ProposeMinibatch, context: &mut Self::Context) {
        self.pull(request, context);
    }
}

impl Receive<ShardSet> for Controller {
    fn receive(&mut self, shards: ShardSet, context: &mut Self::Context) {
        self.shards = shards;
        if let Stage::Pulling { request, .. } = &self.stage {
            self.pull(request.as_ref().clone(), context);
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
            self.propose(*request, slices.into_iter().flatten().collect(), context);
        }
    }
}

impl Receive<MinibatchProposed> for Controller {
    fn receive(&mut self, message: MinibatchProposed, _: &mut Self::Context) {
        if !matches!(self.stage, Stage::Proposing) {
            return;
        }
        let MinibatchProposed {
            sampled,
            parameters,
        } = message;
        let minibatch = Arc::new(Minibatch::sampled(&sampled, parameters));
        self.stage = Stage::Waiting(minibatch.clone());
        self.shared.sampled.do_send(SubmitMinibatch {
            generation: self.exit.generation,
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
                        scale: sequenced.scale,
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
        let metrics = &self.shared.metrics.learning;
        metrics.policy_gradient_norm.set(gradient.norm);
        let gradient: Arc<[f32]> = gradient.values.into();
        for shard in &self.shards.shards {
            shard.push.do_send(Push {
                sequence,
                pulled,
                gradient: gradient.clone(),
            });
        }
        metrics.controller_updates_total.inc();
        self.shared.tickets.do_send(RequestTicket {
            controller: self.index,
            generation: self.exit.generation,
        });
    }
}

impl Receive<Retire> for Controller {
    fn receive(&mut self, _: Retire, context: &mut Self::Context) {
        self.exit.retires();
        context.stop();
    }
}
