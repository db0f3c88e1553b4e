//! Every strategy on problems whose rewards cost nothing: how far the best trial by validation is
//! from the optimum after 50, 100, 200 and 500 trials. In memory, without actors or a journal; one
//! trial at a time, and 8 in flight.
//!
//! ```text
//! cargo bench --bench strategies -- --seeds 50 [--problems nk,cell] [--strategies guided,evolution]
//!     [--flight 1] [--trials 200] [--macro nas-bench-macro_cifar10.json] [--tables FOLDER]
//!     [--confirm 10,20,50]      # besides: the last trials confirm the best, as run.confirm does
//!     [--results A.csv,B.csv]   # what is there is not measured again; new rows go to the first file
//!     [--beside evolution]      # which the others are compared with; guided, if nothing is said
//!     [--strategies ppo,ppo:clip=0.4:learning_rate=0.01]     # other learning settings, as the log names them
//! cargo bench --bench strategies -- --time      # of one proposal at 1,000 trials
//! cargo bench --bench strategies -- --serve     # the problems for benches/peers/tpe.py
//! ```
//!
//! It measures seed after seed, so that it may be stopped at any time: with `--seeds 0` it prints the
//! tables of what is in the files.

mod problems;
mod report;
mod results;
mod serve;
mod tables;
mod trial_run;

use netwright::strategy::confirmed_networks;
use problems::{Problem, Problems};
use results::{Results, Row};
use std::path::PathBuf;
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
    problems: Problems,
    names: Vec<String>,
    strategies: Vec<String>,
    flights: Vec<usize>,
    time: bool,
    serve: bool,
    /// So many of the trials confirm the best, and so many networks share them; none: by the rule of
    /// `run.confirm`.
    confirm: Vec<u64>,
    networks: Option<usize>,
    results: Vec<PathBuf>,
    beside: String,
}

impl Arguments {
    fn parse() -> Self {
        let mut arguments = Self {
            seeds: 10,
            trials: 500,
            problems: Problems::default(),
            names: Vec::new(),
            strategies: STRATEGIES.map(str::to_owned).to_vec(),
            flights: vec![1, 8],
            time: false,
            serve: false,
            confirm: Vec::new(),
            networks: None,
            results: Vec::new(),
            beside: "guided".into(),
        };
        arguments.problems.nas_bench_macro = std::env::var_os("NAS_BENCH_MACRO").map(Into::into);
        let mut words = std::env::args().skip(1);
        // Plain `cargo bench` looks at the time alone.
        arguments.time = words.len() < 2;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--bench" => {} // cargo's own
                "--time" => arguments.time = true,
                "--serve" => (arguments.serve, arguments.time) = (true, false),
                _ => {
                    let value = words.next();
                    let value = value.unwrap_or_else(|| panic!("{word} needs a value"));
                    arguments.set(&word, &value);
                }
            }
        }
        if arguments.names.is_empty() {
            arguments.names = arguments.problems.names();
        }
        arguments
    }

    fn set(&mut self, word: &str, value: &str) {
        let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
        let number = |text: &str| -> usize {
            text.parse()
                .unwrap_or_else(|_| panic!("{word}: {text} is no number"))
        };
        let numbers = || value.split(',').map(number).collect::<Vec<_>>();
        match word {
            "--seeds" => self.seeds = number(value) as u64,
            "--trials" => self.trials = number(value),
            "--problems" => self.names = list(),
            "--strategies" => self.strategies = list(),
            "--flight" => self.flights = numbers(),
            "--confirm" => self.confirm = numbers().into_iter().map(|n| n as u64).collect(),
            "--networks" => self.networks = Some(number(value)),
            "--macro" => self.problems.nas_bench_macro = Some(value.into()),
            "--tables" => self.problems.tables = Some(value.into()),
            "--results" => self.results = value.split(',').map(PathBuf::from).collect(),
            "--beside" => self.beside = value.into(),
            _ => panic!("{word}: there is no such argument"),
        }
    }
}

