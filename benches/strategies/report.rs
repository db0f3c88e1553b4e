//! Results as tables of Markdown: mean regrets in thousandths with 95% intervals, and what one
//! strategy is ahead of the others, seed by seed. Must not know how a search is made.

use crate::results::Results;
use netwright::report::Interval;
use std::collections::{BTreeMap, BTreeSet};

/// What `auto` is measured by.
const RIVALS: [&str; 3] = ["local-search", "evolution", "tpe"];

/// Regrets of one problem by trials, strategy and seed.
type OfProblem = BTreeMap<usize, BTreeMap<String, BTreeMap<u64, (f64, f64)>>>;

/// In the order of these words; others follow.
fn ordered<'a>(words: impl IntoIterator<Item = &'a str>, order: &[String]) -> Vec<&'a str> {
    let place = |word: &str| {
        let bare = word.split(['+', ':']).next().unwrap_or(word);
        let place = order.iter().position(|other| other == bare);
        (place.unwrap_or(order.len()), word.to_owned())
    };
    let mut words: Vec<&str> = words.into_iter().collect();
    words.sort_by_key(|word| place(word));
    words.dedup();
    words
}

/// For each number in flight: all regrets; each strategy beside `own`; all problems together.
pub fn print(results: &Results, problems: &[String], strategies: &[String], own: &str) {
    let flights: BTreeSet<usize> = results.rows.iter().map(|row| row.flight).collect();
    for flight in flights {
        let mut all: BTreeMap<&str, OfProblem> = BTreeMap::new();
        for row in results.rows.iter().filter(|row| row.flight == flight) {
            let of_trials = all.entry(&row.problem).or_default();
            let of_strategy = of_trials.entry(row.trials).or_default();
            let seeds = of_strategy.entry(row.strategy.clone()).or_default();
            seeds.insert(row.seed, (row.regret, row.tried));
        }
        all.retain(|problem, _| problems.iter().any(|wanted| wanted == problem));
        let names = ordered(all.keys().copied(), problems);
        let shown = all.values().flat_map(|of| of.values());
        let shown: BTreeSet<&str> = shown.flat_map(|of| of.keys().map(String::as_str)).collect();
        let shown = ordered(shown, strategies);
        println!("## {flight} in flight\n");
        println!("| problem | trials | seeds | {} |", shown.join(" | "));
        println!("|{}", "---|".repeat(shown.len() + 3));
        for problem in &names {
            regrets(problem, &all[problem], &shown, |pair| pair.0);
        }
        println!("\nThe best that was tried:\n");
        println!("| problem | trials | seeds | {} |", shown.join(" | "));
        println!("|{}", "---|".repeat(shown.len() + 3));
        for problem in &names {
            regrets(problem, &all[problem], &shown, |pair| pair.1);
        }
        println!("\n{own} minus each, paired by seed; below zero, {own} is better:\n");
        println!("| problem | trials | {} |", shown.join(" | "));
        println!("|{}", "---|".repeat(shown.len() + 2));
        for problem in &names {
            differences(problem, &all[problem], &shown, own);
        }
        println!("\n{own} beside the best of {}:\n", RIVALS.join(", "));
        println!(
            "| problem | trials | best | its regret | {own} minus it | |\n|---|---|---|---|---|---|"
        );
        for problem in &names {
            beside_the_best(problem, &all[problem], own);
        }
        println!("\nMean over the problems, each regret as a share of the mean of random:\n");
        together(&all, &shown, own);
    }
}

fn values(seeds: &BTreeMap<u64, (f64, f64)>, of: impl Fn(&(f64, f64)) -> f64) -> Vec<f64> {
    seeds.values().map(of).collect()
}

fn regrets(
    problem: &str,
    of_trials: &OfProblem,
    shown: &[&str],
    of: impl Fn(&(f64, f64)) -> f64 + Copy,
) {
    let mut title = problem;
    for (trials, strategies) in of_trials {
        let means = |name: &&str| {
            let regrets = values(strategies.get(*name)?, of);
            Some(Interval::of(&regrets))
        };
        let intervals: Vec<Option<Interval>> = shown.iter().map(means).collect();
        let least = intervals.iter().flatten().map(|found| found.mean);
        let least = least.fold(f64::INFINITY, f64::min);
        let counts: BTreeSet<usize> = strategies.values().map(BTreeMap::len).collect();
        let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
        let mut line = format!("| {title} | {trials} | {} |", counts.join(", "));
        for found in intervals {
            let Some(Interval { mean, low, high }) = found else {
                line += " – |";
                continue;
            };
            let (mean_, low, high) = (1e3 * mean, 1e3 * low, 1e3 * high);
            line += &if mean <= least {
                format!(" **{mean_:.1}** ({low:.1} to {high:.1}) |")
            } else {
                format!(" {mean_:.1} ({low:.1} to {high:.1}) |")
            };
        }
        println!("{line}");
        title = "";
    }
}

