//! Training steps of stacks of recurrent layers: the cells of `peers/cells.json`, without embedding
//! and softmax. `cargo bench --bench cells -- --name CELL [--hidden N] [--seconds S] [--threads N]`
//! prints one JSON line; `peers/cells.py` runs it in turn with PyTorch. Knows nothing of other
//! implementations.

mod measure;
mod recurrent;

use measure::{Memory, time};
use netwright::child::cell_program;
use netwright::kernels::{CellLayer, CellShape, Isa, Masks};
use netwright::space::Cell;
use recurrent::{Arguments, BATCH, LAYERS, STEPS};
use std::path::PathBuf;
use std::sync::Arc;

fn run(name: &str, cell: &Cell, arguments: &Arguments, pool: &Arc<rayon::ThreadPool>) {
    let &Arguments {
        hidden, seconds, ..
    } = arguments;
    let batch = BATCH;
    let steps = STEPS;
    let program = cell_program(cell).expect("a cell of the list");
    let shape = CellShape {
        input: hidden,
        hidden,
        batch,
        steps,
    };
    let layer = || CellLayer::new(&program, shape, Arc::clone(pool)).expect("a layer of the list");
    let memory = Memory::from_here();
    let mut layers: Vec<_> = (0..LAYERS).map(|_| layer()).collect();
    let value = |i: usize| ((i * 2_654_435_761) % 1000) as f32 / 1000.0 - 0.5;
    let parameters: Vec<f32> = (0..layers[0].parameter_count())
        .map(|i| 0.1 * value(i))
        .collect();
    let mut sequences: Vec<Vec<f32>> =
        vec![(0..steps * batch * hidden).map(value).collect(); LAYERS + 1];
    let mut states = vec![vec![0.0; program.states() * batch * hidden]; LAYERS];
    let mut gradient = vec![0.0; parameters.len()];
    let d_out: Vec<f32> = (0..steps * batch * hidden)
        .map(|i| 0.01 * value(i + 7))
        .collect();
    let mut both = [d_out.clone(), d_out.clone()];
    let forward =
        |layers: &mut [CellLayer], sequences: &mut [Vec<f32>], states: &mut [Vec<f32>]| {
            for (index, layer) in layers.iter_mut().enumerate() {
                let (from, to) = sequences.split_at_mut(index + 1);
                states[index].fill(0.0);
                layer.forward(
                    &parameters,
                    &from[index],
                    Masks::default(),
                    &mut states[index],
                    &mut to[0],
                );
            }
        };
    let (_, forward_cpu) = time(seconds / 3.0, || {
        forward(&mut layers, &mut sequences, &mut states);
    });
    let (_, step) = time(seconds, || {
        forward(&mut layers, &mut sequences, &mut states);
        both[0].copy_from_slice(&d_out);
        for layer in layers.iter_mut().rev() {
            let [d_out, d_x] = &mut both;
            layer.backward(&parameters, d_out, &mut gradient, d_x);
            both.swap(0, 1);
        }
    });
    let products = 2.0 * (LAYERS * program.gates * 2 * hidden * hidden * steps * batch) as f64;
    println!(
        r#"{{"name": "{name}", "step_cpu": {step:.3}, "forward_cpu": {forward_cpu:.3}, "gflops": {:.1}, "mib": {:.1}, "isa": "{}"}}"#,
        3.0 * products / step / 1e6,
        memory.peak(),
        Isa::detect().name()
    );
}

fn main() {
    let arguments = Arguments::parse();
    let pool = Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(arguments.threads)
            .build()
            .expect("threads can be started"),
    );
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/peers/cells.json");
    let text = std::fs::read_to_string(path).expect("the list of cells can be read");
    let list: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list of cells");
    for cell in list {
        let name = cell["name"].as_str().expect("a name").to_owned();
        if arguments.wants(&name) {
            run(
                &name,
                &serde_json::from_value(cell).expect("a cell"),
                &arguments,
                &pool,
            );
        }
    }
}
