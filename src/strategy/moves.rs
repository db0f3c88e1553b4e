//! Changes of a decision list: its neighbours, and the same list at another depth. Must not know
//! rewards.

use crate::random::Stream;
use crate::space::{Decision, Next, Space};
use rand::RngExt;
use std::collections::BTreeMap;

/// Where a decision stands, whatever was decided before it: its kind (None: an anchor point), and
/// [`Space::part`].
type Place = (Option<usize>, usize);

/// Another value for one decision of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Move {
    position: usize,
    /// The option to take, or the earlier layer whose connection changes.
    value: usize,
}

/// A list drawn uniformly, decision by decision.
pub(super) fn uniform_list(space: &dyn Space, layers: usize, stream: &mut Stream) -> Vec<Decision> {
    completed(space, layers, Vec::new(), &BTreeMap::new(), stream)
}

/// Every move of a finished list: each other option of each choice, each connection the other way.
pub(super) fn moves(space: &dyn Space, layers: usize, list: &[Decision]) -> Vec<Move> {
    let mut moves = Vec::new();
    for (position, decision) in list.iter().enumerate() {
        match decision {
            Decision::Choice(taken) => {
                if let Next::Choose { kind } = space.next(layers, &list[..position]) {
                    let others = 0..space.kinds()[kind].options.len();
                    let others = others.filter(|option| option != taken);
                    moves.extend(others.map(|value| Move { position, value }));
                }
            }
            Decision::Skips(bits) => {
                moves.extend((0..bits.len()).map(|value| Move { position, value }));
            }
        }
    }
    moves
}

/// The list after a move: all that still has its place stays as it was, what is asked for newly is
/// drawn uniformly.
pub(super) fn moved(
    space: &dyn Space,
    layers: usize,
    list: &[Decision],
    Move { position, value }: Move,
    stream: &mut Stream,
) -> Vec<Decision> {
    let decision = match &list[position] {
        Decision::Choice(_) => Decision::Choice(value),
        Decision::Skips(bits) => {
            let mut bits = bits.clone();
            bits[value] ^= 1;
            Decision::Skips(bits)
        }
    };
    let mut start = list[..position].to_vec();
    start.push(decision);
    let rest = places(space, layers, list, position + 1);
    completed(space, layers, start, &rest, stream)
}

/// The list after a move drawn uniformly; None: it has none.
pub(super) fn randomly_moved(
    space: &dyn Space,
    layers: usize,
    list: &[Decision],
    stream: &mut Stream,
) -> Option<Vec<Decision>> {
    let moves = moves(space, layers, list);
    if moves.is_empty() {
        return None;
    }
    let chosen = moves[stream.random_range(0..moves.len())];
    Some(moved(space, layers, list, chosen, stream))
}

/// The list of another depth that has the same decisions in the layers that both have; further
/// layers are drawn uniformly.
pub(super) fn at_depth(
    space: &dyn Space,
    from: usize,
    list: &[Decision],
    to: usize,
    stream: &mut Stream,
) -> Vec<Decision> {
    if from == to {
        return list.to_vec();
    }
    completed(space, to, Vec::new(), &places(space, from, list, 0), stream)
}

/// How many choices and connections that both lists have differ.
pub(super) fn differences(
    space: &dyn Space,
    layers: usize,
    a: &[Decision],
    b: &[Decision],
) -> usize {
    let known = places(space, layers, a, 0);
    let other = places(space, layers, b, 0);
    let both = other
        .iter()
        .filter_map(|(place, decision)| Some((known.get(place)?, decision)));
    both.map(|pair| match pair {
        (Decision::Skips(a), Decision::Skips(b)) => a.iter().zip(b).filter(|(a, b)| a != b).count(),
        (a, b) => usize::from(a != b),
    })
    .sum()
}

/// The decisions from this position on, by their places.
fn places<'a>(
    space: &dyn Space,
    layers: usize,
    list: &'a [Decision],
    from: usize,
) -> BTreeMap<Place, &'a Decision> {
    (from..list.len())
        .filter_map(|position| {
            let before = &list[..position];
            let place = place(space, layers, before, space.next(layers, before))?;
            Some((place, &list[position]))
        })
        .collect()
}