/// Of the seeds that both have.
fn paired(own: &BTreeMap<u64, (f64, f64)>, other: &BTreeMap<u64, (f64, f64)>) -> Vec<f64> {
    let both = own
        .iter()
        .filter_map(|(seed, a)| Some((a, other.get(seed)?)));
    both.map(|(a, b)| a.0 - b.0).collect()
}

fn differences(problem: &str, of_trials: &OfProblem, shown: &[&str], own: &str) {
    let mut title = problem;
    for (trials, strategies) in of_trials {
        let Some(ours) = strategies.get(own) else {
            continue;
        };
        let mut line = format!("| {title} | {trials} |");
        for name in shown {
            let pairs = strategies.get(*name).map(|other| paired(ours, other));
            match pairs.filter(|pairs| !pairs.is_empty() && *name != own) {
                Some(pairs) => {
                    let Interval { mean, low, high } = Interval::of(&pairs);
                    let (mean, low, high) = (1e3 * mean, 1e3 * low, 1e3 * high);
                    line += &format!(" {mean:+.1} ({low:+.1} to {high:+.1}) |");
                }
                None => line += " |",
            }
        }
        println!("{line}");
        title = "";
    }
}

/// Ahead: the interval lies below zero; level: below a tenth of the other's regret; behind: above
/// zero; else it is not known.
fn beside_the_best(problem: &str, of_trials: &OfProblem, own: &str) {
    let mut title = problem;
    for (trials, strategies) in of_trials {
        let Some(ours) = strategies.get(own) else {
            continue;
        };
        let rivals = RIVALS.iter().filter_map(|name| {
            let other = strategies.get(*name)?;
            let pairs = paired(ours, other);
            let mean = Interval::of(&values(other, |pair| pair.0)).mean;
            (!pairs.is_empty()).then_some((*name, mean, pairs))
        });
        let Some((name, regret, pairs)) = rivals.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            continue;
        };
        let Interval { mean, low, high } = Interval::of(&pairs);
        let verdict = match () {
            () if high < 0.0 => "ahead",
            () if high < regret / 10.0 => "level",
            () if low > 0.0 => "behind",
            () => "open",
        };
        println!(
            "| {title} | {trials} | {name} | {:.1} | {:+.1} ({:+.1} to {:+.1}) | {verdict} |",
            1e3 * regret,
            1e3 * mean,
            1e3 * low,
            1e3 * high
        );
        title = "";
    }
}

/// The regret of each seed as a mean over the problems that have all these strategies.
fn together(all: &BTreeMap<&str, OfProblem>, shown: &[&str], own: &str) {
    println!("| trials | problems | {} |", shown.join(" | "));
    println!("|{}", "---|".repeat(shown.len() + 2));
    let trials: BTreeSet<usize> = all.values().flat_map(BTreeMap::keys).copied().collect();
    for trials in trials {
        let of_problems = all.values().filter_map(|of| of.get(&trials));
        let of_problems: Vec<_> = of_problems
            .filter(|of| of.contains_key("random") && of.contains_key(own))
            .collect();
        let share = |name: &str| -> Option<BTreeMap<u64, (f64, f64)>> {
            let mut sums: BTreeMap<u64, (f64, usize)> = BTreeMap::new();
            for of in &of_problems {
                let random = Interval::of(&values(&of["random"], |pair| pair.0)).mean;
                for (seed, pair) in of.get(name)? {
                    let sum = sums.entry(*seed).or_default();
                    *sum = (sum.0 + pair.0 / random, sum.1 + 1);
                }
            }
            let whole = sums
                .into_iter()
                .filter(|(_, sum)| sum.1 == of_problems.len());
            let means = whole.map(|(seed, sum)| (seed, (sum.0 / sum.1 as f64, 0.0)));
            Some(means.collect())
        };
        let ours = share(own).unwrap_or_default();
        let mut line = format!("| {trials} | {} |", of_problems.len());
        for name in shown {
            let other = share(name).filter(|other| !other.is_empty());
            let Some(other) = other else {
                line += " – |";
                continue;
            };
            let mean = Interval::of(&values(&other, |pair| pair.0)).mean;
            line += &format!(" {mean:.3}");
            let pairs = paired(&ours, &other);
            if *name != own && !pairs.is_empty() {
                let Interval { low, high, .. } = Interval::of(&pairs);
                line += &format!(" [{low:+.3} to {high:+.3}]");
            }
            line += " |";
        }
        println!("{line}");
    }
    println!();
}
