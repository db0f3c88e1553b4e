//! Adam against PyTorch's numbers, and a slice of the vector against the whole.

use crate::policy::{AdamState, UpdateRule, UpdateSettings, shard_boundaries};
use proptest::prelude::*;

const ADAM: UpdateSettings = UpdateSettings {
    rule: UpdateRule::Adam {
        learning_rate: 0.01,
    },
    accumulate: 1,
};

// p = torch.nn.Parameter(torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64))
// o = torch.optim.Adam([p], lr=0.01, maximize=True)
// for g in GRADIENTS: p.grad = torch.tensor(g, dtype=torch.float64); o.step(); print(p.tolist())
const GRADIENTS: [[f32; 4]; 3] = [
    [1.0, -2.0, 0.0, 1e-4],
    [0.5, 1.0, 0.0, -3.0],
    [-0.25, 4.0, 2.0, 0.0],
];
const EXPECTED: [[f64; 4]; 3] = [
    [0.1099999999, -0.20999999995000002, 0.3, 0.00999900009999],
    [
        0.1193217961701839,
        -0.21266337032975685,
        0.3,
        0.0025578551445662066,
    ],
    [
        0.12495840985036705,
        -0.20809005244696424,
        0.3063881359386899,
        -0.0031941714666337316,
    ],
];

fn assert_close(values: &[f32], expected: &[f64]) {
    for (value, expected) in values.iter().zip(expected) {
        assert!(
            (f64::from(*value) - expected).abs() < 1e-7,
            "{values:?} but {expected:?}"
        );
    }
}

/// Shards that are given displacements add their mean, and Adam's moments stay as they were.
#[test]
fn displacements_are_added() {
    let add = UpdateSettings {
        rule: UpdateRule::Add,
        accumulate: 2,
    };
    let mut state = AdamState::new(vec![1.0, -2.0]);
    state.push(1, &[0.5, 1.0], &add);
    assert_eq!(
        (state.version, state.parameters.as_slice()),
        (0, &[1.0, -2.0][..])
    );
    state.push(2, &[0.25, -3.0], &add);
    assert_eq!(state.version, 1);
    assert_eq!(state.parameters, [1.375, -3.0]);
    assert_eq!(state.accumulator, [0.0; 2]);
    assert_eq!(state.first_moment, [0.0; 2]);
}

#[test]
fn steps_as_pytorch_does() {
    let mut state = AdamState::new(vec![0.1, -0.2, 0.3, 0.0]);
    for (sequence, (gradient, expected)) in (1..).zip(GRADIENTS.iter().zip(&EXPECTED)) {
        state.push(sequence, gradient, &ADAM);
        assert_close(&state.parameters, expected);
        assert_eq!(
            (state.version, state.sequence, state.pending),
            (sequence, sequence, 0)
        );
    }
}

#[test]
fn accumulates_the_mean_and_keeps_the_remainder() {
    let settings = UpdateSettings {
        accumulate: 2,
        ..ADAM
    };
    let mut state = AdamState::new(vec![0.1, -0.2, 0.3, 0.0]);
    // The mean of 2·g and 0 is g: a minibatch all of whose children failed counts.
    for (step, (gradient, expected)) in (0..).zip(GRADIENTS.iter().zip(&EXPECTED)) {
        let before = state.parameters.clone();
        state.push(3 * step + 1, &gradient.map(|value| 2.0 * value), &settings);
        assert_eq!((&state.parameters, state.pending), (&before, 1));
        state.skip(3 * step + 2);
        assert_eq!(
            (&state.parameters, state.pending),
            (&before, 1),
            "a number without a gradient is not counted"
        );
        state.push(3 * step + 3, &[0.0; 4], &settings);
        assert_close(&state.parameters, expected);
        assert_eq!(
            (state.version, state.sequence, state.pending),
            (step + 1, 3 * step + 3, 0)
        );
    }
}

#[test]
fn without_a_rule_only_the_counters_move() {
    let settings = UpdateSettings {
        rule: UpdateRule::None,
        accumulate: 2,
    };
    let mut state = AdamState::new(vec![0.1, -0.2]);
    for sequence in 1..=5 {
        state.push(sequence, &[1.0, 2.0], &settings);
    }
    assert_eq!((state.version, state.sequence, state.pending), (2, 5, 1));
    assert_eq!(
        (state.parameters, state.first_moment, state.second_moment),
        (vec![0.1, -0.2], vec![0.0; 2], vec![0.0; 2])
    );
}

fn shards_of(whole: &AdamState, count: usize) -> Vec<AdamState> {
    shard_boundaries(whole.parameters.len(), count)
        .windows(2)
        .map(|range| whole.slice(range[0]..range[1]))
        .collect()
}

#[derive(Clone, Debug)]
enum Event {
    Push(Vec<f32>),
    Skip,
    Settings { accumulate: usize, moves: bool },
    Reshard(usize),
}

fn event(length: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => prop::collection::vec(-2.0_f32..2.0, length).prop_map(Event::Push),
        1 => Just(Event::Push(vec![0.0; length])),
        1 => Just(Event::Skip),
        1 => (1_usize..5, prop::bool::weighted(0.8)).prop_map(|(accumulate, moves)| Event::Settings { accumulate, moves }),
        1 => (1_usize..8).prop_map(Event::Reshard),
    ]
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn shards_evolve_as_the_whole_bit_for_bit(
        (parameters, events) in (1_usize..30).prop_flat_map(|length| {
            (prop::collection::vec(-1.0_f32..1.0, length), prop::collection::vec(event(length), 1..40))
        }),
        shards in 1_usize..8,
    ) {
        let mut whole = AdamState::new(parameters);
        let mut shards = shards_of(&whole, shards);
        let mut settings = ADAM;
        for event in events {
            let sequence = whole.sequence + 1;
            match event {
                Event::Push(gradient) => {
                    whole.push(sequence, &gradient, &settings);
                    let mut rest = gradient.as_slice();
                    for shard in &mut shards {
                        let (own, after) = rest.split_at(shard.parameters.len());
                        shard.push(sequence, own, &settings);
                        rest = after;
                    }
                }
                Event::Skip => {
                    whole.skip(sequence);
                    shards.iter_mut().for_each(|shard| shard.skip(sequence));
                }
                Event::Settings { accumulate, moves } => {
                    let rule = if moves { ADAM.rule } else { UpdateRule::None };
                    settings = UpdateSettings { rule, accumulate };
                },
                Event::Reshard(count) => shards = shards_of(&AdamState::concat(&shards), count),
            }
            prop_assert_eq!(&AdamState::concat(&shards), &whole);
        }
    }
}
