//! Trains a recurrent cell as a language model: epochs of windows of text, validation perplexity
//! after each, the reward at the end. A function of the task and the settings: must not know other
//! lanes, nor any clock but its caller's.

use super::super::engine::{self, Engine, Evaluation, Numerics, Place, Steps, Weights};
use super::super::reward::perplexity_reward;
use super::super::schedule::Moment;
use super::super::training::{EarlyEnd, Training};
use super::super::weights::{Trained, recipe};
use super::super::{
    Cause, ChildSettings, Epoch, Evaluator, MetricUnit, Outcome, Progress, Task, cell_program,
};
use super::descent::Descent;
use super::masks::DropoutMasks;
use super::network::{Network, Sizes};
use super::streams::{Streams, Window};
use super::{memory, model};
use crate::data::{Corpus, Input, TextInput, Unit};
use crate::kernels::KernelError;
use crate::random::{Key, Purpose};
use crate::space::{self, CellNetwork};
use rand::Rng;
use rayon::ThreadPool;
use std::borrow::Cow;
use std::sync::Arc;

/// From this epoch on a child must do better than a uniform guess.
const EPOCHS_TO_BEAT_CHANCE: usize = 2;

/// Keys of `[child]` that a language model is trained by.
const RECIPE: &[&str] = &[
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "schedule",
    "steps",
    "clip_norm",
    "init_scale",
    "embedding_dropout",
    "input_dropout",
    "recurrent_dropout",
    "output_dropout",
];

/// The evaluator `child.evaluator = "train"` of recurrent cells, of one lane of the CPU.
pub struct LanguageEvaluator {
    settings: ChildSettings,
    corpus: Arc<Corpus>,
    pool: Arc<ThreadPool>,
    memory_limit_bytes: Option<u64>,
}

/// A child in training.
struct Child<'a> {
    evaluator: &'a LanguageEvaluator,
    seed: u64,
    /// With its sizes.
    cell: CellNetwork,
    network: Network,
    descent: Descent,
    hidden: usize,
    parameters: Vec<f32>,
    gradient: Vec<f32>,
    state: Vec<f32>,
    window: Window,
    place: Place,
    /// Steps of the validation text that are evaluated, and the sum of their losses; None: nothing
    /// is yet.
    validated: Option<(usize, f64)>,
}

impl LanguageEvaluator {
    /// A child that would need more than `memory_limit_bytes` fails untrained; None: no limit.
    pub fn new(
        settings: ChildSettings,
        corpus: Arc<Corpus>,
        pool: Arc<ThreadPool>,
        memory_limit_bytes: Option<u64>,
    ) -> Self {
        Self {
            settings,
            corpus,
            pool,
            memory_limit_bytes,
        }
    }

    fn train(&self, task: &Task, progress: &mut dyn Progress) -> Result<Outcome, EarlyEnd> {
        let space::Network::Cell(cell) = &task.architecture.network else {
            let error = "only recurrent cells (space.kind = \"cell\") can be trained on a text; child.evaluator = \"table\" looks others up";
            return Err(EarlyEnd::Failed(Cause::Unbuildable, error.into()));
        };
        let mut child = Child::new(self, cell, task.seed)?;
        let facts = &self.corpus.content;
        let mut training = Training::begin(&self.settings, task, facts, &mut child, progress)?;
        engine::train(&mut child, &mut training)?;
        let ChildSettings {
            reward_window,
            reward_constant,
            reward_exponent,
            ..
        } = self.settings;
        let (perplexity, reward) = perplexity_reward(
            training.scores(),
            reward_window,
            reward_constant,
            reward_exponent,
        );
        let metric = self.metric(perplexity);
        Ok(training.outcome(metric, reward, |last| {
            child.file(task, last, metric, reward)
        }))
    }

    fn unit(&self) -> MetricUnit {
        match self.corpus.unit {
            Unit::Word => MetricUnit::Perplexity,
            Unit::Char => MetricUnit::BitsPerCharacter,
        }
    }

