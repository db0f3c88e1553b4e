//! Decision lists as rows of numbers between which distances are meaningful: one column for each
//! place where any list has a decision. "Not decided" is a value of its own, integers and floats
//! stand in their order. Must not know rewards.

use crate::space::{Decision, Next, OptionValue, Space};
use std::collections::BTreeMap;
use std::ops::Range;

/// Columns up to which each has a weight of its own; where there are more, those of one kind share
/// one.
const OWN_WEIGHTS: usize = 40;

/// How much of the distance of two ordered values is there as soon as they differ; the rest grows
/// with the steps between them.
const ORDERED_JUMP: f64 = 0.2;

/// What a decision list decides at which place, by ascending place: kind (the number of kinds: a
/// skip connection), part of the architecture, and the earlier layer of a connection. A value is
/// the option's rank, from 1.
pub(super) type Features = Vec<((usize, usize, usize), u16)>;

/// The decisions of a list by their places.
pub(super) fn features(space: &dyn Space, layers: usize, list: &[Decision]) -> Features {
    let mut features = Vec::with_capacity(list.len());
    for (position, decision) in list.iter().enumerate() {
        let before = &list[..position];
        let part = space.part(layers, before);
        match (decision, space.next(layers, before)) {
            (Decision::Choice(option), Next::Choose { kind }) => {
                let rank = rank(&space.kinds()[kind].options, *option);
                features.push(((kind, part, 0), 1 + rank as u16));
            }
            (Decision::Skips(bits), _) => {
                let place = |earlier| (space.kinds().len(), part, earlier);
                let bits = (0..).zip(bits);
                features.extend(bits.map(|(earlier, bit)| (place(earlier), 1 + u16::from(*bit))));
            }
            _ => {}
        }
    }
    features.sort_unstable();
    features
}

/// Among numbers the position in ascending order, else the option itself.
fn rank(options: &[OptionValue], option: usize) -> usize {
    match (is_ordered(options), options.get(option).and_then(number)) {
        (true, Some(own)) => {
            let below = options.iter().filter_map(number);
            below.filter(|other| *other < own).count()
        }
        _ => option,
    }
}

/// Three numbers or more; two have no order that matters.
fn is_ordered(options: &[OptionValue]) -> bool {
    options.len() > 2 && options.iter().all(|option| number(option).is_some())
}

fn number(option: &OptionValue) -> Option<f64> {
    match option {
        OptionValue::Integer(value) => Some(*value as f64),
        OptionValue::Float(value) => Some(*value),
        OptionValue::Boolean(_) | OptionValue::Text(_) => None,
    }
}

/// Columns that share a weight, and how their values differ.
struct Group {
    columns: Range<usize>,
    /// Of ordered values: what one step between two of them adds.
    step: Option<f64>,
    /// What two rows drawn uniformly differ by, roughly.
    expected: f64,
}

/// Which place is which column.
pub(super) struct Encoding {
    columns: BTreeMap<(usize, usize, usize), usize>,
    groups: Vec<Group>,
}

impl Encoding {
    /// The columns of all places in these lists.
    pub(super) fn new<'a>(
        space: &dyn Space,
        lists: impl IntoIterator<Item = &'a Features>,
    ) -> Self {
        let mut columns = BTreeMap::new();
        for (place, _) in lists.into_iter().flatten() {
            columns.insert(*place, 0);
        }
        let shared = columns.len() > OWN_WEIGHTS;
        let mut groups: Vec<Group> = Vec::new();
        let mut last_kind = None;
        for (number, ((kind, ..), column)) in columns.iter_mut().enumerate() {
            *column = number;
            if !shared || last_kind != Some(*kind) {
                groups.push(Group::new(space, *kind, number));
            }
            last_kind = Some(*kind);
            if let Some(group) = groups.last_mut() {
                group.columns.end = number + 1;
            }
        }
        for group in &mut groups {
            group.expected *= group.columns.len() as f64;
        }
        Self { columns, groups }
    }

    /// One value a column; 0: not decided.
    pub(super) fn row(&self, features: &Features) -> Vec<u16> {
        let mut row = vec![0; self.columns.len()];
        for (place, value) in features {
            if let Some(column) = self.columns.get(place) {
                row[*column] = *value;
            }
        }
        row
    }

    /// Weights that distances are sums by.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// For each group, what two rows drawn uniformly differ by, roughly.
    pub(super) fn expected_distances(&self) -> Vec<f64> {
        self.groups.iter().map(|group| group.expected).collect()
    }

    /// How much two rows differ in each group: between 0 and 1 for each column.
    pub(super) fn distances(&self, a: &[u16], b: &[u16], distances: &mut [f64]) {
        for (group, distance) in self.groups.iter().zip(distances) {
            *distance = group.distance(&a[group.columns.clone()], &b[group.columns.clone()]);
        }
    }
}

