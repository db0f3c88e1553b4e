//! A trained network as a file: its tensors in the format safetensors, and a record of what it is,
//! what it reads, how it was trained and how good it became. Must not know where files lie.

use super::{ChildSettings, Epoch, MetricUnit, Schedule, Task, TestResult};
use crate::data::Input;
use crate::kernels::ParameterSlot;
use crate::space::{Architecture, Network};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The key of the record among a file's metadata.
const RECORD: &str = "netwright";

/// Version of the record that this program writes.
const VERSION: u32 = 1;

/// A network with its weights: all that is needed to use it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedNetwork {
    pub record: TrainingRecord,
    pub tensors: Vec<NamedTensor>,
}

/// A tensor of a network, named as the network's engine names it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// What was trained, on what, how, and how good it became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Of this record: 1.
    pub version: u32,
    /// Version of the program that trained it.
    pub program: String,
    pub trial: u64,
    pub seed: u64,
    pub architecture: Architecture,
    pub input: Input,
    /// What batch normalisation adds to a variance before its root; None: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm_epsilon: Option<f64>,
    pub training: TrainingSummary,
    /// On test data, where that was read: after the weights were written, so never in their file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<TestResult>,
}

/// How a network was trained, and how good it became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSummary {
    /// The weights are those after this epoch, the last one.
    pub epochs: usize,
    /// What it scored on the examples that were held out; None: it was trained on all of them.
    #[serde(flatten)]
    pub validation: Option<ValidationScores>,
    /// Of score and metric.
    pub unit: MetricUnit,
    /// Images or tokens.
    pub training_examples: usize,
    pub validation_examples: usize,
    /// SHA-256 (hex) of the data.
    pub content: String,
    /// The settings that it was trained by.
    pub recipe: Map<String, Value>,
}

/// What a network scored on validation examples that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationScores {
    /// After the last epoch.
    pub score: f64,
    /// The number that the reward is computed from: that of the best of several epochs.
    pub metric: f64,
    pub reward: f64,
}

/// What an evaluator knows of the network that it has trained.
pub struct Trained<'a> {
    pub task: &'a Task,
    /// As it was trained: with sizes that the task may leave open.
    pub network: Network,
    pub input: Input,
    pub batch_norm_epsilon: Option<f64>,
    pub last_epoch: &'a Epoch,
    /// What the reward is computed from, and the reward: where examples are held out.
    pub metric: f64,
    pub reward: f64,
    pub unit: MetricUnit,
    pub training_examples: usize,
    pub validation_examples: usize,
    pub content: &'a str,
    pub recipe: Map<String, Value>,
    /// Packed vectors, each with where its tensors lie.
    pub tensors: &'a [(&'a [ParameterSlot], &'a [f32])],
}

impl Trained<'_> {
    /// The file: safetensors, with the record among its metadata.
    ///
    /// # Errors
    /// One sentence: the format cannot hold it.
    pub fn file(&self) -> Result<Vec<u8>, String> {
        let record = TrainingRecord {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            trial: self.task.trial,
            seed: self.task.seed,
            architecture: Architecture {
                version: self.task.architecture.version,
                network: self.network.clone(),
            },
            input: self.input.clone(),
            batch_norm_epsilon: self.batch_norm_epsilon,
            training: TrainingSummary {
                epochs: self.last_epoch.epoch,
                validation: (self.validation_examples > 0).then_some(ValidationScores {
                    score: self.last_epoch.metric,
                    metric: self.metric,
                    reward: self.reward,
                }),
                unit: self.unit,
                training_examples: self.training_examples,
                validation_examples: self.validation_examples,
                content: self.content.to_owned(),
                recipe: self.recipe.clone(),
            },
            test: None,
        };
        let record = serde_json::to_string(&record).map_err(|error| error.to_string())?;
        let tensors = self.tensors.iter().flat_map(|(slots, packed)| {
            slots.iter().map(|slot| {
                let values = &packed[slot.offset..][..slot.len()];
                (slot.name.as_str(), slot.shape.as_slice(), values)
            })
        });
        safetensors_file(tensors, (RECORD, &record))
    }
}

/// These tensors (name, shape, numbers) as a file in the format safetensors, with one entry of
/// metadata.
///
/// # Errors
/// One sentence: the format cannot hold them.
pub fn safetensors_file<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    (key, value): (&str, &str),
) -> Result<Vec<u8>, String> {
    let bytes: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
    });
    let views: Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
    // One entry alone: with several, their order in the file would not be the same each time.
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    views
        .and_then(|views| serialize(views, Some(metadata)))
        .map_err(|error| error.to_string())
}