    /// Perplexity of words; of characters the bits of each.
    fn metric(&self, perplexity: f64) -> f64 {
        match self.corpus.unit {
            Unit::Word => perplexity,
            Unit::Char => perplexity.log2(),
        }
    }

    fn beats_chance(&self, epoch: usize, perplexity: f64) -> Result<(), EarlyEnd> {
        let number = epoch + 1;
        let chance = self.corpus.vocabulary.len();
        if perplexity.is_finite() && (number < EPOCHS_TO_BEAT_CHANCE || perplexity <= chance as f64)
        {
            return Ok(());
        }
        let error = format!(
            "training diverged: after epoch {number} of {} the validation perplexity is {perplexity:.0}; guessing among {chance} tokens has {chance}",
            self.settings.epochs
        );
        Err(EarlyEnd::Failed(Cause::Diverged, error))
    }
}

impl Evaluator for LanguageEvaluator {
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome {
        self.train(task, progress).unwrap_or_else(Outcome::from)
    }
}

impl From<KernelError> for EarlyEnd {
    fn from(error: KernelError) -> Self {
        match error {
            KernelError::Invalid(_) => Self::Failed(Cause::Unbuildable, error.to_string()),
            KernelError::TooLarge(_) => Self::Failed(Cause::OutOfMemory, error.to_string()),
        }
    }
}

impl<'a> Child<'a> {
    fn new(
        evaluator: &'a LanguageEvaluator,
        cell: &CellNetwork,
        seed: u64,
    ) -> Result<Self, EarlyEnd> {
        let LanguageEvaluator {
            settings,
            corpus,
            pool,
            memory_limit_bytes,
        } = evaluator;
        let unbuildable = |error: String| EarlyEnd::Failed(Cause::Unbuildable, error);
        let words = corpus.vocabulary.len();
        let program = cell_program(&cell.cell).map_err(|error| unbuildable(error.to_string()))?;
        let model = cell
            .model
            .map_or_else(|| model(settings, &cell.cell, words), Ok)
            .map_err(|error| unbuildable(error.to_string()))?;
        if model.vocabulary != words {
            return Err(unbuildable(format!(
                "the network is for {} tokens, the text has {words}",
                model.vocabulary
            )));
        }
        // Not more sequences than there are tokens to train on.
        let batch = settings.batch_size.min(corpus.train.len()).max(1);
        let sizes = Sizes {
            model,
            batch,
            steps: settings.steps.min(
                corpus
                    .train
                    .len()
                    .max(corpus.validation.len())
                    .div_ceil(batch),
            ),
        };
        let cell = CellNetwork {
            cell: cell.cell.clone(),
            model: Some(model),
        };
        let count = cell.size().map_or(0, |(parameters, _)| parameters);
        check_memory(
            memory::bytes(
                &program,
                sizes,
                count,
                settings.momentum > 0.0 || settings.weight_decay > 0.0,
            ),
            *memory_limit_bytes,
        )?;
        let network = Network::new(&program, sizes, pool)?;
        let parameters = initial(&network, settings.init_scale, seed);
        Ok(Self {
            evaluator,
            seed,
            cell,
            descent: Descent::new(settings, parameters.len()),
            hidden: model.hidden,
            gradient: vec![0.0; parameters.len()],
            state: network.start(),
            window: Window::default(),
            place: Place::default(),
            validated: None,
            parameters,
            network,
        })
    }

