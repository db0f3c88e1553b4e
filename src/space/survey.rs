//! How large the networks of a space are: the extremes, and random ones. A function of the space
//! and a seed; must not know what sizes are good for.

use super::{Decision, Next, OptionValue, Space};
use crate::random::{Key, Purpose, Stream};
use rand::RngExt;

/// How many random networks are drawn.
const RANDOM: usize = 200;

/// (parameters, FLOPs) of networks of one depth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The smallest number of each, among the random networks and those that take the smallest or
    /// the largest option everywhere.
    pub smallest: (u64, u64),
    pub largest: (u64, u64),
    /// Among the random networks, each number by itself.
    pub median: (u64, u64),
    /// The random networks, drawn uniformly.
    pub drawn: Vec<(u64, u64)>,
}

/// Which options an extreme network takes.
#[derive(Clone, Copy)]
struct Extreme {
    /// The index of the option where options are texts (the type of a layer); the last one where
    /// there are fewer.
    text: usize,
    largest: bool,
    /// Of strides: they make networks smaller.
    longest_strides: bool,
    skips: u8,
}

/// The sizes of networks of this depth; None: networks of this space have no size that this program
/// knows.
pub fn survey(space: &dyn Space, layers: usize) -> Option<Survey> {
    let size = |list: &[Decision]| {
        let (parameters, flops) = space.build(layers, list).ok()?.size();
        parameters.zip(flops)
    };
    let mut stream = Key::seed(0).stream(Purpose::Decisions);
    let drawn: Vec<(u64, u64)> = (0..RANDOM)
        .map(|_| size(&random(space, layers, &mut stream)))
        .collect::<Option<_>>()?;
    let extremes: Vec<(u64, u64)> = extremes(space)
        .filter_map(|extreme| size(&list(space, layers, extreme)))
        .collect();
    let all = || drawn.iter().chain(&extremes);
    let smallest_of = |of: fn(&(u64, u64)) -> u64| all().map(of).min().unwrap_or(0);
    let largest_of = |of: fn(&(u64, u64)) -> u64| all().map(of).max().unwrap_or(0);
    let median_of = |of: fn(&(u64, u64)) -> u64| {
        let mut numbers: Vec<u64> = drawn.iter().map(of).collect();
        numbers.sort_unstable();
        numbers.get(numbers.len() / 2).copied().unwrap_or(0)
    };
    Some(Survey {
        smallest: (smallest_of(|size| size.0), smallest_of(|size| size.1)),
        largest: (largest_of(|size| size.0), largest_of(|size| size.1)),
        median: (median_of(|size| size.0), median_of(|size| size.1)),
        drawn,
    })
}

/// Networks with the smallest or the largest options, long or short strides, all skip connections or
/// none, and each type of layer.
fn extremes(space: &dyn Space) -> impl Iterator<Item = Extreme> {
    let texts = space.kinds().iter().map(|kind| {
        kind.options
            .iter()
            .filter(|option| matches!(option, OptionValue::Text(_)))
            .count()
    });
    let texts = texts.max().unwrap_or(0).max(1);
    (0..texts * 8).map(|number| Extreme {
        text: number / 8,
        largest: number & 1 == 1,
        longest_strides: number & 2 == 2,
        skips: u8::from(number & 4 == 4),
    })
}

/// A list of decisions drawn uniformly.
fn random(space: &dyn Space, layers: usize, stream: &mut Stream) -> Vec<Decision> {
    finished(space, layers, &mut |next| match next {
        Next::Choose { kind } => {
            Decision::Choice(stream.random_range(0..space.kinds()[kind].options.len()))
        }
        Next::Anchor { earlier } => Decision::Skips(
            (0..earlier)
                .map(|_| u8::from(stream.random::<bool>()))
                .collect(),
        ),
        Next::Done => Decision::Choice(0),
    })
}

/// The list of decisions of an extreme network.
fn list(space: &dyn Space, layers: usize, extreme: Extreme) -> Vec<Decision> {
    finished(space, layers, &mut |next| match next {
        Next::Choose { kind } => {
            let kind = &space.kinds()[kind];
            let numbers =
                kind.options
                    .iter()
                    .enumerate()
                    .filter_map(|(index, option)| match option {
                        OptionValue::Integer(value) => Some((index, *value)),
                        _ => None,
                    });
            let largest = if kind.name.contains("stride") {
                extreme.longest_strides
            } else {
                extreme.largest
            };
            let found = if largest {
                numbers.max_by_key(|number| number.1)
            } else {
                numbers.min_by_key(|number| number.1)
            };
            Decision::Choice(found.map_or_else(
                || extreme.text.min(kind.options.len() - 1),
                |number| number.0,
            ))
        }
        Next::Anchor { earlier } => Decision::Skips(vec![extreme.skips; earlier]),
        Next::Done => Decision::Choice(0),
    })
}

/// A whole list, each decision of which `decide` takes.
fn finished(
    space: &dyn Space,
    layers: usize,
    decide: &mut dyn FnMut(Next) -> Decision,
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    loop {
        match space.next(layers, &decisions) {
            Next::Done => return decisions,
            next => decisions.push(decide(next)),
        }
    }
}
