//! The gradient against central finite differences of what it is the gradient of, in f64; and the
//! f32 code against the f64 code.

use super::{Branching, settings, streams};
use crate::policy::forward::forward;
use crate::policy::network::{Given, gradient_of};
use crate::policy::{Episode, Policy, PolicyError};
use crate::space::Decision;

struct Case {
    policy: Policy,
    parameters: Vec<f32>,
    lists: Vec<Vec<Decision>>,
    advantages: Vec<Option<f64>>,
}

const LAYERS: usize = 4;

/// Six sampled lists of a network with large weights, so that every term is far from linear; one
/// child failed.
fn case(lstm_layers: usize) -> Case {
    let policy = Policy::new(&Branching::new(), &settings(5, lstm_layers, 0.8));
    let parameters = policy.initial_parameters(3);
    let samples = policy
        .sample(&parameters, &Branching::new(), LAYERS, streams(7, 0, 6))
        .unwrap();
    let lists = samples.into_iter().map(|sample| sample.decisions).collect();
    Case {
        policy,
        parameters,
        lists,
        advantages: vec![
            Some(0.7),
            Some(-1.3),
            None,
            Some(0.2),
            Some(2.0),
            Some(-0.4),
        ],
    }
}

impl Case {
    fn episodes(&self) -> Vec<Episode<'_>> {
        self.lists
            .iter()
            .zip(&self.advantages)
            .map(|(decisions, advantage)| Episode {
                decisions,
                advantage: *advantage,
            })
            .collect()
    }

    /// (1/n) Σ advantage · ln P + weight · mean entropy, straight from the forward pass.
    fn objective(&self, parameters: &[f64], entropy_weight: f64) -> f64 {
        let lists: Vec<&[Decision]> = self.lists.iter().map(Vec::as_slice).collect();
        let rows = forward(
            &self.policy.layout,
            parameters,
            &Branching::new(),
            LAYERS,
            lists.len(),
            &mut Given(&lists),
        )
        .unwrap()
        .0;
        let known: Vec<f64> = rows
            .iter()
            .zip(&self.advantages)
            .filter_map(|(row, advantage)| {
                Some(advantage.as_ref()? * row.log_probability + entropy_weight * row.entropy)
            })
            .collect();
        known.iter().sum::<f64>() / known.len() as f64
    }
}

#[test]
fn agrees_with_finite_differences_for_every_parameter() {
    for (lstm_layers, entropy_weight) in [(2, 0.0), (2, 0.6), (1, 0.6), (3, 0.6)] {
        let case = case(lstm_layers);
        let mut parameters: Vec<f64> = case
            .parameters
            .iter()
            .map(|value| f64::from(*value))
            .collect();
        let (gradient, _) = gradient_of(
            &case.policy.layout,
            &parameters,
            &Branching::new(),
            LAYERS,
            &case.episodes(),
            entropy_weight,
        )
        .unwrap();
        let h = 1e-5;
        let mut moved = 0;
        for place in 0..parameters.len() {
            let at = parameters[place];
            parameters[place] = at + h;
            let above = case.objective(&parameters, entropy_weight);
            parameters[place] = at - h;
            let below = case.objective(&parameters, entropy_weight);
            parameters[place] = at;
            let difference = (above - below) / (2.0 * h);
            assert!(
                (gradient[place] - difference).abs() < 1e-8,
                "parameter {place}: {} but {difference}",
                gradient[place]
            );
            moved += usize::from(difference.abs() > 1e-5);
        }
        // A case in which most of the network does nothing would prove nothing.
        assert!(
            moved * 10 > parameters.len() * 9,
            "only {moved} of {} parameters matter",
            parameters.len()
        );
    }
}

#[test]
fn single_precision_follows_double_precision() {
    let case = case(2);
    let double: Vec<f64> = case
        .parameters
        .iter()
        .map(|value| f64::from(*value))
        .collect();
    let (expected, entropy) = gradient_of(
        &case.policy.layout,
        &double,
        &Branching::new(),
        LAYERS,
        &case.episodes(),
        0.3,
    )
    .unwrap();
    let gradient = case
        .policy
        .gradient(
            &case.parameters,
            &Branching::new(),
            LAYERS,
            &case.episodes(),
            0.3,
        )
        .unwrap();
    for (place, (value, expected)) in gradient.values.iter().zip(&expected).enumerate() {
        assert!(
            (f64::from(*value) - expected).abs() < 3e-6,
            "parameter {place}: {value} but {expected}"
        );
    }
    let norm = expected
        .iter()
        .map(|value| value * value)
        .sum::<f64>()
        .sqrt();
    assert!((gradient.norm / norm - 1.0).abs() < 1e-5 && (gradient.entropy - entropy).abs() < 1e-4);
}

