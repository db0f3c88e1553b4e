//! What is sampled against what the policy says of it.

use super::{Branching, policy, streams};
use crate::policy::{Policy, Sample};
use crate::space::Decision;
use std::collections::HashMap;

/// An upper quantile (about 1 in 10,000) of the chi-square distribution, by Wilson and Hilferty.
fn chi_square_limit(freedom: f64) -> f64 {
    let part = 2.0 / (9.0 * freedom);
    freedom * (1.0 - part + 3.72 * part.sqrt()).powi(3)
}

/// Pearson's statistic of the counts and its degrees of freedom; lists expected fewer than 5 times
/// count together.
fn chi_square(
    counts: &HashMap<Vec<Decision>, usize>,
    probabilities: &[(Vec<Decision>, f64)],
    drawn: usize,
) -> (f64, f64) {
    let mut statistic = 0.0;
    let mut cells = 0.0;
    let mut rest = (0.0, 0.0);
    for (list, probability) in probabilities {
        let seen = counts.get(list).copied().unwrap_or(0) as f64;
        let expected = probability * drawn as f64;
        if expected < 5.0 {
            rest = (rest.0 + seen, rest.1 + expected);
        } else {
            statistic += (seen - expected).powi(2) / expected;
            cells += 1.0;
        }
    }
    if rest.1 > 0.0 {
        statistic += (rest.0 - rest.1).powi(2) / rest.1;
        cells += 1.0;
    }
    (statistic, cells - 1.0)
}

fn counts(samples: &[Sample]) -> HashMap<Vec<Decision>, usize> {
    let mut counts = HashMap::new();
    for sample in samples {
        *counts.entry(sample.decisions.clone()).or_default() += 1;
    }
    counts
}

fn stated(policy: &Policy, parameters: &[f32], layers: usize) -> Vec<(Vec<Decision>, f64)> {
    let space = Branching::new();
    let lists = space.lists(layers);
    let slices: Vec<&[Decision]> = lists.iter().map(Vec::as_slice).collect();
    let logs = policy
        .log_probabilities(parameters, &space, layers, &slices)
        .unwrap();
    lists
        .into_iter()
        .zip(logs)
        .map(|(list, log)| (list, log.exp()))
        .collect()
}

#[test]
fn the_probabilities_of_all_lists_sum_to_one() {
    let policy = policy(&Branching::new(), 6, 1.5);
    for (layers, lists) in [(1, 7), (2, 7 * 7 * 2), (3, 7 * 7 * 7 * 8)] {
        let all = stated(&policy, &policy.initial_parameters(5), layers);
        assert_eq!(all.len(), lists);
        let total: f64 = all.iter().map(|(_, probability)| probability).sum();
        assert!((total - 1.0).abs() < 1e-5, "{total}");
    }
}

#[test]
fn lists_are_drawn_as_often_as_stated() {
    let space = Branching::new();
    let policy = policy(&space, 6, 1.5);
    for seed in 0..3 {
        let parameters = policy.initial_parameters(seed);
        let all = stated(&policy, &parameters, 2);
        let samples: Vec<Sample> = (0..200)
            .flat_map(|minibatch| {
                policy
                    .sample(&parameters, &space, 2, streams(seed, minibatch, 100))
                    .unwrap()
            })
            .collect();
        let (statistic, freedom) = chi_square(&counts(&samples), &all, samples.len());
        assert!(
            freedom > 20.0 && statistic < chi_square_limit(freedom),
            "seed {seed}: {statistic} with {freedom} degrees of freedom"
        );
        // The test has the power to see another distribution: the lists are not drawn uniformly.
        let even: Vec<_> = all
            .iter()
            .map(|(list, _)| (list.clone(), 1.0 / all.len() as f64))
            .collect();
        let (statistic, freedom) = chi_square(&counts(&samples), &even, samples.len());
        assert!(statistic > 10.0 * chi_square_limit(freedom));
        // Entropy by the chain rule: its expectation over the lists is that of −ln P.
        let entropy =
            samples.iter().map(|sample| sample.entropy).sum::<f64>() / samples.len() as f64;
        let expected: f64 = all.iter().map(|(_, p)| -p * p.ln()).sum();
        assert!(
            (entropy - expected).abs() < 0.02,
            "{entropy} but {expected}"
        );
    }
}

