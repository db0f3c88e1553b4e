//! Decision lists of a run as a table for people: one named column for each decision that any list
//! has, the values that occur in it, one row a list. Must not know rewards.

use crate::space::{Decision, Space};
use std::collections::HashMap;

/// What a row holds in a column that its list does not decide.
pub const NOT_DECIDED: u16 = 0;

/// The columns seen so far. Lists of other depths bring further ones.
#[derive(Clone, Debug, Default)]
pub struct DecisionColumns {
    columns: Vec<Seen>,
    by_name: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Seen {
    name: String,
    /// In the order in which they were met: value v of a row is the text at v − 1.
    texts: Vec<String>,
}

/// A column as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionColumn {
    /// As [`Space::describe`] names the decision.
    pub name: String,
    /// What occurred, in ascending order where it is numbers, else in the order of the options.
    pub options: Vec<String>,
    /// The options are numbers, three or more.
    pub is_ordered: bool,
    /// For each value of a row but [`NOT_DECIDED`], the index of its option; values count from 1.
    ranks: Vec<usize>,
}

impl DecisionColumn {
    /// The index of the option that a row's value stands for; None: not decided.
    pub fn option(&self, value: u16) -> Option<usize> {
        let index = usize::from(value).checked_sub(1)?;
        self.ranks.get(index).copied()
    }
}

impl DecisionColumns {
    /// A list as one value a column. It may be shorter than rows of later lists: what it lacks at
    /// its end is [`NOT_DECIDED`].
    pub fn row(&mut self, space: &dyn Space, layers: usize, decisions: &[Decision]) -> Vec<u16> {
        let described = space.describe(layers, decisions);
        let mut row = vec![NOT_DECIDED; self.columns.len()];
        for (name, text) in described {
            let column = self.column(name);
            row.resize(self.columns.len().max(row.len()), NOT_DECIDED);
            if !text.is_empty() {
                row[column] = self.columns[column].value(text);
            }
        }
        row
    }

    fn column(&mut self, name: String) -> usize {
        if let Some(&column) = self.by_name.get(&name) {
            return column;
        }
        self.by_name.insert(name.clone(), self.columns.len());
        self.columns.push(Seen {
            name,
            texts: Vec::new(),
        });
        self.columns.len() - 1
    }

    /// The columns as they are shown.
    pub fn shown(&self, space: &dyn Space) -> Vec<DecisionColumn> {
        let known: Vec<Vec<String>> = space
            .kinds()
            .iter()
            .map(|kind| kind.options.iter().map(ToString::to_string).collect())
            .collect();
        self.columns.iter().map(|seen| seen.shown(&known)).collect()
    }
}

impl Seen {
    fn value(&mut self, text: String) -> u16 {
        let known = self.texts.iter().position(|known| *known == text);
        let index = known.unwrap_or_else(|| {
            self.texts.push(text);
            self.texts.len() - 1
        });
        u16::try_from(index + 1).unwrap_or(u16::MAX)
    }

    /// `known`: the options of each kind of decision, as texts.
    fn shown(&self, known: &[Vec<String>]) -> DecisionColumn {
        let numbers: Option<Vec<f64>> = self.texts.iter().map(|text| text.parse().ok()).collect();
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        if let Some(numbers) = &numbers {
            order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
        } else {
            let has_all = |options: &&Vec<String>| self.texts.iter().all(|t| options.contains(t));
            let options = known.iter().find(has_all);
            let place = |index: usize| {
                let text = &self.texts[index];
                let place = options.and_then(|options| options.iter().position(|o| o == text));
                (place, text)
            };
            order.sort_by(|a, b| place(*a).cmp(&place(*b)));
        }
        let mut ranks = vec![0; order.len()];
        for (rank, index) in order.iter().enumerate() {
            ranks[*index] = rank;
        }
        DecisionColumn {
            name: self.name.clone(),
            options: order
                .iter()
                .map(|index| self.texts[*index].clone())
                .collect(),
            is_ordered: numbers.is_some() && order.len() > 2,
            ranks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{
        Allowed, DecisionSettings, ImageShape, OptionValue, SpaceKind, SpaceSettings,
    };

    /// A width in no order, an optimiser, and for one of the two a momentum.
    fn space() -> Box<dyn Space> {
        let decision = |name: &str, options: Vec<OptionValue>| DecisionSettings {
            name: name.into(),
            options,
            when: [].into(),
        };
        let text = |word: &str| OptionValue::Text(word.into());
        let mut momentum = decision("momentum", [0.5, 0.9].map(OptionValue::Float).to_vec());
        momentum.when = [("optimiser".to_owned(), Allowed::One(text("sgd")))].into();
        let settings = SpaceSettings {
            kind: SpaceKind::Choices,
            decision: vec![
                decision("width", [64, 16, 128].map(OptionValue::Integer).to_vec()),
                decision("optimiser", vec![text("sgd"), text("adam")]),
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

    #[test]
    fn numbers_stand_in_their_order_and_words_in_that_of_the_options() {
        let space = space();
        let mut columns = DecisionColumns::default();
        let lists: [&[usize]; 3] = [&[2, 1], &[1, 0, 1], &[0, 1]];
        let rows = lists.map(|list| {
            let list: Vec<_> = list.iter().copied().map(Decision::Choice).collect();
            columns.row(space.as_ref(), 0, &list)
        });
        let shown = columns.shown(space.as_ref());
        let names: Vec<&str> = shown.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["width", "optimiser", "momentum"]);
        assert_eq!(shown[0].options, ["16", "64", "128"]);
        assert!(shown[0].is_ordered && !shown[1].is_ordered && !shown[2].is_ordered);
        assert_eq!(shown[1].options, ["sgd", "adam"]);
        let option = |row: usize, column: usize| shown[column].option(rows[row][column]);
        assert_eq!(
            [option(0, 0), option(1, 0), option(2, 0)],
            [Some(2), Some(0), Some(1)]
        );
        assert_eq!([option(0, 1), option(1, 1)], [Some(1), Some(0)]);
        // A momentum is decided for sgd alone.
        assert_eq!([option(0, 2), option(1, 2)], [None, Some(0)]);
        assert_eq!(shown[2].options, ["0.9"]);
    }
}