/// The tensors of a file in the format safetensors, by name.
///
/// # Errors
/// Why it cannot be used, to follow the file's name.
pub fn safetensors_tensors(bytes: &[u8]) -> Result<Vec<NamedTensor>, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("is no safetensors file, or is damaged: {error}"))?;
    let mut tensors = Vec::with_capacity(file.len());
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "holds tensor {name} as {:?}; a network's are F32",
                view.dtype()
            ));
        }
        let (numbers, _) = view.data().as_chunks::<4>();
        tensors.push(NamedTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            values: numbers
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
        });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// Checks that a record is one that this program can read.
///
/// # Errors
/// Why it is not, to follow the file's name.
fn known(record: Value) -> Result<TrainingRecord, String> {
    match record.get("version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(format!(
                "is of version {version}; this program knows version {VERSION}"
            ));
        }
        None => return Err("holds no network of netwright's: \"version\" is not there".into()),
    }
    serde_json::from_value(record)
        .map_err(|error| format!("holds no network of netwright's: {error}"))
}

impl TrainingRecord {
    /// Reads a record that stands alone.
    ///
    /// # Errors
    /// Why it cannot be used, to follow the file's name.
    pub fn from_json(text: &str) -> Result<Self, String> {
        known(serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?)
    }
}

impl TrainedNetwork {
    /// Reads what `Trained::file` wrote.
    ///
    /// # Errors
    /// Why it cannot be used, to follow the file's name.
    pub fn from_file(bytes: &[u8]) -> Result<Self, String> {
        let tensors = safetensors_tensors(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let record = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(RECORD))
            .ok_or("holds no network of netwright's: its metadata do not describe one")?;
        Ok(Self {
            record: TrainingRecord::from_json(record)?,
            tensors,
        })
    }

    /// The tensor of this name and shape.
    ///
    /// # Errors
    /// One sentence: it is not there, or has another shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<&[f32], String> {
        let tensor = self
            .tensors
            .iter()
            .find(|tensor| tensor.name == name)
            .ok_or_else(|| format!("tensor {name} is not there"))?;
        if tensor.shape == shape {
            Ok(&tensor.values)
        } else {
            Err(format!(
                "tensor {name} has the shape {:?}; this network's has {shape:?}",
                tensor.shape
            ))
        }
    }

    /// Packed vectors, one for each list of slots; every tensor has its place in one of them.
    ///
    /// # Errors
    /// One sentence: a tensor is missing, has another shape, or belongs to no slot.
    pub fn packed<const N: usize>(
        &self,
        lists: [&[ParameterSlot]; N],
    ) -> Result<[Vec<f32>; N], String> {
        let known = |name: &str| {
            lists
                .iter()
                .any(|slots| slots.iter().any(|slot| slot.name == name))
        };
        if let Some(tensor) = self.tensors.iter().find(|tensor| !known(&tensor.name)) {
            return Err(format!("tensor {} is none of this network's", tensor.name));
        }
        let mut vectors: [Vec<f32>; N] = std::array::from_fn(|_| Vec::new());
        for (slots, vector) in lists.iter().zip(&mut vectors) {
            for slot in *slots {
                vector.extend_from_slice(self.tensor(&slot.name, &slot.shape)?);
            }
        }
        Ok(vectors)
    }
}

