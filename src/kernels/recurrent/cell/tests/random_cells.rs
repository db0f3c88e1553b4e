//! Random trees against the interpreter over 35 steps; layers against themselves with other
//! threads, vectors and calls.

use super::interpreter::Tokens;
use super::*;
use crate::kernels::testing::{Expected, expected, sum_error};
use proptest::prelude::*;

const COMBINATIONS: [Combination; 3] = [Combination::Add, Combination::Mul, Combination::Max];
const ACTIVATIONS: [Activation; 5] = [
    Activation::Identity,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Relu,
    Activation::Sin,
];

fn random(base: usize, seed: u64) -> Tokens {
    let mut stream = crate::random::Key::seed(seed).stream(crate::random::Purpose::Decisions);
    let mut node = || {
        (
            COMBINATIONS[stream.random_range(0..3)],
            ACTIVATIONS[stream.random_range(0..5)],
        )
    };
    let nodes = (0..2 * base - 1).map(|_| node()).collect();
    let inject = node();
    let mut index = || stream.random_range(0..2 * base - 1);
    Tokens {
        nodes,
        inject,
        cell_index: index(),
        inject_index: index(),
    }
}

/// A training step, of every instruction set that there is. False where the numbers are no test:
/// beside a kink rounding decides which gradient is right, and some cells multiply every error.
fn check(tokens: &Tokens, seed: u64, steps: usize) -> bool {
    let program = tokens.program();
    let shape = CellShape {
        input: 4,
        hidden: 3,
        batch: 2,
        steps,
    };
    let mut given = Given::new(&program, shape, 0.6, seed);
    // No sum of squares over 35 steps may leave what f32 can tell apart.
    given.state.iter_mut().for_each(|s| *s *= 0.5);
    if seed.is_multiple_of(2) {
        given.input_mask = Some(vec![2.0, 0.0, 1.0, 1.0, 0.0, 2.0, 2.0, 1.0]);
        given.recurrent_mask = Some(vec![0.0, 1.5, 1.0, 1.5, 0.0, 1.0]);
    }
    let [out, state, gradient, d_x, kinks] = expected(|rounding| tokens.step(&given, rounding));
    let certain = [&out, &state, &gradient, &d_x]
        .into_iter()
        .all(Expected::is_certain);
    if !kinks.is_clear_of_zero() || !certain {
        return false;
    }
    for isa in Isa::available() {
        let step = given.step(&mut CellLayer::with_isa(&program, shape, pool(1), isa).unwrap());
        for (name, ours, exact) in [
            ("out", &step.out, &out),
            ("state", &step.state, &state),
            ("gradient", &step.gradient, &gradient),
            ("d_x", &step.d_x, &d_x),
        ] {
            exact.assert_close(&format!("{} {tokens:?}: {name}", isa.name()), ours);
        }
    }
    true
}

proptest! {
    #![proptest_config(crate::random::cases(64))]

    #[test]
    fn random_cells_of_every_base(base in 2_usize..=8, tokens in 0_u64..1_000_000, seed in 0_u64..1_000) {
        prop_assume!(check(&random(base, tokens), seed, 35));
    }
}

#[test]
fn the_forced_cases() {
    let mut checked = 0;
    for base in [2, 3, 4, 5, 8] {
        let root = 2 * base - 2;
        let seed = 7_000 + base as u64;
        let mut tokens = random(base, seed);
        let indices = [
            (1, 1),
            (root, 0),
            (root, root),
            (0, root),
            (root, 1),
            (base, base),
            (base, root),
        ];
        for (cell_index, inject_index) in indices {
            for inject in [
                (Combination::Add, Activation::Tanh),
                (Combination::Mul, Activation::Relu),
                (Combination::Max, Activation::Sigmoid),
            ] {
                (tokens.cell_index, tokens.inject_index, tokens.inject) =
                    (cell_index, inject_index, inject);
                checked += usize::from(check(&tokens, seed, 9));
            }
        }
    }
    assert!(
        checked > 80,
        "{checked} of 105 cases are clear of all kinks"
    );
}