#[test]
fn random_search_takes_every_option_equally_often() {
    let space = Branching::new();
    let policy = policy(&space, 6, 1.5);
    let samples: Vec<Sample> = (0..200)
        .flat_map(|minibatch| policy.sample_uniform(&space, 2, streams(1, minibatch, 100)))
        .collect();
    // Types 1/3 each; then the flag 1/2, the size 1/4, or nothing; the one skip 1/2.
    let layer = |choices: &[Decision]| match choices[0] {
        Decision::Choice(0) => 1.0 / 6.0,
        Decision::Choice(1) => 1.0 / 12.0,
        _ => 1.0 / 3.0,
    };
    let probability = |list: &[Decision]| {
        let mut choices = list.split(|decision| matches!(decision, Decision::Skips(_)));
        layer(choices.next().unwrap()) * layer(choices.next().unwrap()) / 2.0
    };
    let all: Vec<_> = space
        .lists(2)
        .into_iter()
        .map(|list| (list.clone(), probability(&list)))
        .collect();
    let (statistic, freedom) = chi_square(&counts(&samples), &all, samples.len());
    assert!(
        statistic < chi_square_limit(freedom),
        "{statistic} with {freedom} degrees of freedom"
    );
    assert!(samples.iter().all(|sample| {
        (sample.log_probability - probability(&sample.decisions).ln()).abs() < 1e-12
    }));
    assert!(
        samples
            .iter()
            .all(|sample| (sample.entropy + sample.log_probability).abs() < 1e-12)
    );
}

#[test]
fn replaying_a_list_gives_the_log_probability_it_was_sampled_with() {
    let space = Branching::new();
    let policy = policy(&space, 35, 0.5);
    let parameters = policy.initial_parameters(1);
    let samples = policy
        .sample(&parameters, &space, 6, streams(1, 0, 8))
        .unwrap();
    let lists: Vec<&[Decision]> = samples
        .iter()
        .map(|sample| sample.decisions.as_slice())
        .collect();
    let replayed = policy
        .log_probabilities(&parameters, &space, 6, &lists)
        .unwrap();
    for (sample, replayed) in samples.iter().zip(replayed) {
        assert_eq!(sample.log_probability.to_bits(), replayed.to_bits());
    }
    assert!(
        samples
            .iter()
            .any(|sample| sample.decisions.len() != samples[0].decisions.len()),
        "all lists are equally long"
    );
}

#[test]
fn a_slot_does_not_depend_on_the_others() {
    let space = Branching::new();
    let policy = policy(&space, 35, 0.5);
    let parameters = policy.initial_parameters(1);
    let together = policy
        .sample(&parameters, &space, 6, streams(2, 9, 8))
        .unwrap();
    for (slot, sample) in together.iter().enumerate() {
        let alone = policy
            .sample(
                &parameters,
                &space,
                6,
                vec![streams(2, 9, 8).swap_remove(slot)],
            )
            .unwrap();
        assert_eq!(alone[0].decisions, sample.decisions, "slot {slot}");
        assert_eq!(
            alone[0].log_probability.to_bits(),
            sample.log_probability.to_bits(),
            "slot {slot}"
        );
        assert_eq!(
            alone[0].entropy.to_bits(),
            sample.entropy.to_bits(),
            "slot {slot}"
        );
    }
}

#[test]
fn initial_parameters_are_uniform_and_come_from_the_seed_alone() {
    let policy = policy(&Branching::new(), 35, 0.08);
    let parameters = policy.initial_parameters(1);
    assert_eq!(parameters.len(), policy.parameter_count());
    assert_eq!(parameters, policy.initial_parameters(1));
    assert_ne!(parameters, policy.initial_parameters(2));
    let n = parameters.len() as f64;
    let moment = |power: i32| {
        parameters
            .iter()
            .map(|value| f64::from(*value).powi(power))
            .sum::<f64>()
            / n
    };
    assert!(parameters.iter().all(|value| value.abs() <= 0.08));
    assert!(
        moment(1).abs() < 4.0 * 0.08 / (3.0 * n).sqrt(),
        "mean {}",
        moment(1)
    );
    assert!(
        (moment(2) / (0.08 * 0.08 / 3.0) - 1.0).abs() < 0.03,
        "mean square {}",
        moment(2)
    );
}

#[test]
fn an_empty_minibatch_and_an_empty_space_are_no_trouble() {
    let space = Branching::new();
    let policy = policy(&space, 6, 0.08);
    let parameters = policy.initial_parameters(1);
    assert_eq!(
        policy.sample(&parameters, &space, 2, Vec::new()).unwrap(),
        []
    );
    let samples = policy
        .sample(&parameters, &space, 0, streams(1, 0, 2))
        .unwrap();
    assert!(
        samples
            .iter()
            .all(|sample| sample.decisions.is_empty() && sample.log_probability == 0.0)
    );
}
