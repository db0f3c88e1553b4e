//! Every strategy on problems whose rewards cost nothing: how far the best trial by validation is
//! from the optimum after 50, 100, 200 and 500 trials. In memory, without actors or a journal; one
//! trial at a time, and 8 in flight.
//!
//! ```text
//! cargo bench --bench strategies -- --seeds 50 [--problems nk,cell] [--strategies guided,evolution]
//!                                   [--flight 1] [--trials 200] [--macro nas-bench-macro_cifar10.json]
//! cargo bench --bench strategies -- --seeds 200 --problems noisy-nk --flight 8 --confirm 10,20,50
//!                                                # the last trials confirm the best
//! cargo bench --bench strategies -- --time      # of one proposal at 1,000 trials
//! ```

mod problems;
mod trial_run;

use netwright::report::Interval;
use netwright::strategy::confirmed_networks;
use problems::Problem;
use std::collections::BTreeMap;
use trial_run::TrialRun;

const CHECKPOINTS: [usize; 4] = [50, 100, 200, 500];
const STRATEGIES: [&str; 6] = [
    "random",
    "reinforce",
    "ppo",
    "evolution",
    "local-search",
    "guided",
];

struct Arguments {
    seeds: u64,
    trials: usize,
    problems: Option<Vec<String>>,
    strategies: Vec<String>,
    flights: Vec<usize>,
    table: Option<String>,
    time: bool,
    /// So many of the trials confirm the best, and so many networks share them; none: by the rule of
    /// `run.confirm`.
    confirm: Vec<u64>,
    networks: Option<usize>,
}

impl Arguments {
    fn parse() -> Self {
        let mut arguments = Self {
            seeds: 10,
            trials: 500,
            problems: None,
            strategies: STRATEGIES.map(str::to_owned).to_vec(),
            flights: vec![1, 8],
            table: std::env::var("NAS_BENCH_MACRO").ok(),
            time: false,
            confirm: Vec::new(),
            networks: None,
        };
        let mut words = std::env::args().skip(1);
        // Plain `cargo bench` looks at the time alone.
        arguments.time = words.len() < 2;
        while let Some(word) = words.next() {
            if word == "--bench" {
                continue; // cargo's own
            }
            if word == "--time" {
                arguments.time = true;
                continue;
            }
            let value = words
                .next()
                .unwrap_or_else(|| panic!("{word} needs a value"));
            let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match word.as_str() {
                "--seeds" => arguments.seeds = value.parse().expect("a number of seeds"),
                "--trials" => arguments.trials = value.parse().expect("a number of trials"),
                "--problems" => arguments.problems = Some(list()),
                "--strategies" => arguments.strategies = list(),
                "--flight" => {
                    let numbers = list().into_iter();
                    arguments.flights = numbers.map(|n| n.parse().expect("a number")).collect();
                }
                "--confirm" => {
                    let numbers = list().into_iter();
                    arguments.confirm = numbers.map(|n| n.parse().expect("a number")).collect();
                }
                "--networks" => arguments.networks = Some(value.parse().expect("a number")),
                "--macro" => arguments.table = Some(value),
                _ => panic!("{word}: there is no such argument"),
            }
        }
        arguments
    }
}

/// One trial at a time: strategies that learn from minibatches still take four children for one.
fn children(strategy: &str, flight: usize) -> usize {
    match strategy {
        "reinforce" | "ppo" => flight.max(4),
        _ => flight,
    }
}

/// Regrets of each checkpoint, by seed.
fn regrets(problem: &str, strategy: &str, flight: usize, arguments: &Arguments) -> Vec<Vec<f64>> {
    let mut regrets = vec![Vec::new(); CHECKPOINTS.len()];
    for seed in 1..=arguments.seeds {
        let problem = Problem::new(problem, seed, arguments.table.as_deref());
        let run = TrialRun {
            strategy,
            seed,
            children: children(strategy, flight),
            trials: arguments.trials,
        };
        let found = trial_run::best_by_trial(&run.trials(&problem));
        for (checkpoint, regrets) in CHECKPOINTS.iter().zip(&mut regrets) {
            if let Some(found) = found.get(checkpoint - 1) {
                regrets.push(problem.optimum() - found);
            }
        }
    }
    regrets
}

