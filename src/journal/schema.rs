//! The tables of `search.db`. `trials` and `epochs` are public: scripts of users read them; the
//! others may change with `VERSION`.

/// `PRAGMA user_version` of what this program writes. Version 1 had no column `enqueued`, and no
/// trial without a controller. Version 2 did not store what a proposal had seen
/// (`history_sequence`, `history_trial`), nor the format of a snapshot. Version 3 had no scale beside the
/// baseline, and kept no parameters for open minibatches. Version 4 evaluated no network again
/// (`confirms`, `retry_of`), and knew no status `pruned` and no `cost`.
pub(super) const VERSION: i64 = 5;

/// The key of `meta` that holds the version by which a run was begun; no run of a version before 4
/// has it.
pub(super) const BEGUN_BY: &str = "begun_by_version";

/// The oldest version that is read, and brought up to date when its run is continued.
pub(super) const OLDEST: i64 = 1;

/// Added to every version: how many processes in a row died while this trial ran without progress,
/// of a cause that it can have brought about (`deaths`; earlier programs counted every death there)
/// or of none that is known (`interrupted`), and how far it was when the last one died: epochs that
/// had ended, steps of the next one, and a program's own files (number, bytes, newest change).
pub(super) const ADDED: &str = "
CREATE TABLE IF NOT EXISTS deaths (trial INTEGER PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS interrupted (
    trial INTEGER PRIMARY KEY,
    unexplained INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    step INTEGER NOT NULL,
    files TEXT NOT NULL
);
";

/// What a run of version 1 looks like to readers, who change nothing: a temporary view hides the
/// table of its name.
pub(super) const TRIALS_OF_1: &str = "
CREATE TEMP VIEW trials AS
    SELECT *, NULL AS enqueued, NULL AS confirms, NULL AS retry_of, NULL AS cost FROM main.trials;
";

/// The same for versions 2 to 4.
pub(super) const TRIALS_OF_2: &str = "
CREATE TEMP VIEW trials AS SELECT *, NULL AS confirms, NULL AS retry_of, NULL AS cost FROM main.trials;
";

/// For versions 1 and 2.
pub(super) const VIEWS_OF_2: &str = "
CREATE TEMP VIEW minibatches AS
    SELECT *, NULL AS history_sequence, NULL AS history_trial, 0 AS repeated, NULL AS scale, NULL AS lowest, NULL AS pruning, 0 AS redrawn
    FROM main.minibatches;
CREATE TEMP VIEW snapshots AS SELECT *, 1 AS format FROM main.snapshots;
";

/// For version 3 alone: the earlier ones have a view of this name.
pub(super) const VIEWS_OF_3: &str = "
CREATE TEMP VIEW minibatches AS SELECT *, NULL AS scale, NULL AS lowest, NULL AS pruning, 0 AS redrawn FROM main.minibatches;
";

/// The same for version 4.
pub(super) const VIEWS_OF_4: &str = "CREATE TEMP VIEW minibatches AS SELECT *, NULL AS pruning, 0 AS redrawn FROM main.minibatches;";

/// For versions 1 to 3: tables that they do not have.
pub(super) const MISSING_BEFORE_4: &str = "
CREATE TEMP VIEW held AS SELECT 0 AS controller, 0 AS minibatch, x'' AS parameters, '' AS checksum WHERE 0;
CREATE TEMP VIEW unrewarded AS SELECT 0 AS trial WHERE 0;
";

/// From a version before 5, around `TRIALS` and a copy of the rows: SQLite can change no check of a
/// table, and take NOT NULL from no column.
pub(super) const BEFORE_TRIALS: &str = "
ALTER TABLE trials RENAME TO old;
DROP INDEX trials_by_status;
DROP INDEX trials_by_reward;
DROP INDEX IF EXISTS trials_enqueued;
DROP INDEX IF EXISTS trials_finished;
";

/// The columns of `trials` in version 1; version 2 added `enqueued`.
pub(super) const COLUMNS_OF_1: &str = "id, controller, minibatch, slot, decisions, architecture, status, reward, metric, parameters, flops, \
     seed, device, attempt, interruptions, sampled_at, started_at, finished_at, seconds, error, reused_from";

/// From version 2 to 3.
pub(super) const UPGRADE_2: &str = "
ALTER TABLE minibatches ADD COLUMN history_sequence INTEGER;
ALTER TABLE minibatches ADD COLUMN history_trial INTEGER;
ALTER TABLE minibatches ADD COLUMN repeated INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN format INTEGER NOT NULL DEFAULT 1;
";

/// From version 3 to 4, with `ADDED_BY_4`.
pub(super) const UPGRADE_3: &str = "
ALTER TABLE minibatches ADD COLUMN scale REAL;
ALTER TABLE minibatches ADD COLUMN lowest REAL;
";

/// From version 4 to 5, beside `trials`.
pub(super) const UPGRADE_4: &str = "
ALTER TABLE minibatches ADD COLUMN pruning TEXT;
ALTER TABLE minibatches ADD COLUMN redrawn INTEGER NOT NULL DEFAULT 0;
";

/// What version 4 added beside columns. `held` has the parameters that a minibatch was proposed from,
/// as f32 in little-endian order, where a snapshot was taken between its pull and its place in the
/// log: a recovery from that snapshot needs them. `unrewarded` has the failed trials whose reward is
/// given when their minibatch takes its sequence number.
pub(super) const ADDED_BY_4: &str = "
CREATE TABLE held (
    controller INTEGER NOT NULL,
    minibatch INTEGER NOT NULL,
    parameters BLOB NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (controller, minibatch)
);
CREATE TABLE unrewarded (trial INTEGER PRIMARY KEY);
";

/// What version 5 added beside columns: what a run took from elsewhere at its first start, with its
/// SHA-256; and what finds the minibatches whose children were to be pruned without a look at any
/// other.
pub(super) const ADDED_BY_5: &str = "
CREATE INDEX minibatches_pruning ON minibatches (sequence) WHERE pruning IS NOT NULL;
CREATE TABLE copies (key TEXT PRIMARY KEY, origin TEXT NOT NULL, hash TEXT NOT NULL, data BLOB NOT NULL);
";

/// A trial was sampled by a controller, into a slot of one of its minibatches, or it is an enqueued
/// architecture and `enqueued` is its name, or it evaluates the network of an earlier trial again, to
/// confirm it (`confirms`) or because the user asked for it (`retry_of`; both, where a confirmation
/// is tried again). Times are ISO 8601 in UTC, with milliseconds. The index `trials_finished` answers,
/// without a look at a trial, what counters and histograms go on from; it grows at its end alone.
pub(super) const TRIALS: &str = "
CREATE TABLE trials (
    id INTEGER PRIMARY KEY,
    controller INTEGER,
    minibatch INTEGER,
    slot INTEGER,
    decisions TEXT NOT NULL,
    architecture TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'pruned', 'failed', 'stopped')),
    reward REAL,
    metric REAL,
    parameters INTEGER,
    flops INTEGER,
    seed INTEGER NOT NULL,
    device TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    interruptions INTEGER NOT NULL DEFAULT 0,
    sampled_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT,
    seconds REAL,
    error TEXT,
    reused_from INTEGER,
    enqueued TEXT,
    confirms INTEGER,
    retry_of INTEGER,
    cost REAL,
    UNIQUE (controller, minibatch, slot),
    CHECK ((controller IS NULL) = (coalesce(enqueued, confirms, retry_of) IS NOT NULL) AND (controller IS NULL) = (minibatch IS NULL) AND (controller IS NULL) = (slot IS NULL))
);
CREATE INDEX trials_by_status ON trials (status);
CREATE INDEX trials_by_reward ON trials (reward);
CREATE INDEX trials_enqueued ON trials (enqueued) WHERE enqueued IS NOT NULL;
CREATE INDEX trials_confirms ON trials (confirms) WHERE confirms IS NOT NULL;
CREATE INDEX trials_retry_of ON trials (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX trials_finished ON trials (finished_at, status, reward, seconds, reused_from, controller) WHERE finished_at IS NOT NULL;
";

/// The other tables.
pub(super) const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE epochs (
    trial INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    train_loss REAL,
    metric REAL,
    seconds REAL,
    PRIMARY KEY (trial, epoch)
) WITHOUT ROWID;

-- One row a minibatch; `sequence` is NULL until its last outcome is known; `round` is the first row of a synchronous round.
-- `baseline` and `scale` are what its rewards were compared with (`scale` NULL: advantages without a bound), `lowest` is the lowest
-- reward that entered the averages up to here.
-- `oldest` is the smallest of `versions`, the versions pulled from each shard. The strategy proposed it from the log up to
-- `history_sequence` and the trials pending up to `history_trial`; of its networks `repeated` were proposed before: pending,
-- unseen by it, or because it found no new one. `pruning` is what its children are pruned by: the rule, and the thresholds that it
-- gave with the learning curves of the log up to `history_sequence`; NULL: nothing prunes them. `redrawn` lists
-- were drawn before its own and are larger than the space's limits.
CREATE TABLE minibatches (
    number INTEGER PRIMARY KEY,
    controller INTEGER NOT NULL,
    minibatch INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    m INTEGER NOT NULL,
    layers INTEGER NOT NULL,
    boundaries TEXT NOT NULL,
    versions TEXT NOT NULL,
    oldest INTEGER NOT NULL,
    round INTEGER,
    baseline REAL,
    sequence INTEGER UNIQUE,
    history_sequence INTEGER,
    history_trial INTEGER,
    repeated INTEGER NOT NULL DEFAULT 0,
    scale REAL,
    lowest REAL,
    pruning TEXT,
    redrawn INTEGER NOT NULL DEFAULT 0,
    UNIQUE (controller, minibatch)
);

CREATE TABLE changes (sequence INTEGER PRIMARY KEY, learning TEXT NOT NULL);

-- `version` is that of the parameters, `format` that of `data`.
CREATE TABLE snapshots (
    sequence INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    data BLOB NOT NULL,
    checksum TEXT NOT NULL,
    format INTEGER NOT NULL DEFAULT 1
);

CREATE TABLE events (id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL);
";
