//! Recurrent cells trained as language models on a text (paper §4.2). Must not know how they are
//! trained.

use super::{
    BestChild, Candidates, LaneResources, Reference, ReferenceModel, Scoring, TestSet, Workload,
    WorkloadError, WorkloadSettings,
};
use crate::child::language_model::{
    LanguageEvaluator, model, searched_model, test_perplexity, unigram_perplexity,
};
use crate::child::{
    Evaluator, EvaluatorKind, MetricUnit, RewardScale, TestResult, TextResult, TrainedNetwork,
};
use crate::data::{Corpus, DataKind, Unit};
use crate::machine::thread_pool;
use crate::space::{Architecture, Cell, CellNetwork, CellSpace, ImageShape, Network, Space};
use rayon::ThreadPool;
use std::sync::Arc;

/// Images and classes matter to other spaces alone.
const NO_IMAGE: ImageShape = ImageShape {
    channels: 1,
    height: 1,
    width: 1,
};
const NO_CLASSES: usize = 2;

/// `child.evaluator = "train"` on a text.
pub struct Text {
    settings: WorkloadSettings,
    corpus: Arc<Corpus>,
    candidates: Candidates,
}

impl Workload for Text {
    fn is_meant_by(settings: &WorkloadSettings) -> bool {
        settings.child.evaluator == EvaluatorKind::Train && settings.data.kind == DataKind::Text
    }

    fn scoring(settings: &WorkloadSettings) -> Scoring {
        Scoring {
            metric: match settings.data.unit {
                Unit::Word => MetricUnit::Perplexity,
                Unit::Char => MetricUnit::BitsPerCharacter,
            },
            epochs: Some(settings.child.epochs),
            reward: RewardScale::Perplexity {
                constant: settings.child.reward_constant,
                exponent: settings.child.reward_exponent,
            },
        }
    }

    fn expected_candidates(settings: &WorkloadSettings) -> Candidates {
        Candidates::of(settings.space.build(NO_IMAGE, NO_CLASSES))
    }

    fn literature() -> &'static [&'static str] {
        &Cell::NAMES
    }

    fn load(settings: &WorkloadSettings, _: &ThreadPool) -> Result<Self, WorkloadError> {
        let child = &settings.child;
        let corpus = Corpus::load(&settings.data)?;
        if corpus.train.len() < child.batch_size {
            return Err(WorkloadError::BatchSize {
                batch_size: child.batch_size,
                tokens: corpus.train.len(),
            });
        }
        let corpus = if settings.trains_on_all {
            corpus.joined()
        } else {
            corpus
        };
        let vocabulary = corpus.vocabulary.len();
        let cells = settings.space.build(NO_IMAGE, NO_CLASSES);
        let model = searched_model(child, cells.as_ref(), vocabulary)?;
        let space: Arc<dyn Space> = Arc::new(CellSpace::new(&settings.space, Some(model)));
        Ok(Self {
            candidates: candidates(settings, space, vocabulary),
            settings: settings.clone(),
            corpus: Arc::new(corpus),
        })
    }

    fn with_settings(&self, settings: &WorkloadSettings) -> Arc<dyn Workload> {
        Arc::new(Self {
            settings: settings.clone(),
            corpus: if settings.trains_on_all {
                Arc::new(self.corpus.joined())
            } else {
                self.corpus.clone()
            },
            candidates: self.candidates.clone(),
        })
    }

    fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    fn content(&self) -> Option<&str> {
        Some(&self.corpus.content)
    }

    fn description(&self) -> String {
        let unit = match self.corpus.unit {
            Unit::Word => "words",
            Unit::Char => "characters",
        };
        format!(
            "data: a text; {} {unit} for training, {} for validation, {} different",
            self.corpus.train.len(),
            self.corpus.validation.len(),
            self.corpus.vocabulary.len()
        )
    }

    fn check_device(&self, device: &str) -> Result<(), WorkloadError> {
        if device == "cpu" {
            return Ok(());
        }
        Err(WorkloadError::CpuOnly(device.to_owned()))
    }

    fn evaluator(&self, resources: &LaneResources) -> Result<Box<dyn Evaluator>, WorkloadError> {
        let pool = Arc::new(thread_pool(&resources.lane)?);
        Ok(Box::new(LanguageEvaluator::new(
            self.settings.child.clone(),
            self.corpus.clone(),
            pool,
            Some(resources.memory_bytes),
        )))
    }

    /// A cell of the literature as a language model of the size that the settings ask for.
    fn literature_network(&self, name: &str) -> Result<Architecture, WorkloadError> {
        let cell = Cell::named(name).ok_or_else(|| WorkloadError::NoCell(name.to_owned()))?;
        let model = model(&self.settings.child, &cell, self.corpus.vocabulary.len())?;
        Ok(Architecture {
            version: 1,
            network: Network::Cell(CellNetwork {
                cell,
                model: Some(model),
            }),
        })
    }

    fn reference(&self, _: &BestChild, _: &ThreadPool) -> Reference {
        let perplexity = unigram_perplexity(&self.corpus);
        let (name, metric) = match self.corpus.unit {
            Unit::Word => ("word frequencies alone", perplexity),
            Unit::Char => ("character frequencies alone", perplexity.log2()),
        };
        let remark = "(netwright compare-architectures CONFIG trains rnn, lstm, gru and nascell by the same recipe)";
        Reference {
            model: Some(ReferenceModel {
                name,
                metric,
                training_seconds: None,
            }),
            remarks: vec![remark.to_owned()],
        }
    }

    fn test_set(&self) -> Result<TestSet, WorkloadError> {
        super::test_set(&self.settings.data)
    }

    fn test(
        &self,
        trained: &TrainedNetwork,
        pool: &Arc<ThreadPool>,
    ) -> Result<TestResult, WorkloadError> {
        let test = super::present_test_set(&self.settings.data)?;
        let text = test.text(&self.settings.data, &self.corpus)?;
        let perplexity = test_perplexity(trained, &text, pool).map_err(WorkloadError::Test)?;
        Ok(TestResult::Text(TextResult {
            tokens: text.len() as u64,
            perplexity,
            bits_per_character: match self.corpus.unit {
                Unit::Word => None,
                Unit::Char => Some(perplexity.log2()),
            },
        }))
    }
}

/// A cell from elsewhere gets a language model of its own: with as many parameters as the searched
/// ones, its hidden size may be another.
fn candidates(settings: &WorkloadSettings, space: Arc<dyn Space>, vocabulary: usize) -> Candidates {
    let child = settings.child.clone();
    Candidates::adopting(space, move |space, given| {
        let (mut architecture, decisions) = space.adopt(given)?;
        if let Network::Cell(network) = &mut architecture.network {
            network.model = Some(model(&child, &network.cell, vocabulary)?);
        }
        Ok((architecture, decisions))
    })
}