#[test]
fn is_zero_where_every_child_failed() {
    let mut case = case(2);
    case.advantages.fill(None);
    let gradient = case
        .policy
        .gradient(
            &case.parameters,
            &Branching::new(),
            LAYERS,
            &case.episodes(),
            0.3,
        )
        .unwrap();
    assert!(
        gradient.values.len() == case.parameters.len()
            && gradient.values.iter().all(|value| *value == 0.0)
    );
    assert_eq!((gradient.norm, gradient.entropy), (0.0, 0.0));
}

#[test]
fn a_failed_child_counts_as_if_it_had_not_been_sampled() {
    let case = case(2);
    let of = |episodes: &[Episode]| {
        case.policy
            .gradient(&case.parameters, &Branching::new(), LAYERS, episodes, 0.3)
            .unwrap()
    };
    let survivors: Vec<Episode> = case
        .episodes()
        .into_iter()
        .filter(|episode| episode.advantage.is_some())
        .collect();
    assert_eq!(of(&case.episodes()), of(&survivors));
}

#[test]
fn lists_of_another_space_are_refused_with_their_place() {
    let case = case(2);
    let place = |list: &[Decision]| match case.policy.log_probabilities(
        &case.parameters,
        &Branching::new(),
        2,
        &[list],
    ) {
        Err(PolicyError::Decisions { position }) => Some(position),
        _ => None,
    };
    let (choice, skips) = (Decision::Choice, |bits: &[u8]| {
        Decision::Skips(bits.to_vec())
    });
    let good = vec![choice(2), skips(&[]), choice(2), skips(&[1])];
    assert_eq!(place(&good), None);
    assert_eq!(place(&good[..3]), Some(3), "too short");
    assert_eq!(
        place(&[good.as_slice(), &[choice(0)]].concat()),
        Some(4),
        "too long"
    );
    assert_eq!(
        place(&[choice(3), skips(&[]), choice(2), skips(&[1])]),
        Some(0),
        "no such option"
    );
    assert_eq!(
        place(&[choice(2), choice(0)]),
        Some(1),
        "an option for an anchor point"
    );
    assert_eq!(
        place(&[choice(2), skips(&[]), choice(2), skips(&[1, 0])]),
        Some(3),
        "too many bits"
    );
    assert_eq!(
        place(&[choice(2), skips(&[]), choice(2), skips(&[2])]),
        Some(3),
        "not a bit"
    );
}

#[test]
fn parameters_that_are_not_finite_or_not_ours_are_an_error() {
    let case = case(2);
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for place in [0, 30, 200, case.parameters.len() - 1] {
            let mut parameters = case.parameters.clone();
            parameters[place] = broken;
            let gradient = case.policy.gradient(
                &parameters,
                &Branching::new(),
                LAYERS,
                &case.episodes(),
                0.3,
            );
            let sampled =
                case.policy
                    .sample(&parameters, &Branching::new(), LAYERS, streams(1, 0, 4));
            if broken == f32::MAX {
                // Saturated gates may still give a network; what comes out is finite then.
                assert!(
                    gradient.is_err() || gradient.is_ok_and(|gradient| gradient.norm.is_finite())
                );
                assert!(
                    sampled.is_err()
                        || sampled.is_ok_and(|samples| samples
                            .iter()
                            .all(|sample| sample.log_probability.is_finite()))
                );
            } else {
                assert!(
                    matches!(gradient, Err(PolicyError::NotFinite)),
                    "{broken} at {place}"
                );
                assert!(
                    matches!(sampled, Err(PolicyError::NotFinite)),
                    "{broken} at {place}"
                );
            }
        }
    }
    let short = case.policy.gradient(
        &case.parameters[1..],
        &Branching::new(),
        LAYERS,
        &case.episodes(),
        0.3,
    );
    assert!(matches!(short, Err(PolicyError::Parameters { .. })));
}
