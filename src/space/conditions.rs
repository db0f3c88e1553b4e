//! Conditions between named decisions (`when`): which come first, whether each can ever hold, and
//! how many lists they leave. Must not know the controller.
//!
//! A condition is a conjunction: each decision that it names must have been decided, as one of the
//! options listed for it. So a decision whose condition does not hold is not decided, and neither
//! is any whose condition names it.

use super::{DecisionSettings, OptionValue};
use std::collections::{BTreeMap, BTreeSet};

/// Counting keeps at most this many states at once.
const STATES: usize = 1 << 16;

/// One decision under its condition; numbers of decisions count from 0, in the order in which they
/// are decided.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Its index in the config file, from 0.
    pub index: usize,
    pub options: usize,
    /// Earlier decisions, and which of their options let this one exist.
    pub when: Vec<(usize, BTreeSet<usize>)>,
}

impl Rule {
    /// Whether it is decided, given the options taken before (None: not decided).
    pub fn holds(&self, taken: &[Option<usize>]) -> bool {
        self.when.iter().all(|(earlier, allowed)| {
            taken
                .get(*earlier)
                .copied()
                .flatten()
                .is_some_and(|option| allowed.contains(&option))
        })
    }
}

/// The decisions in the order in which they are decided: that of the config file, but each after
/// those that its condition names.
///
/// # Errors
/// (key, what would be right) of every condition that cannot work.
pub(super) fn rules(decisions: &[DecisionSettings]) -> Result<Vec<Rule>, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let mut rules: Vec<Rule> = Vec::with_capacity(decisions.len());
    for (index, decision) in decisions.iter().enumerate() {
        let mut when = Vec::new();
        for (name, allowed) in &decision.when {
            match named(decisions, index, name, allowed.values()) {
                Ok(condition) => when.push(condition),
                Err(problem) => problems.push((format!("decision[{}].when", index + 1), problem)),
            }
        }
        rules.push(Rule {
            index,
            options: decision.options.len(),
            when,
        });
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let rules = ordered(rules, decisions).map_err(|problem| vec![problem])?;
    let problems = unreachable(&rules, decisions);
    if problems.is_empty() {
        Ok(rules)
    } else {
        Err(problems)
    }
}

/// One part of a condition: which decision, and which of its options.
fn named(
    decisions: &[DecisionSettings],
    index: usize,
    name: &str,
    allowed: &[OptionValue],
) -> Result<(usize, BTreeSet<usize>), String> {
    let own = &decisions[index].name;
    let Some(earlier) = decisions.iter().position(|decision| decision.name == name) else {
        let others = decisions
            .iter()
            .map(|decision| decision.name.as_str())
            .filter(|other| other != own);
        let nearest = others.max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let nearest = nearest.map_or_else(
            || "there is no other decision".to_owned(),
            |nearest| format!("the nearest is \"{nearest}\""),
        );
        return Err(format!("no decision is named \"{name}\"; {nearest}"));
    };
    if earlier == index {
        return Err(format!(
            "\"{own}\" cannot be its own condition: name another decision"
        ));
    }
    if allowed.is_empty() {
        return Err(format!(
            "no option of \"{name}\" is listed, so this can never hold: list one or more"
        ));
    }
    let option = |value: &OptionValue| {
        let options = &decisions[earlier].options;
        options
            .iter()
            .position(|option| option == value)
            .ok_or_else(|| {
                let all: Vec<String> = options.iter().map(written).collect();
                format!(
                    "\"{name}\" has no option {}; its options are {}",
                    written(value),
                    all.join(", ")
                )
            })
    };
    Ok((
        earlier,
        allowed.iter().map(option).collect::<Result<_, _>>()?,
    ))
}

/// As in a config file.
fn written(value: &OptionValue) -> String {
    match value {
        OptionValue::Text(text) => format!("\"{text}\""),
        other => other.to_string(),
    }
}

