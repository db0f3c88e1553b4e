//! What the writer knows of the run without asking SQLite: the next ids, the order, the averages that
//! rewards are compared with, and which outcomes are missing. Rebuilt from the database at start and
//! after every failed write, from the newest snapshot on, so it never runs ahead of what is committed.

use super::{CutReward, Sequenced, snapshots};
use crate::policy::{Baseline, ComparedRewards, RewardAverages};
use crate::strategy::LearningSettings;
use rusqlite::Connection;
use std::collections::{BTreeMap, HashMap};

/// A minibatch that has no sequence number yet.
pub(super) struct Open {
    pub controller: u64,
    pub minibatch: u64,
    pub first_id: u64,
    /// In slot order; None: unknown.
    pub rewards: Vec<Option<SlotReward>>,
    pub round: Option<u64>,
    /// Its children may be pruned.
    pub has_pruning: bool,
}

/// What the outcome of a trial is worth to the controller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SlotReward {
    /// Nothing: it failed and is left out.
    Nothing,
    Known(f64),
    /// It failed and is worth the lowest reward of earlier sequence numbers and of its own minibatch.
    Lowest,
}

impl From<Option<f64>> for SlotReward {
    fn from(reward: Option<f64>) -> Self {
        reward.map_or(Self::Nothing, Self::Known)
    }
}

impl Open {
    fn is_complete(&self) -> bool {
        self.rewards.iter().all(Option::is_some)
    }

    /// In slot order; of those that are worth the lowest reward, this one.
    fn filled(&self, lowest: Option<f64>) -> Vec<Option<f64>> {
        let reward = |slot: &Option<SlotReward>| match slot {
            Some(SlotReward::Known(reward)) => Some(*reward),
            Some(SlotReward::Lowest) => lowest,
            Some(SlotReward::Nothing) | None => None,
        };
        self.rewards.iter().map(reward).collect()
    }

    /// The trials that are worth the lowest reward.
    fn unrewarded(&self) -> Vec<u64> {
        (self.first_id..)
            .zip(&self.rewards)
            .filter(|(_, reward)| **reward == Some(SlotReward::Lowest))
            .map(|(trial, _)| trial)
            .collect()
    }
}

/// The writer's memory.
pub(super) struct Ledger {
    pub next_trial: u64,
    pub next_number: u64,
    pub sequence: u64,
    averages: RewardAverages,
    /// The lowest reward that has entered them.
    lowest: Option<f64>,
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
    /// The lowest reward that has entered the averages, up to this minibatch.
    pub lowest: Option<f64>,
    /// Trials that failed and have their reward only now: the one here.
    pub rewarded: Vec<(u64, Option<f64>)>,
    /// Its first trial and its last one, where its children may be pruned.
    pub pruned: Option<(u64, u64)>,
}

