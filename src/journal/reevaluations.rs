//! Trials that evaluate the network of an earlier one again: confirmations of the best (`confirms`),
//! and what the user asked for (`retry_of`). Must not know which networks deserve it.

use super::recovery::{OPEN_TRIAL, open_trial, parse};
use super::{OpenTrial, SampledTrial};
use crate::space::Fingerprint;
use crate::strategy::Again;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use serde::Serialize;
use std::collections::HashSet;

/// A trial whose network was evaluated again, to confirm it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confirmed {
    pub trial: u64,
    /// Mean reward of its confirmations; None: none is completed.
    pub reward: Option<f64>,
    /// How many are completed, how many have failed, and how many there are.
    pub completed: u64,
    pub failed: u64,
    pub confirmations: u64,
}

/// A completed or failed trial, as it may be evaluated again.
#[derive(Clone, Debug)]
pub struct Evaluated {
    pub trial: u64,
    /// Mean reward of its confirmations, else its own; None: it has none.
    pub reward: Option<f64>,
    /// Depth at which its decisions were made; None: it was enqueued.
    pub layers: Option<usize>,
    /// Its network; the seed is the trial's own.
    pub sampled: SampledTrial,
    /// How many trials evaluate it again already.
    pub confirmations: u64,
    pub retries: u64,
    /// The trial that it confirms itself.
    pub confirms: Option<u64>,
}

/// A trial to be inserted that evaluates another one's network again.
#[derive(Clone, Debug)]
pub struct NewReevaluation {
    pub again: Again,
    /// As in [`Evaluated`].
    pub layers: Option<usize>,
    pub trial: SampledTrial,
}

/// A trial without an outcome that evaluates another one's network again.
#[derive(Clone, Debug)]
pub struct Reevaluation {
    pub again: Again,
    /// As in [`Evaluated`].
    pub layers: Option<usize>,
    pub trial: OpenTrial,
}

/// How many confirmations a run has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confirmations {
    /// Those after which sampling went on.
    pub before: u64,
    /// Those after the last sampled trial.
    pub current: u64,
    /// Of all of them, those with an outcome.
    pub finished: u64,
}

/// The trials that were confirmed, the best mean first, those without one last.
pub(super) fn confirmed(connection: &Connection) -> Result<Vec<Confirmed>> {
    let sql = "SELECT confirms, status, reward FROM trials WHERE confirms IS NOT NULL ORDER BY confirms, id";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut all: Vec<(Confirmed, f64)> = Vec::new();
    while let Some(row) = rows.next()? {
        let trial = row.get(0)?;
        if all.last().is_none_or(|(last, _)| last.trial != trial) {
            let fresh = Confirmed {
                trial,
                reward: None,
                completed: 0,
                failed: 0,
                confirmations: 0,
            };
            all.push((fresh, 0.0));
        }
        let Some((last, sum)) = all.last_mut() else {
            continue;
        };
        last.confirmations += 1;
        match row.get_ref(1)?.as_str()? {
            "completed" => {
                last.completed += 1;
                *sum += row.get::<_, f64>(2)?;
            }
            "failed" => last.failed += 1,
            _ => {}
        }
    }
    let mut confirmed: Vec<Confirmed> = all
        .into_iter()
        .map(|(confirmed, sum)| Confirmed {
            reward: (confirmed.completed > 0).then(|| sum / confirmed.completed as f64),
            ..confirmed
        })
        .collect();
    let order = |one: &Confirmed| one.reward.unwrap_or(f64::NEG_INFINITY);
    confirmed.sort_by(|a, b| order(b).total_cmp(&order(a)).then(a.trial.cmp(&b.trial)));
    Ok(confirmed)
}

/// How many confirmations there are. One that was tried again counts once.
pub(super) fn count(connection: &Connection) -> Result<Confirmations> {
    let sql = "SELECT coalesce(sum(id < newest), 0), coalesce(sum(id > newest), 0), coalesce(sum(status IN ('completed', 'failed')), 0)
               FROM trials, (SELECT coalesce((SELECT first_id FROM minibatches ORDER BY number DESC LIMIT 1), 0) AS newest)
               WHERE confirms IS NOT NULL AND retry_of IS NULL";
    connection.query_row(sql, [], |row| {
        Ok(Confirmations {
            before: row.get(0)?,
            current: row.get(1)?,
            finished: row.get(2)?,
        })
    })
}

/// Trials without an outcome that evaluate a network again, by id.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Reevaluation>> {
    // `+`: else all trials are searched in the order of their ids.
    let of = |column: &str| -> Result<Vec<Reevaluation>> {
        let sql = format!(
            "SELECT confirms, retry_of, {OPEN_TRIAL} FROM trials WHERE {column} IS NOT NULL
             AND status NOT IN ('completed', 'failed') ORDER BY +id"
        );
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            let (confirms, retry_of): (Option<u64>, Option<u64>) = (row.get(0)?, row.get(1)?);
            let again = Again { confirms, retry_of };
            Ok(Reevaluation {
                layers: layers(connection, again.of())?,
                again,
                trial: open_trial(row, 2)?,
            })
        })?;
        rows.collect()
    };
    let mut all = of("retry_of")?;
    all.extend(
        of("confirms")?
            .into_iter()
            .filter(|one| one.again.retry_of.is_none()),
    );
    all.sort_by_key(|one| one.trial.id);
    Ok(all)
}