/// One trial at a time: strategies that learn from minibatches still take four children for one.
fn children(strategy: &str, flight: usize) -> usize {
    match strategy.split(':').next() {
        Some("reinforce" | "ppo") => flight.max(4),
        _ => flight,
    }
}

fn main() {
    let arguments = Arguments::parse();
    if arguments.serve {
        return serve::serve(&arguments.problems);
    }
    if arguments.time {
        return time(&arguments);
    }
    let mut results = Results::open(&arguments.results);
    for flight in &arguments.flights {
        for seed in 1..=arguments.seeds {
            for problem in &arguments.names {
                measure(problem, *flight, seed, &arguments, &mut results);
            }
        }
    }
    report::print(
        &results,
        &arguments.names,
        &arguments.strategies,
        &arguments.beside,
    );
}

fn time(arguments: &Arguments) {
    for problem in &arguments.names {
        for strategy in &arguments.strategies {
            let instance = arguments.problems.get(problem, 1);
            let milliseconds = 1e3 * trial_run::proposal_seconds(strategy, &instance);
            println!("{problem} {strategy}: {milliseconds:.2} ms a proposal of 8");
        }
    }
}

/// Every strategy that the results do not have yet.
fn measure(problem: &str, flight: usize, seed: u64, arguments: &Arguments, results: &mut Results) {
    let checkpoints = CHECKPOINTS.into_iter();
    let checkpoints: Vec<usize> = checkpoints.filter(|n| *n <= arguments.trials).collect();
    let last = *checkpoints.last().expect("--trials 50 or more");
    let mut instance = None;
    for strategy in &arguments.strategies {
        let is_known = |name: &str| results.has(problem, flight, name, seed, last);
        let mut confirmed = arguments.confirm.iter();
        if is_known(strategy) && confirmed.all(|n| is_known(&format!("{strategy}+{n}"))) {
            continue;
        }
        let instance = instance.get_or_insert_with(|| arguments.problems.get(problem, seed));
        let run = TrialRun {
            strategy,
            seed,
            children: children(strategy, flight),
            trials: last,
        };
        let rows = searched(&run, instance, &checkpoints, arguments);
        let rows = rows.into_iter().map(|(name, trials, regret, tried)| Row {
            problem: problem.to_owned(),
            flight,
            strategy: name,
            seed,
            trials,
            regret,
            tried,
        });
        results.add(rows.collect());
    }
}

/// Name, trials, regret, and that of the best that was tried: of one search without confirmations
/// and with them, at the same number of trials in all.
fn searched(
    run: &TrialRun,
    problem: &Problem,
    checkpoints: &[usize],
    arguments: &Arguments,
) -> Vec<(String, usize, f64, f64)> {
    let trials = run.trials(problem);
    let optimum = problem.optimum();
    let found = trial_run::best_by_trial(&trials);
    let mut rows = Vec::new();
    for &checkpoint in checkpoints {
        let tried = |count: usize| {
            let values = trials[..count].iter().map(|trial| trial.truth);
            optimum - values.fold(f64::NEG_INFINITY, f64::max)
        };
        rows.push((
            run.strategy.to_owned(),
            checkpoint,
            optimum - found[checkpoint - 1],
            tried(checkpoint),
        ));
        for &confirm in &arguments.confirm {
            let Some(sampled) = checkpoint.checked_sub(confirm as usize).filter(|n| *n > 0) else {
                continue;
            };
            let networks = arguments.networks;
            let networks = networks.unwrap_or_else(|| confirmed_networks(confirm));
            let found = run.confirmed(problem, &trials[..sampled], confirm, networks);
            rows.push((
                format!("{}+{confirm}", run.strategy),
                checkpoint,
                optimum - found,
                tried(sampled),
            ));
        }
    }
    rows
}