    /// The trained network as a file.
    fn file(
        &self,
        task: &Task,
        last_epoch: &Epoch,
        metric: f64,
        reward: f64,
    ) -> Result<Vec<u8>, String> {
        let LanguageEvaluator {
            settings, corpus, ..
        } = self.evaluator;
        let input = TextInput {
            unit: corpus.unit,
            end: corpus.end,
            vocabulary: corpus.vocabulary.clone(),
        };
        let trained = Trained {
            task,
            network: space::Network::Cell(self.cell.clone()),
            input: Input::Text(input),
            batch_norm_epsilon: None,
            last_epoch,
            metric,
            reward,
            unit: self.evaluator.unit(),
            training_examples: corpus.train.len(),
            validation_examples: corpus.validation.len(),
            content: &corpus.content,
            recipe: recipe(settings, RECIPE),
            tensors: &[(self.network.parameters(), self.parameters.as_slice())],
        };
        trained.file()
    }

    fn training_streams(&self) -> Streams<'a> {
        let corpus = &self.evaluator.corpus;
        Streams::training(&corpus.train, corpus.end, self.batch())
    }

    /// One step on the next window; the sum of its losses, or None: that or the gradient is not
    /// finite.
    fn step(&mut self) -> Option<f64> {
        let LanguageEvaluator {
            settings,
            corpus,
            pool,
            ..
        } = self.evaluator;
        let Place { epoch, step } = self.place;
        let moment = Moment {
            step,
            steps: self.epoch_steps(),
            epoch,
            epochs: settings.epochs,
        };
        let streams = self.training_streams();
        streams.window(step * settings.steps, settings.steps, &mut self.window);
        let masks = DropoutMasks::draw(
            settings,
            corpus.vocabulary.len(),
            self.batch() * self.hidden,
            self.seed,
            epoch,
            step,
        );
        let window = (
            self.window.tokens.as_slice(),
            self.window.targets.as_slice(),
        );
        let loss = self.network.train(
            &self.parameters,
            window,
            &masks,
            &mut self.state,
            &mut self.gradient,
        );
        let parameters = &mut self.parameters;
        let gradient = &mut self.gradient;
        let sparse = self.network.sparse_rows();
        let descent = &mut self.descent;
        let hidden = self.hidden;
        let rate = settings.learning_rate_at(settings.learning_rate, moment);
        let finite = pool.install(|| descent.step(parameters, gradient, sparse, hidden, rate));
        (finite && loss.is_finite()).then_some(loss)
    }

    /// The sum of the losses of the validation text's next window. The text is read as sequences
    /// side by side, the state of each warmed on the tokens before it.
    fn validate(&mut self, streams: &Streams, first: usize) -> f64 {
        let steps = self.evaluator.settings.steps;
        let mut nats = 0.0;
        if first == 0 {
            self.state.fill(0.0);
            streams.before(steps, &mut self.window);
            nats += self.evaluate_window();
            self.network.restart(&mut self.state, 0);
        }
        streams.window(first, steps, &mut self.window);
        nats + self.evaluate_window()
    }

    fn evaluate_window(&mut self) -> f64 {
        self.network.evaluate(
            &self.parameters,
            &self.window.tokens,
            &self.window.targets,
            &mut self.state,
        )
    }

    /// The evaluation of this perplexity ends the epoch.
    fn end_epoch(&mut self, perplexity: f64) -> Result<Option<Evaluation>, EarlyEnd> {
        if !self.evaluator.corpus.validation.is_empty() {
            self.evaluator.beats_chance(self.place.epoch, perplexity)?;
        }
        self.go_to(self.place.next_epoch());
        Ok(Some(Evaluation {
            metric: self.evaluator.metric(perplexity),
            score: perplexity,
        }))
    }

    fn go_to(&mut self, place: Place) {
        self.place = place;
        self.validated = None;
    }

    fn batch(&self) -> usize {
        self.network.sizes().batch
    }
}

