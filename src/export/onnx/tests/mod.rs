//! Models as they are written, evaluated by a second implementation of ONNX's operators, against the
//! kernels that trained the network.

mod interpreter;

use super::{ModelProto, model};
use crate::child::convnet::passes;
use crate::child::language_model::{Network as LanguageNetwork, Sizes};
use crate::child::{
    Classifier, MetricUnit, NamedTensor, TrainedNetwork, TrainingRecord, TrainingSummary,
    cell_program,
};
use crate::data::{DataKind, ImageInput, Input, Normalisation, TextInput, Unit};
use crate::kernels::ParameterSlot;
use crate::machine::{LaneSpec, ThreadPool, thread_pool};
use crate::random::{Key, Purpose, Stream};
use crate::space::{
    Activation, Architecture, Cell, CellNetwork, CellNode, Combination, ConvLayer, ConvNetwork,
    Convolution, ImageShape, LanguageModel, Network, Operation, Pool, TreeCell,
};
use candle_core::Device;
use interpreter::{Value, run};
use prost::Message;
use rand::RngExt;
use std::sync::Arc;

fn pool() -> Arc<ThreadPool> {
    let lane = LaneSpec {
        device: "cpu".into(),
        name: "test".into(),
        cores: Vec::new(),
        threads: 1,
    };
    Arc::new(thread_pool(&lane).unwrap())
}

fn stream(seed: u64) -> Stream {
    Key::seed(seed).stream(Purpose::ChildParameters)
}

/// A network with random weights; of deviations and variances positive ones.
fn trained(network: Network, input: Input, slots: &[ParameterSlot], scale: f32) -> TrainedNetwork {
    let mut stream = stream(3);
    let tensor = |slot: &ParameterSlot| NamedTensor {
        name: slot.name.clone(),
        shape: slot.shape.clone(),
        values: (0..slot.len())
            .map(|_| {
                if slot.name.ends_with("variance") {
                    stream.random_range(0.2..2.0)
                } else {
                    stream.random_range(-scale..scale)
                }
            })
            .collect(),
    };
    let tensors = slots.iter().map(tensor).collect();
    let record = TrainingRecord {
        version: 1,
        program: "test".into(),
        trial: 7,
        seed: 1,
        architecture: Architecture {
            version: 1,
            network,
        },
        input,
        batch_norm_epsilon: Some(EPSILON),
        training: TrainingSummary {
            epochs: 2,
            validation: None,
            unit: MetricUnit::Accuracy,
            training_examples: 1,
            validation_examples: 1,
            content: String::new(),
            recipe: serde_json::Map::new(),
        },
        test: None,
    };
    TrainedNetwork { record, tensors }
}

/// Of batch normalisation: another than usual.
const EPSILON: f64 = 1e-2;

const IMAGE: ImageShape = ImageShape {
    channels: 3,
    height: 9,
    width: 12,
};

/// Every operation, even and odd windows, strides that leave pixels over, inputs of several sizes.
fn convnet() -> ConvNetwork {
    let sizes = |filter_height, filter_width, filters, stride_height, stride_width| Convolution {
        filter_height,
        filter_width,
        filters,
        stride_height,
        stride_width,
    };
    let conv = |height, width, filters, down, right| {
        Operation::Convolution(sizes(height, width, filters, down, right))
    };
    let pool = |size, stride| Pool { size, stride };
    let layers = [
        (conv(3, 5, 6, 1, 2), vec![0]),
        (Operation::LocalContrast { window: 5 }, vec![1]),
        (Operation::MaxPool(pool(2, 2)), vec![1, 2]),
        (Operation::AveragePool(pool(3, 2)), vec![0, 2]),
        (conv(1, 1, 4, 3, 1), vec![3, 4]),
        (Operation::BatchNorm, vec![2, 4]),
        (conv(7, 3, 5, 2, 3), vec![0, 6]),
        (Operation::AveragePool(pool(4, 3)), vec![6]),
        (Operation::MaxPool(pool(3, 1)), vec![5]),
        (Operation::PlainConvolution(sizes(3, 2, 7, 1, 2)), vec![4]),
        (Operation::Add, vec![0, 3, 10]),
        (Operation::MaxPool(pool(1, 2)), vec![11]),
        (Operation::Relu, vec![10, 12]),
        (Operation::Add, vec![10, 13]),
    ];
    let layers = layers
        .into_iter()
        .map(|(operation, inputs)| ConvLayer { operation, inputs })
        .collect();
    ConvNetwork::new(IMAGE, 4, layers)
}

