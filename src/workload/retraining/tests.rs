//! Recipes: which trainings the lists make, what each is trained by, and what a list of decisions
//! builds.

use super::{
    Recipe, Recipes, RetrainSettings, RetrainedNetwork, RetrainingSettings, RetrainingStage,
    widened,
};
use crate::child::{ChildSettings, Moment, Schedule};
use crate::space::{
    Architecture, ConvLayer, ConvNetwork, Convolution, Decision, ImageShape, Network, Operation,
    Pool, Space, first_list, next_list,
};
use std::collections::BTreeSet;

fn network(filters: usize) -> Architecture {
    let image = ImageShape {
        channels: 3,
        height: 8,
        width: 8,
    };
    let convolution = Convolution {
        filter_height: 3,
        filter_width: 3,
        filters,
        stride_height: 1,
        stride_width: 1,
    };
    let pool = Operation::MaxPool(Pool { size: 2, stride: 2 });
    let layers = vec![
        ConvLayer::new(convolution, &[]),
        ConvLayer::new(pool, &[1]),
        ConvLayer::new(convolution, &[2]),
    ];
    Architecture {
        version: 1,
        network: Network::Conv(ConvNetwork {
            learning_rate: Some(0.3),
            ..ConvNetwork::new(image, 10, layers)
        }),
    }
}

fn retrained(trial: u64) -> RetrainedNetwork {
    RetrainedNetwork {
        name: format!("trial {trial}"),
        trial: Some(trial),
        architecture: network(trial as usize),
    }
}

fn recipes(trials: &[u64], lists: RetrainSettings) -> Recipes {
    Recipes {
        networks: trials.iter().copied().map(retrained).collect(),
        lists,
    }
}

/// Every decision list of a space, in order.
fn lists(space: &dyn Space) -> Vec<Vec<Decision>> {
    let mut list = first_list(space, 0);
    let mut all = vec![list.clone()];
    while next_list(space, 0, &mut list) {
        all.push(list.clone());
    }
    all
}

#[test]
fn every_network_meets_every_recipe_and_one_entry_is_no_decision() {
    let recipes = recipes(
        &[12, 7],
        RetrainSettings {
            learning_rate: vec![0.1, 0.05],
            weight_decay: vec![1e-4],
            dropouts: vec![vec![0.2, 0.5, 0.25, 0.5], vec![0.0; 4]],
            decay_epoch: vec![2, 4, 8],
            ..RetrainSettings::default()
        },
    );
    assert_eq!(recipes.count(), 24);
    let space = recipes.clone().space();
    let all = lists(&space);
    assert_eq!(all.len(), 24);
    let mut trainings = BTreeSet::new();
    for list in &all {
        let (network, recipe) = recipes.chosen(list).unwrap();
        assert_eq!(recipe.weight_decay, Some(1e-4), "one entry: always this");
        assert_eq!((recipe.batch_norm_epsilon, recipe.init_scale), (None, None));
        trainings.insert(format!("{} {recipe:?}", network.name));
        assert_eq!(space.build(0, list).unwrap().network.kind(), "conv");
    }
    assert_eq!(trainings.len(), 24);
    let last = all.last().unwrap();
    let described = recipes.described(last);
    let named: Vec<(&str, &str)> = described
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            ("network", "trial 7"),
            ("learning_rate", "0.05"),
            ("dropouts", "[0.0, 0.0, 0.0, 0.0]"),
            ("decay_epoch", "8")
        ]
    );
    for wrong in [&last[1..], &[Decision::Choice(2), Decision::Choice(0)]] {
        assert!(recipes.chosen(wrong).is_err() && space.build(0, wrong).is_err());
        assert!(recipes.described(wrong).is_empty());
    }
}

#[test]
fn with_nothing_to_choose_the_only_list_is_empty_and_the_network_keeps_its_learning_rate() {
    let rate = |lists: RetrainSettings| {
        let space = recipes(&[5], lists).space();
        assert!(space.kinds().is_empty());
        assert_eq!(first_list(&space, 0), []);
        let Network::Conv(network) = space.build(0, &[]).unwrap().network else {
            panic!("a convolutional network")
        };
        network.learning_rate
    };
    assert_eq!(rate(RetrainSettings::default()), Some(0.3));
    let own = RetrainSettings {
        learning_rate: vec![0.1],
        ..RetrainSettings::default()
    };
    assert_eq!(rate(own), None, "the recipe's takes its place");
}

#[test]
fn the_learning_rate_falls_at_the_same_share_of_a_longer_training() {
    let child = ChildSettings::default();
    let recipe = Recipe {
        decay_epoch: Some(4),
        batch_norm_epsilon: Some(1e-3),
        ..Recipe::default()
    };
    let rates = |epochs: usize| -> Vec<f64> {
        let child = recipe.applied(&child, epochs, 6);
        assert_eq!((child.epochs, child.batch_norm_epsilon), (epochs, 1e-3));
        let first_step = |epoch| Moment {
            step: 0,
            steps: 1,
            epoch,
            epochs,
        };
        let rate = |epoch| child.learning_rate_at(child.learning_rate, first_step(epoch));
        (0..epochs).map(rate).collect()
    };
    let falls_after = |rates: Vec<f64>| rates.iter().filter(|rate| **rate == 0.1).count();
    assert_eq!(falls_after(rates(6)), 4);
    assert_eq!(falls_after(rates(30)), 20);

    let child = ChildSettings {
        schedule: Schedule::Decay,
        ..ChildSettings::language_model()
    };
    let recipe = Recipe {
        dropouts: Some(vec![0.1, 0.2, 0.3, 0.4]),
        ..recipe
    };
    let long = recipe.applied(&child, 60, 6);
    assert_eq!((long.schedule, long.schedule_after), (Schedule::Decay, 40));
    let shares = [
        long.embedding_dropout,
        long.input_dropout,
        long.recurrent_dropout,
        long.output_dropout,
    ];
    assert_eq!(shares, [0.1, 0.2, 0.3, 0.4]);
    assert_eq!(
        Recipe::default().applied(&child, child.epochs, 6),
        child,
        "as the search trained"
    );
}

#[test]
fn every_convolution_is_given_more_filters_and_nothing_else_changes() {
    let wide = widened(network(6), 40);
    assert_eq!(wide, network(46));
    assert_eq!(widened(network(6), 0), network(6));
}

#[test]
fn a_retraining_crosses_to_another_process_as_it_is() {
    let settings = RetrainingSettings {
        recipes: recipes(&[3], RetrainSettings::default()),
        stage: RetrainingStage::Final {
            reward: 0.1 + 0.2,
            metric: 0.7,
        },
    };
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        serde_json::from_str::<RetrainingSettings>(&text).unwrap(),
        settings
    );
}
