//! The problems for another program: it asks on standard input, line by line, and is answered on
//! standard output. Must not know strategies.

use crate::problems::Problems;
use crate::trial_run;
use netwright::space::{Decision, Next, OptionValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, Write};

/// What comes after these decisions?
#[derive(Deserialize)]
struct Question {
    problem: String,
    seed: u64,
    /// In flight.
    children: usize,
    /// Counts the trials of the search, from 0.
    trial: usize,
    list: Vec<Decision>,
}

/// Until the input ends: the next decision of a list, or the reward of a finished one.
pub fn serve(problems: &Problems) {
    let mut current = None;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line");
        let question: Question =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let wanted = (question.problem.clone(), question.seed);
        let problem = match &current {
            Some((known, problem)) if *known == wanted => problem,
            _ => {
                let problem = problems.get(&question.problem, question.seed);
                &current.insert((wanted, problem)).1
            }
        };
        let first = question.trial / question.children * question.children;
        let space = problem.space();
        let layers = space.layers(first as u64);
        let place = space.part(layers, &question.list);
        let answer: Value = match space.next(layers, &question.list) {
            Next::Choose { kind } => {
                let kind = &space.kinds()[kind];
                json!({
                    "choose": format!("{place} {}", kind.name),
                    "options": kind.options.len(),
                    "numbers": kind.options.iter().map(number).collect::<Vec<_>>(),
                })
            }
            Next::Anchor { earlier } => {
                json!({ "connect": format!("{place} skip"), "earlier": earlier })
            }
            Next::Done => {
                let mut noise = trial_run::noise(question.seed, question.trial, question.children);
                let (reward, value) = problem.evaluate(layers, &question.list, &mut noise);
                json!({ "reward": reward, "value": value, "optimum": problem.optimum() })
            }
        };
        writeln!(output, "{answer}").expect("a reader");
        output.flush().expect("a reader");
    }
}

fn number(option: &OptionValue) -> Option<f64> {
    match option {
        OptionValue::Integer(value) => Some(*value as f64),
        OptionValue::Float(value) => Some(*value),
        OptionValue::Boolean(_) | OptionValue::Text(_) => None,
    }
}