/// Depth at which a trial's decisions were made: that of the minibatch of the first trial that it
/// evaluates again; None: that was enqueued.
fn layers(connection: &Connection, trial: u64) -> Result<Option<usize>> {
    let sql = "SELECT coalesce(retry_of, confirms), (SELECT layers FROM minibatches
               WHERE minibatches.controller = trials.controller AND minibatches.minibatch = trials.minibatch)
               FROM trials WHERE id = ?1";
    let mut trial = trial;
    // A trial evaluates an earlier one again, so this ends.
    loop {
        let found: Option<(Option<u64>, Option<usize>)> = connection
            .prepare_cached(sql)?
            .query_row([trial], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match found {
            Some((Some(earlier), _)) if earlier < trial => trial = earlier,
            Some((_, layers)) => return Ok(layers),
            None => return Ok(None),
        }
    }
}

const EVALUATED: &str = "SELECT id, reward, decisions, architecture, seed, parameters, flops, confirms,
    (SELECT count(*) FROM trials AS other WHERE other.confirms = trials.id AND other.retry_of IS NULL),
    (SELECT count(*) FROM trials AS other WHERE other.retry_of = trials.id) FROM trials";

fn evaluated(connection: &Connection, row: &Row) -> Result<Evaluated> {
    let trial = row.get(0)?;
    Ok(Evaluated {
        trial,
        reward: row.get(1)?,
        layers: layers(connection, trial)?,
        sampled: SampledTrial {
            decisions: parse(row, 2)?,
            architecture: parse(row, 3)?,
            seed: row.get(4)?,
            parameters: row.get(5)?,
            flops: row.get(6)?,
        },
        confirms: row.get(7)?,
        confirmations: row.get(8)?,
        retries: row.get(9)?,
    })
}

/// These trials, in this order, as far as they are there.
pub(super) fn trials(connection: &Connection, ids: &[u64]) -> Result<Vec<Evaluated>> {
    let mut statement = connection.prepare(&format!("{EVALUATED} WHERE id = ?1"))?;
    let mut found = Vec::new();
    for id in ids {
        found.extend(
            statement
                .query_row([id], |row| evaluated(connection, row))
                .optional()?,
        );
    }
    Ok(found)
}

/// The completed trials of the best networks, each network once: by the mean of its confirmations
/// where it has one, else by its reward.
pub(super) fn best_networks(connection: &Connection, limit: usize) -> Result<Vec<Evaluated>> {
    let mut best = Vec::new();
    let mut networks = HashSet::new();
    for confirmed in confirmed(connection)? {
        for mut trial in trials(connection, &[confirmed.trial])? {
            networks.insert(trial.sampled.architecture.fingerprint());
            trial.reward = confirmed.reward;
            best.extend(confirmed.reward.is_some().then_some(trial));
        }
    }
    // By the index of rewards, as far as needed.
    let sql = "SELECT id, architecture FROM trials WHERE reward > -9e999 AND +status = 'completed' AND +confirms IS NULL
               AND (reused_from IS NULL OR +enqueued IS NOT NULL) ORDER BY reward DESC, id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut others = 0;
    while others < limit
        && let Some(row) = rows.next()?
    {
        if networks.insert(Fingerprint::of_json(row.get_ref(1)?.as_bytes()?)) {
            best.extend(trials(connection, &[row.get(0)?])?);
            others += 1;
        }
    }
    let order = |one: &Evaluated| one.reward.unwrap_or(f64::NEG_INFINITY);
    best.sort_by(|a, b| order(b).total_cmp(&order(a)).then(a.trial.cmp(&b.trial)));
    best.truncate(limit);
    Ok(best)
}

/// Inserts trials without a controller, queued, from this id on, which moves behind them; returns
/// the first id.
pub(super) fn insert(
    connection: &Connection,
    next: &mut u64,
    trials: &[NewReevaluation],
    now: &str,
) -> Result<u64> {
    let first = *next;
    for trial in trials {
        insert_one(connection, *next, trial, now)?;
        *next += 1;
    }
    Ok(first)
}

fn insert_one(connection: &Connection, id: u64, new: &NewReevaluation, now: &str) -> Result<()> {
    let sql = "INSERT INTO trials (id, decisions, architecture, status, parameters, flops, seed, sampled_at, confirms, retry_of)
               VALUES (?1, ?2, ?3, 'queued', ?4, ?5, ?6, ?7, ?8, ?9)";
    let values = params![
        id,
        super::writer::json(&new.trial.decisions)?,
        super::writer::json(&new.trial.architecture)?,
        new.trial.parameters,
        new.trial.flops,
        new.trial.seed,
        now,
        new.again.confirms,
        new.again.retry_of
    ];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}