#[test]
fn c_is_read_before_the_activation() {
    for combination in COMBINATIONS {
        let mut tokens = random(4, 77);
        (tokens.nodes[2], tokens.nodes[3], tokens.nodes[5]) = (
            (Combination::Add, Activation::Tanh),
            (Combination::Add, Activation::Identity),
            (combination, Activation::Relu),
        );
        tokens.inject = (Combination::Add, Activation::Tanh);
        (tokens.cell_index, tokens.inject_index) = (5, 2);
        let program = tokens.program();
        let shape = CellShape {
            input: 4,
            hidden: 3,
            batch: 2,
            steps: 35,
        };
        let given = Given::new(&program, shape, 0.6, 5);
        let step = given.step(&mut CellLayer::new(&program, shape, pool(1)).unwrap());
        let mut layer = CellLayer::new(&program, CellShape { steps: 1, ..shape }, pool(1)).unwrap();
        // Some c of some step is negative, which no relu gives.
        let mut state = given.state.clone();
        let mut negative = false;
        for x in given.x.chunks(8) {
            layer.evaluate(&given.parameters, x, &mut state, &mut [0.0; 6]);
            negative |= state[6..].iter().any(|c| *c < 0.0);
        }
        assert!(negative, "{combination:?}");
        assert_eq!(state, step.state);
        assert!(
            (5..50).any(|seed| check(&tokens, seed, 35)),
            "{combination:?}"
        );
    }
}

#[test]
fn threads_vectors_and_calls_change_nothing() {
    for name in NAMED {
        let program = CellProgram::named(name).unwrap();
        let shape = CellShape {
            input: 70,
            hidden: 90,
            batch: 13,
            steps: 5,
        };
        let mut given = Given::new(&program, shape, 0.1, 3);
        let mut layer = CellLayer::new(&program, shape, pool(1)).unwrap();
        let one = given.step(&mut layer);
        assert_eq!(given.step(&mut layer), one, "{name}: a second time");
        for threads in [2, 3, 16] {
            assert_eq!(
                given.step(&mut CellLayer::new(&program, shape, pool(threads)).unwrap()),
                one,
                "{name}: {threads} threads"
            );
        }
        let mut state = given.state.clone();
        let mut out = vec![0.0; one.out.len()];
        let mut short = CellLayer::new(&program, CellShape { steps: 2, ..shape }, pool(1)).unwrap();
        short.evaluate(&given.parameters, &given.x, &mut state, &mut out);
        assert_eq!(
            (out, state),
            (one.out, one.state),
            "{name}: evaluated in pieces"
        );
        // Fewer steps than the layer was built for, after more.
        (given.x, given.d_out) = (
            given.x[..3 * 13 * 70].to_vec(),
            given.d_out[..3 * 13 * 90].to_vec(),
        );
        let fresh = given
            .step(&mut CellLayer::new(&program, CellShape { steps: 3, ..shape }, pool(1)).unwrap());
        assert_eq!(given.step(&mut layer), fresh, "{name}: fewer steps");
    }
}

#[test]
fn a_long_hidden_vector_is_worked_on_in_pieces() {
    for isa in Isa::available() {
        let program = CellProgram::lstm();
        let shape = CellShape {
            input: 2,
            hidden: 300,
            batch: 1,
            steps: 2,
        };
        let given = Given::new(&program, shape, 0.1, 9);
        let step = given.step(&mut CellLayer::with_isa(&program, shape, pool(1), isa).unwrap());
        let reference = given
            .step(&mut CellLayer::with_isa(&program, shape, pool(1), Isa::available()[0]).unwrap());
        // Both are sums of at most 600 products, whose factors are at most 1 and 0.1, and of
        // functions with slopes of at most 1.
        let bound = 2.0 * sum_error(40, 1.0);
        for (ours, other) in [
            (&step.out, &reference.out),
            (&step.gradient, &reference.gradient),
        ] {
            assert!(
                ours.iter()
                    .zip(other)
                    .all(|(a, b)| f64::from(a - b).abs() < bound)
            );
        }
    }
}

#[test]
fn impossible_programs_and_sizes_are_refused() {
    let shape = CellShape {
        input: 2,
        hidden: 3,
        batch: 1,
        steps: 2,
    };
    let refused = |program: &CellProgram, shape: CellShape| {
        CellLayer::new(program, shape, pool(1))
            .err()
            .unwrap()
            .to_string()
    };
    let broken = |op: Op| CellProgram {
        ops: vec![op],
        ..CellProgram::rnn()
    };
    assert!(refused(&broken(Op::Input(1)), shape).contains("operation 0"));
    assert!(refused(&broken(Op::Tanh(0)), shape).contains("operation 0"));
    assert!(refused(&broken(Op::State(1)), shape).contains("operation 0"));
    assert!(
        refused(
            &CellProgram {
                outputs: vec![9],
                ..CellProgram::rnn()
            },
            shape
        )
        .contains("new state")
    );
    assert!(refused(&CellProgram::rnn(), CellShape { batch: 0, ..shape }).contains("is 0"));
    assert!(
        refused(
            &CellProgram::rnn(),
            CellShape {
                hidden: usize::MAX / 2,
                ..shape
            }
        )
        .contains("address")
    );
}