/// Sorted so that conditions name earlier decisions, and renumbered.
fn ordered(
    rules: Vec<Rule>,
    decisions: &[DecisionSettings],
) -> Result<Vec<Rule>, (String, String)> {
    let mut number: Vec<Option<usize>> = vec![None; rules.len()];
    let mut order = Vec::with_capacity(rules.len());
    while order.len() < rules.len() {
        let ready = |rule: &&Rule| {
            number[rule.index].is_none()
                && rule
                    .when
                    .iter()
                    .all(|(earlier, _)| number[*earlier].is_some())
        };
        let Some(next) = rules.iter().find(ready) else {
            return Err(circle(&rules, &number, decisions));
        };
        number[next.index] = Some(order.len());
        let when = next
            .when
            .iter()
            .map(|(earlier, allowed)| (number[*earlier].unwrap_or(0), allowed.clone()))
            .collect();
        order.push(Rule {
            when,
            ..next.clone()
        });
    }
    Ok(order)
}

/// Names the conditions that wait for each other.
fn circle(
    rules: &[Rule],
    number: &[Option<usize>],
    decisions: &[DecisionSettings],
) -> (String, String) {
    let waiting = |index: usize| {
        rules[index]
            .when
            .iter()
            .map(|(earlier, _)| *earlier)
            .find(|earlier| number[*earlier].is_none())
    };
    let mut path: Vec<usize> = (0..rules.len())
        .find(|index| number[*index].is_none())
        .into_iter()
        .collect();
    while let Some(next) = path.last().copied().and_then(waiting) {
        if let Some(start) = path.iter().position(|index| *index == next) {
            path.drain(..start);
            break;
        }
        path.push(next);
    }
    let first = path.first().copied().unwrap_or(0);
    let names: Vec<String> = path
        .iter()
        .chain([&first])
        .map(|index| format!("\"{}\"", decisions[*index].name))
        .collect();
    let problem = format!(
        "the conditions go in a circle, {}: none of these could be decided first",
        names.join(" needs ")
    );
    (format!("decision[{}].when", first + 1), problem)
}

/// Whether decision `rule` can ever be decided: narrows the options of each decision that its
/// conditions name, directly or through others, to those that all of them allow. `narrowed`: this
/// decision is taken as this option.
///
/// # Errors
/// The decision of which no option is left.
fn needed(rules: &[Rule], rule: usize, narrowed: Option<(usize, usize)>) -> Result<(), usize> {
    let mut left: BTreeMap<usize, BTreeSet<usize>> = narrowed
        .into_iter()
        .map(|(earlier, option)| (earlier, [option].into()))
        .collect();
    let mut waiting = vec![rule];
    let mut seen = BTreeSet::new();
    while let Some(next) = waiting.pop() {
        if !seen.insert(next) {
            continue;
        }
        for (earlier, allowed) in &rules[next].when {
            let options = left.entry(*earlier).or_insert_with(|| allowed.clone());
            options.retain(|option| allowed.contains(option));
            if options.is_empty() {
                return Err(*earlier);
            }
            waiting.push(*earlier);
        }
    }
    Ok(())
}

/// Conditions, and options listed in them, that can never hold.
fn unreachable(rules: &[Rule], decisions: &[DecisionSettings]) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let name = |rule: usize| &decisions[rules[rule].index].name;
    for (number, rule) in rules.iter().enumerate() {
        let key = format!("decision[{}].when", rule.index + 1);
        if let Err(empty) = needed(rules, number, None) {
            let problem = format!(
                "can never hold, so \"{}\" would never be decided: no option of \"{}\" satisfies this and the conditions of the decisions \
                 that it names",
                name(number),
                name(empty)
            );
            problems.push((key, problem));
            continue;
        }
        for (earlier, allowed) in &rule.when {
            for &option in allowed
                .iter()
                .filter(|option| needed(rules, number, Some((*earlier, **option))).is_err())
            {
                let value = written(&decisions[rules[*earlier].index].options[option]);
                let problem = format!(
                    "{} = {value} can never hold here together with the rest of the condition and the conditions of the decisions that \
                     it names: leave {value} out",
                    name(*earlier)
                );
                problems.push((key.clone(), problem));
            }
        }
    }
    problems
}