impl Ledger {
    /// Reads the committed state: the averages of the newest snapshot, and the minibatches after it
    /// in the order of the sequence numbers.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let next = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
        let mut ledger = Self {
            next_trial: next("SELECT coalesce(max(id), 0) + 1 FROM trials")?,
            next_number: next("SELECT coalesce(max(number), 0) + 1 FROM minibatches")?,
            sequence: 0,
            averages: RewardAverages::default(),
            lowest: None,
            learning: None,
            open: BTreeMap::new(),
            trials: HashMap::new(),
        };
        if let Some(snapshot) = snapshots::newest(connection)? {
            ledger.sequence = snapshot.state.sequence;
            ledger.averages = snapshot.averages;
            ledger.learning = Some(snapshot.learning);
            ledger.lowest = lowest_until(connection, ledger.sequence)?;
        }
        ledger.fold_log(connection)?;
        ledger.load_open(connection)?;
        Ok(ledger)
    }

    fn fold_log(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let after = self.sequence;
        let mut changes = super::recovery::changes(connection, after)?
            .into_iter()
            .peekable();
        let mut statement = connection.prepare(
            "SELECT sequence, reward, baseline, scale FROM minibatches JOIN trials USING (controller, minibatch)
             WHERE sequence > ?1 ORDER BY sequence, slot",
        )?;
        let mut rows = statement.query([after])?;
        let mut current: Option<LoggedRewards> = None;
        while let Some(row) = rows.next()? {
            let sequence: u64 = row.get(0)?;
            if current.as_ref().is_none_or(|one| one.sequence != sequence) {
                self.fold(current.take());
                while let Some((number, learning)) =
                    changes.next_if(|(number, _)| *number < sequence)
                {
                    (self.sequence, self.learning) = (number, Some(learning));
                }
                current = Some(LoggedRewards {
                    sequence,
                    baseline: row.get(2)?,
                    scale: row.get(3)?,
                    rewards: Vec::new(),
                });
            }
            if let Some(current) = &mut current {
                current.rewards.push(row.get(1)?);
            }
        }
        self.fold(current);
        for (number, learning) in changes {
            (self.sequence, self.learning) = (number, Some(learning));
        }
        Ok(())
    }

    fn fold(&mut self, logged: Option<LoggedRewards>) {
        if let Some(logged) = logged {
            self.sequence = logged.sequence;
            let compared = self.compare(logged.baseline, logged.scale, &logged.rewards);
            self.average(&compared);
        }
    }

    fn compare(
        &self,
        baseline: Option<f64>,
        scale: Option<f64>,
        rewards: &[Option<f64>],
    ) -> ComparedRewards {
        match &self.learning {
            Some(learning) => learning.compare(baseline, scale, rewards),
            None => ComparedRewards::new(baseline, None, rewards),
        }
    }

    fn average(&mut self, compared: &ComparedRewards) {
        match &self.learning {
            Some(learning) => learning.average(&mut self.averages, compared),
            None => self.averages.push(compared, Baseline::DEFAULT_DECAY, false),
        }
        self.lowest = lowest(self.lowest, &compared.rewards);
    }

    fn load_open(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT number, controller, minibatch, first_id, round, id, status, reward,
             EXISTS (SELECT 1 FROM unrewarded WHERE unrewarded.trial = trials.id), pruning IS NOT NULL FROM minibatches
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
                has_pruning: row.get(9)?,
            };
            let known = super::is_final(&row.get::<_, String>(6)?);
            let reward = if row.get(8)? {
                SlotReward::Lowest
            } else {
                row.get::<_, Option<f64>>(7)?.into()
            };
            self.open
                .entry(number)
                .or_insert(fresh)
                .rewards
                .push(known.then_some(reward));
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

    /// Whether a minibatch that has no sequence number yet waits for this trial.
    pub(super) fn awaits(&self, trial: u64) -> bool {
        self.trials.contains_key(&trial)
    }

    /// A trial's outcome is known: the minibatches that now take their sequence numbers, in order.
    pub(super) fn finish(&mut self, trial: u64, reward: SlotReward) -> Vec<Numbered> {
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

    /// Gives the next sequence numbers; all of a round are compared with the averages before the
    /// round.
    fn give(&mut self, numbers: &[u64]) -> Vec<Numbered> {
        let baseline = self.averages.baseline();
        let learning = self.learning;
        let scale = learning.and_then(|learning| learning.scale(&self.averages));
        let mut numbered = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let Some(open) = self.open.remove(&number) else {
                continue;
            };
            let unrewarded = open.unrewarded();
            let mut rewards = open.filled(None);
            let mut compared = self.compare(baseline, scale, &rewards);
            let worst = lowest(self.lowest, &compared.rewards);
            if !unrewarded.is_empty() {
                rewards = open.filled(worst);
                compared = self.compare(baseline, scale, &rewards);
            }
            self.average(&compared);
            for trial in (open.first_id..).take(rewards.len()) {
                self.trials.remove(&trial);
            }
            self.sequence += 1;
            let known = |slot: &usize| matches!(open.rewards[*slot], Some(SlotReward::Known(_)));
            let cut = compared.cut(&rewards).filter(known);
            let cut = cut.map(|slot| CutReward {
                trial: open.first_id + slot as u64,
                reward: rewards[slot].unwrap_or_default(),
                counts_as: compared.rewards[slot].unwrap_or_default(),
            });
            let cut = cut.collect();
            numbered.push(Numbered {
                number,
                lowest: self.lowest,
                rewarded: unrewarded.into_iter().map(|trial| (trial, worst)).collect(),
                pruned: open.has_pruning.then(|| {
                    let trials = rewards.len() as u64;
                    (open.first_id, (open.first_id + trials).saturating_sub(1))
                }),
                sequenced: Sequenced {
                    controller: open.controller,
                    minibatch: open.minibatch,
                    sequence: self.sequence,
                    round: open.round,
                    baseline,
                    scale,
                    rewards,
                    cut,
                    // The writer reads them.
                    curves: Vec::new(),
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

/// The rewards of a minibatch as the log has them.
struct LoggedRewards {
    sequence: u64,
    baseline: Option<f64>,
    scale: Option<f64>,
    /// In slot order.
    rewards: Vec<Option<f64>>,
}

/// The lowest of these, and of one before.
fn lowest(before: Option<f64>, rewards: &[Option<f64>]) -> Option<f64> {
    let all = rewards.iter().flatten().copied();
    all.chain(before).reduce(f64::min)
}

/// The lowest reward that entered the averages up to this sequence number. A program that did not
/// write it down had no bound: there the lowest one counts as it is.
fn lowest_until(connection: &Connection, sequence: u64) -> rusqlite::Result<Option<f64>> {
    let last = "SELECT lowest FROM minibatches WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT 1";
    let rows = connection
        .prepare(last)?
        .query_map([sequence], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<Option<f64>>>>()?;
    match rows.first() {
        Some(None) => connection.query_row(
            "SELECT min(reward) FROM minibatches JOIN trials USING (controller, minibatch) WHERE sequence <= ?1",
            [sequence],
            |row| row.get(0),
        ),
        found => Ok(found.copied().flatten()),
    }
}
