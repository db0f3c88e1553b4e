//! What the writer knows of the run without asking SQLite: the next ids, the order, the baseline,
//! and which outcomes are missing. Rebuilt from the database at start and after every failed write,
//! so it never runs ahead of what is committed.

use super::Sequenced;
use crate::policy::Baseline;
use crate::strategy::LearningSettings;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

/// A minibatch that has no sequence number yet.
pub(super) struct Open {
    pub controller: u64,
    pub minibatch: u64,
    pub first_id: u64,
    /// In slot order: unknown; known and failed; known with a reward.
    pub rewards: Vec<Option<Option<f64>>>,
    pub round: Option<u64>,
}

impl Open {
    fn is_complete(&self) -> bool {
        self.rewards.iter().all(Option::is_some)
    }
}

/// The writer's memory.
pub(super) struct Ledger {
    pub next_trial: u64,
    pub next_number: u64,
    pub sequence: u64,
    baseline: Baseline,
    pub learning: Option<LearningSettings>,
    /// By row number: insertion order.
    open: BTreeMap<u64, Open>,
    /// Trial → row number of its open minibatch.
    trials: HashMap<u64, u64>,
}

/// A minibatch (by row number) with the sequence number that it takes.
pub(super) struct Numbered {
    pub number: u64,
    pub sequenced: Sequenced,
}

impl Ledger {
    /// Reads the committed state and folds every reward into the baseline in the order of the sequence
    /// numbers.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let next = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
        let mut ledger = Self {
            next_trial: next("SELECT coalesce(max(id), 0) + 1 FROM trials")?,
            next_number: next("SELECT coalesce(max(number), 0) + 1 FROM minibatches")?,
            sequence: 0,
            baseline: Baseline::default(),
            learning: None,
            open: BTreeMap::new(),
            trials: HashMap::new(),
        };
        ledger.fold_log(connection)?;
        ledger.load_open(connection)?;
        Ok(ledger)
    }

    fn fold_log(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut changes = super::recovery::changes(connection, 0)?
            .into_iter()
            .peekable();
        let mut statement = connection.prepare(
            "SELECT sequence, reward FROM minibatches JOIN trials USING (controller, minibatch)
             WHERE sequence IS NOT NULL ORDER BY sequence, slot",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let sequence: u64 = row.get(0)?;
            while let Some((number, learning)) = changes.next_if(|(number, _)| *number < sequence) {
                (self.sequence, self.learning) = (number, Some(learning));
            }
            self.sequence = sequence;
            if let Some(reward) = row.get(1)? {
                self.fold(reward);
            }
        }
        for (number, learning) in changes {
            (self.sequence, self.learning) = (number, Some(learning));
        }
        Ok(())
    }

    fn fold(&mut self, reward: f64) {
        let decay = self
            .learning
            .map_or(Baseline::DEFAULT_DECAY, |learning| learning.baseline_decay);
        self.baseline.push(reward, decay);
    }

    fn load_open(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT number, controller, minibatch, first_id, round, id, status, reward FROM minibatches
             JOIN trials USING (controller, minibatch) WHERE sequence IS NULL ORDER BY number, slot",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            let fresh = Open {
                controller: row.get(1)?,
                minibatch: row.get(2)?,
                first_id: row.get(3)?,
                rewards: Vec::new(),
                round: row.get(4)?,
            };
            let known = matches!(row.get::<_, String>(6)?.as_str(), "completed" | "failed");
            self.open
                .entry(number)
                .or_insert(fresh)
                .rewards
                .push(if known { Some(row.get(7)?) } else { None });
            self.trials.insert(row.get(5)?, number);
        }
        Ok(())
    }

    /// A minibatch was inserted as row `number`.
    pub(super) fn insert(&mut self, number: u64, open: Open) {
        self.trials.extend(
            (open.first_id..)
                .take(open.rewards.len())
                .map(|trial| (trial, number)),
        );
        self.next_trial = open.first_id + open.rewards.len() as u64;
        self.next_number = number + 1;
        self.open.insert(number, open);
    }

    /// A trial's outcome is known (None: it failed): the minibatches that now take their sequence
    /// numbers, in order.
    pub(super) fn finish(&mut self, trial: u64, reward: Option<f64>) -> Vec<Numbered> {
        let Some(&number) = self.trials.get(&trial) else {
            return Vec::new();
        };
        let Some(open) = self.open.get_mut(&number) else {
            return Vec::new();
        };
        let slot = (trial - open.first_id) as usize;
        open.rewards[slot] = Some(reward);
        let ready: Vec<u64> = match open.round {
            None => vec![number],
            round => self
                .open
                .iter()
                .filter(|(_, open)| open.round == round)
                .map(|(number, _)| *number)
                .collect(),
        };
        if ready
            .iter()
            .all(|number| self.open.get(number).is_some_and(Open::is_complete))
        {
            self.give(&ready)
        } else {
            Vec::new()
        }
    }

    /// Gives the next sequence numbers; all of a round are compared with the baseline before the
    /// round.
    fn give(&mut self, numbers: &[u64]) -> Vec<Numbered> {
        let baseline = self.baseline.value();
        let mut numbered = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let Some(open) = self.open.remove(&number) else {
                continue;
            };
            let rewards: Vec<Option<f64>> =
                open.rewards.iter().copied().map(Option::flatten).collect();
            rewards
                .iter()
                .flatten()
                .for_each(|reward| self.fold(*reward));
            for trial in (open.first_id..).take(rewards.len()) {
                self.trials.remove(&trial);
            }
            self.sequence += 1;
            numbered.push(Numbered {
                number,
                sequenced: Sequenced {
                    controller: open.controller,
                    minibatch: open.minibatch,
                    sequence: self.sequence,
                    round: open.round,
                    baseline,
                    rewards,
                },
            });
        }
        numbered
    }

    /// Learning settings that hold from the next number on; returns the number that they take.
    pub(super) fn change(&mut self, learning: LearningSettings) -> u64 {
        self.sequence += 1;
        self.learning = Some(learning);
        self.sequence
    }
}