impl Group {
    fn new(space: &dyn Space, kind: usize, column: usize) -> Self {
        let options = space
            .kinds()
            .get(kind)
            .map_or(&[][..], |kind| kind.options.as_slice());
        let count = options.len().max(2) as f64;
        let step = is_ordered(options).then(|| (1.0 - ORDERED_JUMP) / (count - 1.0));
        let differ = 1.0 - 1.0 / count;
        // Two uniform ranks among n lie (n² − 1) / 3n apart.
        let apart = (count * count - 1.0) / (3.0 * count);
        Self {
            columns: column..column,
            step,
            expected: step.map_or(differ, |step| differ * ORDERED_JUMP + apart * step),
        }
    }

    fn distance(&self, a: &[u16], b: &[u16]) -> f64 {
        let Some(step) = self.step else {
            let differ = a.iter().zip(b).filter(|(a, b)| a != b);
            return differ.count() as f64;
        };
        let one = |(a, b): (&u16, &u16)| match (*a, *b) {
            (a, b) if a == b => 0.0,
            (0, _) | (_, 0) => 1.0,
            (a, b) => ORDERED_JUMP + step * f64::from(a.abs_diff(b)),
        };
        a.iter().zip(b).map(one).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Allowed, DecisionSettings, ImageShape, SpaceKind, SpaceSettings};

    /// Width in no order, an optimiser, and for one of the two a momentum.
    fn space() -> Box<dyn Space> {
        let decision = |name: &str, options: Vec<OptionValue>| DecisionSettings {
            name: name.into(),
            options,
            when: [].into(),
        };
        let words = |words: &[&str]| {
            let words = words.iter();
            words
                .map(|word| OptionValue::Text((*word).into()))
                .collect()
        };
        let mut momentum = decision("momentum", [0.0, 0.5, 0.9].map(OptionValue::Float).to_vec());
        momentum.when = [(
            "optimiser".to_owned(),
            Allowed::One(OptionValue::Text("sgd".into())),
        )]
        .into();
        let settings = SpaceSettings {
            kind: SpaceKind::Choices,
            decision: vec![
                decision("width", [64, 16, 32].map(OptionValue::Integer).to_vec()),
                decision("optimiser", words(&["adam", "sgd"])),
                momentum,
            ],
            ..SpaceSettings::default()
        };
        let image = ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        settings.build(image, 2)
    }

    fn list(options: &[usize]) -> Vec<Decision> {
        options.iter().copied().map(Decision::Choice).collect()
    }

    #[test]
    fn distances_know_order_and_what_is_not_decided() {
        let space = space();
        let lists = [
            list(&[0, 0]),
            list(&[1, 1, 2]),
            list(&[2, 1, 0]),
            list(&[2, 1, 1]),
        ];
        let features: Vec<Features> = lists
            .iter()
            .map(|list| features(space.as_ref(), 0, list))
            .collect();
        let encoding = Encoding::new(space.as_ref(), &features);
        let rows: Vec<_> = features.iter().map(|row| encoding.row(row)).collect();
        // 64 is the highest of three widths; a momentum is decided for sgd alone.
        assert_eq!(rows[0], [3, 1, 0]);
        assert_eq!(rows[1], [1, 2, 3]);
        let between = |a: usize, b: usize| {
            let mut distances = vec![0.0; encoding.groups()];
            encoding.distances(&rows[a], &rows[b], &mut distances);
            let hundredths = distances.iter().map(|distance| (100.0 * distance).round());
            hundredths.collect::<Vec<_>>()
        };
        assert_eq!(between(0, 1), [100.0, 100.0, 100.0]);
        assert_eq!(between(1, 2), [60.0, 0.0, 100.0]);
        assert_eq!(between(2, 3), [0.0, 0.0, 60.0]);
        assert_eq!(between(3, 3), [0.0; 3]);
    }

    #[test]
    fn layers_are_places_and_many_columns_of_a_kind_share_a_weight() {
        let space = crate::policy::tests::Branching::new();
        let mut stream = crate::random::Key::seed(3).stream(crate::random::Purpose::Decisions);
        let mut features_of = |layers| {
            let list = crate::strategy::moves::uniform_list(&space, layers, &mut stream);
            features(&space, layers, &list)
        };
        let shallow = [features_of(2), features_of(3)];
        let encoding = Encoding::new(&space, &shallow);
        assert_eq!(encoding.groups(), encoding.row(&shallow[0]).len());
        // The third layer is not decided in the first list.
        assert!(
            encoding
                .row(&shallow[0])
                .iter()
                .filter(|value| **value == 0)
                .count()
                >= 3
        );
        let deep: Vec<Features> = (0..4).map(|_| features_of(12)).collect();
        let encoding = Encoding::new(&space, &deep);
        assert_eq!(encoding.groups(), 4, "type, flag, size, connection");
    }
}