fn place(space: &dyn Space, layers: usize, before: &[Decision], next: Next) -> Option<Place> {
    let kind = match next {
        Next::Choose { kind } => Some(kind),
        Next::Anchor { .. } => None,
        Next::Done => return None,
    };
    Some((kind, space.part(layers, before)))
}

/// Ends a list: with what `known` has at the same place, else uniformly.
fn completed(
    space: &dyn Space,
    layers: usize,
    mut list: Vec<Decision>,
    known: &BTreeMap<Place, &Decision>,
    stream: &mut Stream,
) -> Vec<Decision> {
    loop {
        let next = space.next(layers, &list);
        let place = if known.is_empty() {
            None
        } else {
            place(space, layers, &list, next)
        };
        let kept = place.and_then(|place| known.get(&place).copied());
        list.push(match (next, kept) {
            (Next::Done, _) => return list,
            (Next::Choose { .. }, Some(Decision::Choice(option))) => Decision::Choice(*option),
            (Next::Choose { kind }, _) => {
                let options = space.kinds()[kind].options.len();
                Decision::Choice(stream.random_range(0..options))
            }
            (Next::Anchor { earlier }, kept) => {
                let kept: &[u8] = match kept {
                    Some(Decision::Skips(bits)) => bits,
                    _ => &[],
                };
                let bit = |place| match kept.get(place) {
                    Some(bit) => *bit,
                    None => u8::from(stream.random::<bool>()),
                };
                Decision::Skips((0..earlier).map(bit).collect())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::Branching;
    use crate::random::{Key, Purpose};
    use std::collections::BTreeSet;

    fn stream(seed: u64) -> Stream {
        Key::seed(seed).stream(Purpose::Decisions)
    }

    /// Type 1 of size 2; type 0 with flag 1, fed by layer 1.
    fn list() -> Vec<Decision> {
        vec![
            Decision::Choice(1),
            Decision::Choice(2),
            Decision::Skips(vec![]),
            Decision::Choice(0),
            Decision::Choice(1),
            Decision::Skips(vec![1]),
        ]
    }

    #[test]
    fn a_move_changes_one_decision_and_what_depends_on_it() {
        let space = Branching::new();
        let list = list();
        let moves = moves(&space, 2, &list);
        // Other types 2 and 2, other sizes 3, the other flag, one connection.
        assert_eq!(moves.len(), 2 + 3 + 2 + 1 + 1);
        let valid: BTreeSet<String> = space
            .lists(2)
            .iter()
            .map(|list| format!("{list:?}"))
            .collect();
        let mut stream = stream(1);
        for chosen in moves {
            let other = moved(&space, 2, &list, chosen, &mut stream);
            assert!(valid.contains(&format!("{other:?}")), "{chosen:?}");
            assert_eq!(differences(&space, 2, &list, &other), 1, "{chosen:?}");
            // The other layer stays.
            let tail = &list[if chosen.position < 3 { 3 } else { 0 }..];
            let tail = if chosen.position < 3 {
                tail
            } else {
                &list[..3]
            };
            assert!(
                other.windows(3).any(|part| part == tail),
                "{chosen:?}: {other:?}"
            );
        }
    }

    #[test]
    fn another_depth_keeps_the_layers_that_both_have() {
        let space = Branching::new();
        let deeper = at_depth(&space, 2, &list(), 3, &mut stream(2));
        assert_eq!(deeper[..6], list());
        assert_eq!(space.next(3, &deeper), Next::Done);
        let shallower = at_depth(&space, 3, &deeper, 1, &mut stream(3));
        assert_eq!(shallower, list()[..3]);
    }

    #[test]
    fn a_list_is_drawn_uniformly() {
        let space = Branching::new();
        let mut stream = stream(4);
        let drawn: BTreeSet<String> = (0..3_000)
            .map(|_| format!("{:?}", uniform_list(&space, 2, &mut stream)))
            .collect();
        assert_eq!(drawn.len(), space.lists(2).len());
    }
}