fn images(normalisation: Normalisation) -> Input {
    Input::Images(ImageInput {
        shape: IMAGE,
        class_names: ["a", "b", "c", "d"].map(String::from).to_vec(),
        normalisation,
        source: DataKind::ImageFolder,
    })
}

fn trained_convnet(normalisation: Normalisation) -> TrainedNetwork {
    let network = convnet();
    let engine = passes(&network, 8, EPSILON, &Device::Cpu, &pool(), None).unwrap();
    let slots = [engine.parameters(), engine.running()].concat();
    trained(Network::Conv(network), images(normalisation), &slots, 0.7)
}

/// Noise; the first image is of one colour, the second of nearly one.
fn raw(count: usize) -> Vec<u8> {
    let mut stream = stream(9);
    let size = IMAGE.channels * IMAGE.height * IMAGE.width;
    let mut images: Vec<u8> = (0..count * size).map(|_| stream.random()).collect();
    images[..size].fill(77);
    if let Some(image) = images.get_mut(size..2 * size) {
        image.fill(250);
        image[5] = 251;
    }
    images
}

#[test]
fn raw_images_give_the_logits_of_the_kernels_in_batches_of_any_size() {
    let channels = Normalisation::Channel {
        mean: vec![100.0, 120.5, 130.0],
        scale: vec![0.015, 0.02, 0.0],
    };
    let image = Normalisation::Image { min_variance: 1e-4 };
    for normalisation in [image, channels] {
        let trained = trained_convnet(normalisation);
        let mut classifier = Classifier::new(&trained, &pool()).unwrap();
        let model = model(&trained).unwrap();
        for count in [1, 7] {
            let raw = raw(count);
            let expected = classifier.logits(&raw).unwrap();
            let shape = [count, IMAGE.channels, IMAGE.height, IMAGE.width];
            let image = Value::new(&shape, raw.iter().map(|&byte| f64::from(byte)));
            let logits = &run(&model.bytes, &[("image", image)])["logits"];
            assert_eq!(logits.shape, [count, 4]);
            for (logit, expected) in logits.numbers.iter().zip(&expected) {
                let expected = f64::from(*expected);
                let error = (logit - expected).abs();
                assert!(
                    error <= 1e-4 * expected.abs().max(1.0),
                    "{logit} and {expected}"
                );
            }
        }
    }
}