fn main() {
    let arguments = Arguments::parse();
    let problems = arguments.problems.clone().unwrap_or_else(|| {
        let table = arguments.table.iter().map(|_| "macro".to_owned());
        table.chain(problems::NAMES.map(str::to_owned)).collect()
    });
    if arguments.time {
        for problem in &problems {
            for strategy in &arguments.strategies {
                let problem_ = Problem::new(problem, 1, arguments.table.as_deref());
                let seconds = trial_run::proposal_seconds(strategy, &problem_);
                println!(
                    "{problem} {strategy}: {:.2} ms a proposal of 8",
                    1e3 * seconds
                );
            }
        }
        return;
    }
    for flight in &arguments.flights {
        for problem in &problems {
            if !arguments.confirm.is_empty() {
                for strategy in &arguments.strategies {
                    confirmed(problem, strategy, *flight, &arguments);
                }
                continue;
            }
            report(problem, *flight, &arguments);
        }
    }
}

/// Mean regrets (times 1,000) of one strategy without confirmations and with them, at the same
/// number of trials in all; in brackets the 95% interval of the paired difference: below zero,
/// confirming is better.
fn confirmed(problem: &str, strategy: &str, flight: usize, arguments: &Arguments) {
    println!(
        "## {problem}, {strategy}, {flight} in flight, {} seeds",
        arguments.seeds
    );
    println!("| confirmations | 50 | 100 | 200 | 500 |\n|---|---|---|---|---|");
    let lines = arguments.confirm.len() + 1;
    let mut regrets = vec![vec![Vec::new(); CHECKPOINTS.len()]; lines];
    for seed in 1..=arguments.seeds {
        let instance = Problem::new(problem, seed, arguments.table.as_deref());
        let run = TrialRun {
            strategy,
            seed,
            children: children(strategy, flight),
            trials: arguments.trials,
        };
        let trials = run.trials(&instance);
        let best = trial_run::best_by_trial(&trials);
        for (index, checkpoint) in CHECKPOINTS.iter().enumerate() {
            if *checkpoint > trials.len() {
                continue;
            }
            let optimum = instance.optimum();
            regrets[0][index].push(optimum - best[checkpoint - 1]);
            for (line, &confirm) in (1..).zip(&arguments.confirm) {
                let sampled = &trials[..checkpoint - confirm as usize];
                let networks = arguments
                    .networks
                    .unwrap_or_else(|| confirmed_networks(confirm));
                let found = run.confirmed(&instance, sampled, confirm, networks);
                regrets[line][index].push(optimum - found);
            }
        }
    }
    let counts = std::iter::once(0).chain(arguments.confirm.iter().copied());
    for (confirm, own) in counts.zip(&regrets) {
        let mut line = format!("| {confirm} |");
        for (own, without) in own.iter().zip(&regrets[0]) {
            let mean = Interval::of(own).mean;
            let pairs = own.iter().zip(without);
            let differences: Vec<f64> = pairs.map(|(own, without)| own - without).collect();
            let Interval { low, high, .. } = Interval::of(&differences);
            line += &format!(
                " {:.1} [{:+.1} to {:+.1}] |",
                1e3 * mean,
                1e3 * low,
                1e3 * high
            );
        }
        println!("{line}");
    }
    println!();
}

/// Mean regrets (times 1,000) with 95% intervals, and in brackets the paired difference to the last
/// strategy: above zero, that one is better.
fn report(problem: &str, flight: usize, arguments: &Arguments) {
    println!(
        "## {problem}, {flight} in flight, {} seeds",
        arguments.seeds
    );
    println!("| strategy | 50 | 100 | 200 | 500 |\n|---|---|---|---|---|");
    let all: BTreeMap<&str, Vec<Vec<f64>>> = arguments
        .strategies
        .iter()
        .map(|strategy| {
            let regrets = regrets(problem, strategy, flight, arguments);
            (strategy.as_str(), regrets)
        })
        .collect();
    let last = arguments.strategies.last().map(|name| &all[name.as_str()]);
    for strategy in &arguments.strategies {
        let mut line = format!("| {strategy} |");
        for (index, regrets) in all[strategy.as_str()].iter().enumerate() {
            if regrets.is_empty() {
                line += " |";
                continue;
            }
            let Interval { mean, low, high } = Interval::of(regrets);
            line += &format!(" {:.1} ({:.1} to {:.1})", 1e3 * mean, 1e3 * low, 1e3 * high);
            if let Some(last) = last {
                let pairs = regrets.iter().zip(&last[index]);
                let differences: Vec<f64> = pairs.map(|(own, last)| own - last).collect();
                let Interval { low, high, .. } = Interval::of(&differences);
                line += &format!(" [{:+.1} to {:+.1}]", 1e3 * low, 1e3 * high);
            }
            line += " |";
        }
        println!("{line}");
    }
    println!();
}
