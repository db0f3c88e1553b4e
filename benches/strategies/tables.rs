//! Problems from files: NAS-Bench-Macro, and tables as CSV. Must not know strategies.

use crate::problems::{Problem, choices, decision, options, words};
use netwright::space::OptionValue;
use std::collections::HashMap;
use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Su et al. (2021): eight choices of three, for CIFAR-10; a trial draws one of three repeats.
pub fn nas_bench_macro(path: &Path) -> Problem {
    let table: HashMap<String, serde_json::Value> = serde_json::from_str(&read(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let key = |text: &str| {
        text.bytes()
            .map(|b| usize::from(b - b'0'))
            .collect::<Vec<_>>()
    };
    let numbers = |value: &serde_json::Value| -> Vec<f64> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|value| Some(value.as_f64()? / 100.0))
            .collect()
    };
    let repeats: HashMap<_, _> = table
        .iter()
        .map(|(name, row)| (key(name), numbers(&row["test_acc"])))
        .collect();
    let means: HashMap<_, _> = table
        .iter()
        .map(|(name, row)| (key(name), row["mean_acc"].as_f64().unwrap_or(0.0) / 100.0))
        .collect();
    Problem {
        space: choices(
            (0..8)
                .map(|i| decision(&format!("layer{i}"), words(3)))
                .collect(),
        ),
        optimum: means.values().copied().fold(0.0, f64::max),
        value: Box::new(move |_, list| means[&options(list)]),
        noise: 0.0,
        repeats,
    }
}

/// A column for each decision, whose words are its options in the order in which they come, and one
/// for the reward, which is the value. A list without a row is worth as little as the worst.
pub fn table(path: &Path) -> Problem {
    let text = read(path);
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let names = &header[..header.len().saturating_sub(1)];
    let mut columns: Vec<Vec<&str>> = vec![Vec::new(); names.len()];
    let mut values = HashMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), header.len(), "{}: {line}", path.display());
        let mut list = Vec::with_capacity(names.len());
        for (column, cell) in columns.iter_mut().zip(&cells) {
            let known = column.iter().position(|word| word == cell);
            list.push(known.unwrap_or_else(|| {
                column.push(*cell);
                column.len() - 1
            }));
        }
        let value = cells[names.len()].parse::<f64>();
        values.insert(
            list,
            value.unwrap_or_else(|error| panic!("{}: {line}: {error}", path.display())),
        );
    }
    let texts = |column: &Vec<&str>| {
        let words = column.iter().map(|word| (*word).to_owned());
        words.map(OptionValue::Text).collect()
    };
    let decisions = names
        .iter()
        .zip(&columns)
        .map(|(name, column)| decision(name, texts(column)));
    let worst = values.values().copied().fold(f64::INFINITY, f64::min);
    Problem {
        space: choices(decisions.collect()),
        optimum: values.values().copied().fold(worst, f64::max),
        value: Box::new(move |_, list| values.get(&options(list)).copied().unwrap_or(worst)),
        noise: 0.0,
        repeats: HashMap::new(),
    }
}