impl Engine for Child<'_> {
    fn numerics(&self) -> Numerics {
        Numerics::cpu(self.evaluator.pool.current_num_threads())
    }

    fn place(&self) -> Place {
        self.place
    }

    fn epoch_steps(&self) -> usize {
        let steps = self.evaluator.settings.steps;
        self.training_streams().length().div_ceil(steps)
    }

    fn epoch_losses(&self) -> usize {
        self.training_streams().length() * self.batch()
    }

    fn train(&mut self) -> Result<Steps, EarlyEnd> {
        if self.place.step == 0 {
            self.state.fill(0.0);
        }
        let Some(loss) = self.step() else {
            let error = format!(
                "training diverged in epoch {} of {}, step {}: the loss or its gradient is not finite",
                self.place.epoch + 1,
                self.evaluator.settings.epochs,
                self.place.step + 1
            );
            return Err(EarlyEnd::Failed(Cause::Diverged, error));
        };
        self.place.step += 1;
        Ok(Steps {
            count: 1,
            loss,
            examples: self.window.tokens.len(),
        })
    }

    /// Perplexity of the validation text (NaN where there is none): every token counts once, the
    /// end of a line too.
    fn evaluate(&mut self) -> Result<Option<Evaluation>, EarlyEnd> {
        let LanguageEvaluator {
            settings, corpus, ..
        } = self.evaluator;
        if corpus.validation.is_empty() {
            return self.end_epoch(f64::NAN);
        }
        let streams = Streams::validation(&corpus.validation, corpus.end, self.batch());
        let (first, nats) = self.validated.unwrap_or((0, 0.0));
        let nats = nats + self.validate(&streams, first);
        let next = first + settings.steps;
        if next < streams.length() {
            self.validated = Some((next, nats));
            return Ok(None);
        }
        self.end_epoch((nats / corpus.validation.len() as f64).exp())
    }

    fn tensor_lengths(&self) -> Vec<usize> {
        vec![
            self.parameters.len(),
            self.descent.velocity_len(),
            self.state.len(),
        ]
    }

    fn tensors(&mut self) -> Result<Vec<Cow<'_, [f32]>>, EarlyEnd> {
        let tensors = [&self.parameters, &*self.descent.velocity(), &self.state];
        Ok(tensors.into_iter().map(Cow::Borrowed).collect())
    }

    fn resume(&mut self, place: Place, tensors: &[Vec<f32>]) -> Result<(), EarlyEnd> {
        self.go_to(place);
        let own = [
            &mut self.parameters,
            self.descent.velocity(),
            &mut self.state,
        ];
        for (own, taken) in own.into_iter().zip(tensors) {
            own.copy_from_slice(taken);
        }
        Ok(())
    }

    fn weights(&mut self) -> Result<Vec<Weights<'_>>, EarlyEnd> {
        Ok(vec![(
            self.network.parameters(),
            Cow::Borrowed(&self.parameters),
        )])
    }
}

/// Weights uniform in ± `scale`, biases 0.
fn initial(network: &Network, scale: f64, seed: u64) -> Vec<f32> {
    let mut stream = Key::seed(seed).stream(Purpose::ChildParameters);
    let mut parameters = vec![0.0; network.parameter_count()];
    for slot in network
        .parameters()
        .iter()
        .filter(|slot| !slot.name.ends_with("bias"))
    {
        for value in &mut parameters[slot.offset..][..slot.len()] {
            // 24 bits: exact in f32, so the same on every machine.
            let unit = (stream.next_u32() >> 8) as f32 / (1 << 24) as f32;
            *value = (2.0 * unit - 1.0) * scale as f32;
        }
    }
    parameters
}

fn check_memory(needed: u64, limit: Option<u64>) -> Result<(), EarlyEnd> {
    match limit.filter(|&limit| needed > limit) {
        None => Ok(()),
        Some(limit) => {
            let [needed, limit] = [needed, limit].map(|bytes| bytes as f64 / f64::from(1 << 20));
            let error = format!(
                "not trained: it needs about {needed:.1} MiB, and {limit:.1} MiB are there for it; a smaller child.hidden (or \
                 child.parameters), child.batch_size or child.steps, or fewer lanes would leave it room"
            );
            Err(EarlyEnd::Failed(Cause::OutOfMemory, error))
        }
    }
}