#[test]
fn a_model_says_what_it_reads_and_what_its_numbers_mean() {
    let trained = trained_convnet(Normalisation::Image { min_variance: 1e-4 });
    let written = model(&trained).unwrap();
    assert_eq!(
        written.signature,
        "image uint8 [batch, 3, 9, 12] → logits [batch, 4]"
    );
    let proto = ModelProto::decode(written.bytes.as_slice()).unwrap();
    let of = |key: &str| {
        let mut entries = proto.metadata_props.iter();
        entries.find(|entry| entry.key() == key).unwrap().value()
    };
    assert_eq!(of("class_names"), r#"["a","b","c","d"]"#);
    assert!(of("image_file").contains("over black"));
    assert_eq!(of("trial"), "7");
    assert_eq!(
        (proto.ir_version(), proto.opset_import[0].version()),
        (8, 18)
    );
    // No operator that pads by itself.
    let nodes = proto.graph.unwrap().node;
    let names = || {
        nodes
            .iter()
            .flat_map(|node| &node.attribute)
            .map(super::proto::AttributeProto::name)
    };
    assert!(names().any(|name| name == "pads") && !names().any(|name| name == "auto_pad"));
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let mut trained = trained_convnet(Normalisation::Image { min_variance: 1e-4 });
    trained
        .tensors
        .retain(|tensor| tensor.name != "classifier.bias");
    let error = model(&trained).unwrap_err();
    assert_eq!(error, "tensor classifier.bias is not there");
}

/// Every combination and activation, c injected at the root.
fn tree() -> Cell {
    let node = |combination, activation| CellNode {
        combination,
        activation,
    };
    let nodes = vec![
        node(Combination::Add, Activation::Tanh),
        node(Combination::ElemMult, Activation::Sin),
        node(Combination::Max, Activation::Relu),
        node(Combination::Add, Activation::Identity),
        node(Combination::Max, Activation::Sigmoid),
        node(Combination::ElemMult, Activation::Identity),
        node(Combination::Add, Activation::Tanh),
    ];
    let inject = node(Combination::Add, Activation::Tanh);
    Cell::Tree(TreeCell::new(nodes, inject, 4, 6).unwrap())
}

#[test]
fn thirty_five_steps_of_a_cell_have_the_perplexity_of_the_kernels() {
    let named = ["rnn", "lstm", "gru", "nascell"].map(|name| Cell::named(name).unwrap());
    for (index, cell) in named.into_iter().chain([tree()]).enumerate() {
        let sizes = LanguageModel {
            vocabulary: 9,
            hidden: 6,
            layers: 2,
            shared_embeddings: index % 2 == 1,
        };
        check_cell(cell, sizes);
    }
}

fn check_cell(cell: Cell, sizes: LanguageModel) {
    const STEPS: usize = 35;
    const BATCH: usize = 2;
    let program = cell_program(&cell).unwrap();
    let shape = Sizes {
        model: sizes,
        batch: BATCH,
        steps: STEPS,
    };
    let mut network = LanguageNetwork::new(&program, shape, &pool()).unwrap();
    let input = Input::Text(TextInput {
        unit: Unit::Word,
        end: 0,
        vocabulary: (0..sizes.vocabulary).map(|word| word.to_string()).collect(),
    });
    let slots = network.parameters().to_vec();
    let cell = CellNetwork {
        cell,
        model: Some(sizes),
    };
    let trained = trained(Network::Cell(cell), input, &slots, 0.8);
    let [parameters] = trained.packed([&slots]).unwrap();
    let mut stream = stream(5);
    let words: Vec<u32> = (0..(STEPS + 1) * BATCH)
        .map(|_| stream.random_range(0..sizes.vocabulary as u32))
        .collect();
    let mut state = network.start();
    let targets = &words[BATCH..];
    let nats = network.evaluate(&parameters, &words[..STEPS * BATCH], targets, &mut state);

    let written = model(&trained).unwrap();
    assert!(written.vocabulary.unwrap().starts_with(r#"["0","1","#));
    let states = [sizes.layers, program.states(), BATCH, sizes.hidden];
    let mut own = Value::new(&states, vec![0.0; states.iter().product()]);
    let mut sum = 0.0;
    for step in 0..STEPS {
        let tokens = words[step * BATCH..][..BATCH]
            .iter()
            .map(|&word| f64::from(word));
        let inputs = [("token", Value::new(&[BATCH], tokens)), ("state", own)];
        let mut outputs = run(&written.bytes, &inputs);
        let logits = outputs.remove("logits").unwrap();
        let targets = &targets[step * BATCH..][..BATCH];
        for (logits, target) in logits.numbers.chunks(sizes.vocabulary).zip(targets) {
            let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
            sum += all.ln() - logits[*target as usize];
        }
        own = outputs.remove("next_state").unwrap();
        assert_eq!(own.shape, states);
    }
    let count = (STEPS * BATCH) as f64;
    let ours = (nats / count).exp();
    let theirs = (sum / count).exp();
    assert!((theirs / ours - 1.0).abs() < 1e-4, "{theirs} and {ours}");
    for (a, b) in own.numbers.iter().zip(&state) {
        assert!((a - f64::from(*b)).abs() < 1e-3, "{a} and {b}");
    }
}
