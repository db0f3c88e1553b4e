//! Every list of decisions of a space, one after the other. Must not know what becomes of them.

use super::{Decision, Next, Space};

/// The list that takes the first option everywhere.
pub fn first_list(space: &dyn Space, layers: usize) -> Vec<Decision> {
    let mut list = Vec::new();
    complete(space, layers, &mut list);
    list
}

/// Moves to the next list, the last decision first; false after the last one.
pub fn next_list(space: &dyn Space, layers: usize, list: &mut Vec<Decision>) -> bool {
    while let Some(mut last) = list.pop() {
        let raised = match (&mut last, space.next(layers, list)) {
            (Decision::Choice(option), Next::Choose { kind }) => {
                *option += 1;
                *option < space.kinds()[kind].options.len()
            }
            (Decision::Skips(bits), _) => raise(bits),
            _ => false,
        };
        if raised {
            list.push(last);
            complete(space, layers, list);
            return true;
        }
    }
    false
}

fn complete(space: &dyn Space, layers: usize, list: &mut Vec<Decision>) {
    loop {
        match space.next(layers, list) {
            Next::Choose { .. } => list.push(Decision::Choice(0)),
            Next::Anchor { earlier } => list.push(Decision::Skips(vec![0; earlier])),
            Next::Done => return,
        }
    }
}

/// Binary counting; false when it overflows.
fn raise(bits: &mut [u8]) -> bool {
    for bit in bits.iter_mut().rev() {
        *bit ^= 1;
        if *bit == 1 {
            return true;
        }
    }
    false
}