/// These settings, by their keys; of a schedule those that it has.
pub fn recipe(settings: &ChildSettings, keys: &[&str]) -> Map<String, Value> {
    let Ok(Value::Object(all)) = serde_json::to_value(settings) else {
        return Map::new();
    };
    let schedule: &[&str] = match settings.schedule {
        Schedule::Constant | Schedule::Cosine => &[],
        Schedule::Steps => &["schedule_steps", "schedule_factor"],
        Schedule::Decay => &["schedule_after", "schedule_factor"],
        Schedule::Triangular => &["schedule_warm_up"],
    };
    all.into_iter()
        .filter(|(key, _)| keys.iter().chain(schedule).any(|known| known == key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::{network, task};
    use crate::data::{DataKind, ImageInput, Normalisation};

    fn slots() -> Vec<ParameterSlot> {
        let slot = |name: &str, shape: &[usize], offset| ParameterSlot {
            name: name.into(),
            shape: shape.to_vec(),
            offset,
        };
        vec![slot("b", &[2, 2], 0), slot("a", &[1], 4)]
    }

    fn file() -> Vec<u8> {
        file_of(3)
    }

    /// With so many examples held out.
    fn file_of(validation_examples: usize) -> Vec<u8> {
        let task = task(Network::Conv(network()), 5);
        let slots = slots();
        let packed = [1.0, -0.0, f32::MIN_POSITIVE, 2.5, 9.0];
        let input = Input::Images(ImageInput {
            shape: network().image,
            class_names: vec!["x".into(), "y".into()],
            normalisation: Normalisation::Channel {
                mean: vec![0.1, 125.307],
                scale: vec![1.0 / 3.0, 0.0],
            },
            source: DataKind::Builtin,
        });
        let trained = Trained {
            network: Network::Conv(network()),
            task: &task,
            input,
            batch_norm_epsilon: Some(1e-5),
            last_epoch: &Epoch {
                epoch: 7,
                train_loss: None,
                metric: 0.1 + 0.2,
                seconds: 1.0,
            },
            metric: 0.5,
            reward: 0.125,
            unit: MetricUnit::Accuracy,
            training_examples: 9,
            validation_examples,
            content: "ab",
            recipe: recipe(&ChildSettings::default(), &["epochs", "momentum"]),
            tensors: &[(slots.as_slice(), packed.as_slice())],
        };
        let file = trained.file().unwrap();
        assert_eq!(file, trained.file().unwrap(), "the same bytes each time");
        file
    }

    #[test]
    fn what_was_written_comes_back_number_by_number() {
        let network = TrainedNetwork::from_file(&file()).unwrap();
        let [packed] = network.packed([&slots()]).unwrap();
        let bits = [1.0, -0.0, f32::MIN_POSITIVE, 2.5, 9.0].map(f32::to_bits);
        assert_eq!(
            packed
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>(),
            bits
        );
        let record = network.record;
        assert_eq!(
            (record.trial, record.seed, record.training.epochs),
            (1, 5, 7)
        );
        let scores = ValidationScores {
            score: 0.1 + 0.2,
            metric: 0.5,
            reward: 0.125,
        };
        assert_eq!(record.training.validation, Some(scores));
        let Input::Images(input) = record.input else {
            panic!("images")
        };
        let Normalisation::Channel { mean, scale } = input.normalisation else {
            panic!("channels")
        };
        assert_eq!((mean, scale), (vec![0.1, 125.307], vec![1.0 / 3.0, 0.0]));
        let keys: Vec<_> = record.training.recipe.keys().collect();
        assert_eq!(keys, ["epochs", "momentum"]);
    }

    #[test]
    fn a_network_that_was_trained_on_everything_has_no_validation_scores() {
        let network = TrainedNetwork::from_file(&file_of(0)).unwrap();
        let training = &network.record.training;
        assert_eq!((training.validation, training.epochs), (None, 7));
        let names = ["x", "y"].map(str::to_owned);
        let counts = vec![vec![1, 2], vec![0, 3]];
        let tested = TrainingRecord {
            test: Some(TestResult::Images(crate::child::ImageResult::of(
                &names, counts,
            ))),
            ..network.record
        };
        let text = serde_json::to_string(&tested).unwrap();
        assert_eq!(TrainingRecord::from_json(&text).unwrap(), tested);
    }

    #[test]
    fn what_does_not_fit_the_network_is_named() {
        let network = TrainedNetwork::from_file(&file()).unwrap();
        let mut other = slots();
        other[0].shape = vec![4];
        let error = network.packed([&other]).unwrap_err();
        assert_eq!(
            error,
            "tensor b has the shape [2, 2]; this network's has [4]"
        );
        other[0].name = "c".into();
        let error = network.packed([&other]).unwrap_err();
        assert_eq!(error, "tensor b is none of this network's");
        let more = [slots(), other].concat();
        let error = network.packed([&more]).unwrap_err();
        assert_eq!(error, "tensor c is not there");
    }

    #[test]
    fn a_file_that_is_cut_or_none_of_ours_is_refused() {
        let file = file();
        for length in [0, 7, 100, file.len() - 1] {
            let error = TrainedNetwork::from_file(&file[..length]).unwrap_err();
            assert!(
                error.starts_with("is no safetensors file, or is damaged"),
                "{error}"
            );
        }
        let tensor: (&str, &[usize], &[f32]) = ("a", &[1], &[1.0]);
        let plain = safetensors_file([tensor].into_iter(), ("format", "pt")).unwrap();
        let error = TrainedNetwork::from_file(&plain).unwrap_err();
        assert!(
            error.starts_with("holds no network of netwright's"),
            "{error}"
        );
        let error = TrainingRecord::from_json("{\"version\": 2}").unwrap_err();
        assert_eq!(error, "is of version 2; this program knows version 1");
    }
}