/// log10 of the number of different lists. Exact: decisions are gone through in order, and lists
/// that agree in all that later conditions ask for are counted together. (Only where that leaves
/// more than 65,536 groups at once, it is the product of all options: an upper bound.)
pub(super) fn log10_count(rules: &[Rule]) -> f64 {
    let bound = || rules.iter().map(|rule| (rule.options as f64).log10()).sum();
    parts(rules)
        .iter()
        .try_fold(0.0, |sum, part| Some(sum + log10_of_part(rules, part)?))
        .unwrap_or_else(bound)
}

/// Decisions that conditions tie together, each group in order: groups multiply.
fn parts(rules: &[Rule]) -> Vec<Vec<usize>> {
    let mut part: Vec<usize> = (0..rules.len()).collect();
    for (number, rule) in rules.iter().enumerate() {
        for (earlier, _) in &rule.when {
            let from = part[number];
            let to = part[*earlier];
            part.iter_mut()
                .filter(|other| **other == from)
                .for_each(|other| *other = to);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    part.iter()
        .enumerate()
        .for_each(|(number, part)| groups.entry(*part).or_default().push(number));
    groups.into_values().collect()
}

fn log10_of_part(rules: &[Rule], part: &[usize]) -> Option<f64> {
    // For each state (what was taken, where a later condition still asks), the natural logarithm of
    // how many lists lead there.
    let mut states: BTreeMap<Vec<Option<usize>>, f64> =
        BTreeMap::from([(vec![None; rules.len()], 0.0)]);
    for &number in part {
        let rule = &rules[number];
        let alike = alike(rules, number);
        let mut next: BTreeMap<Vec<Option<usize>>, f64> = BTreeMap::new();
        for (state, count) in states {
            let branches = if rule.holds(&state) {
                alike.as_slice()
            } else {
                &[(None, 1)]
            };
            for (option, many) in branches {
                let mut state = state.clone();
                state[number] = *option;
                let over = |earlier: usize| {
                    !rules[number + 1..]
                        .iter()
                        .any(|later| later.when.iter().any(|(asked, _)| *asked == earlier))
                };
                (0..=number)
                    .filter(|earlier| over(*earlier))
                    .for_each(|earlier| state[earlier] = None);
                let count = count + (*many as f64).ln();
                next.entry(state)
                    .and_modify(|sum| *sum = sum.max(count) + (-(*sum - count).abs()).exp().ln_1p())
                    .or_insert(count);
            }
        }
        if next.len() > STATES {
            return None;
        }
        states = next;
    }
    Some(states.into_values().sum::<f64>() / std::f64::consts::LN_10)
}

/// Groups of options that every condition treats alike: one option of each, and how many there are
/// in it.
fn alike(rules: &[Rule], number: usize) -> Vec<(Option<usize>, usize)> {
    let asked: Vec<&BTreeSet<usize>> = rules
        .iter()
        .flat_map(|rule| &rule.when)
        .filter(|(earlier, _)| *earlier == number)
        .map(|(_, allowed)| allowed)
        .collect();
    let mut groups: BTreeMap<Vec<bool>, (usize, usize)> = BTreeMap::new();
    for option in 0..rules[number].options {
        let answers = asked
            .iter()
            .map(|allowed| allowed.contains(&option))
            .collect();
        groups
            .entry(answers)
            .and_modify(|(_, many)| *many += 1)
            .or_insert((option, 1));
    }
    groups
        .into_values()
        .map(|(option, many)| (Some(option), many))
        .collect()
}
