//! An asynchronous run of many controllers goes on from its newest snapshot, though minibatches are
//! always in flight: nothing before it is read again.

use super::common::{
    ENDLESS, Running, Search, assert_verifies, count, finished, netwright, succeeds, text,
    wait_until,
};

const ASYNCHRONOUS: &str =
    "[controller]\nreplicas = 20\nchildren = 2\n[parameter_server]\nshards = 3\n";

/// Makes everything before the snapshot unreadable; `RESTORE` takes it back.
const TAMPER: &str = "
    CREATE TABLE saved AS SELECT id, decisions FROM trials JOIN minibatches USING (controller, minibatch)
        WHERE sequence <= (SELECT max(sequence) FROM snapshots);
    UPDATE trials SET decisions = 'nothing' WHERE id IN (SELECT id FROM saved);";
const RESTORE: &str = "
    UPDATE trials SET decisions = saved.decisions FROM saved WHERE saved.id = trials.id; DROP TABLE saved;";

#[test]
fn goes_on_from_the_newest_snapshot_with_minibatches_in_flight() {
    let search = Search::new(ENDLESS, ASYNCHRONOUS);
    let run = search.run_dir("run");
    let mut running = Running::start_silent(&mut search.command("run"));
    wait_until("parameters are held beside a snapshot", || {
        count(&run, "SELECT count(*) FROM snapshots WHERE sequence > 200") > 0
            && count(&run, "SELECT count(*) FROM held") > 0
    });
    running.kill();
    let sql = |sql: &str| {
        let connection = rusqlite::Connection::open(run.join("search.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    sql(TAMPER);
    let before = finished(&run);
    let mut running = Running::start_silent(&mut search.command("run"));
    wait_until("new trials end", || {
        assert!(!running.has_ended(), "it does not go on");
        finished(&run) > before + 100
    });
    running.kill();
    sql(RESTORE);
    assert_verifies(&run);
    assert!(
        count(&run, "SELECT count(*) FROM held") <= 60,
        "what no snapshot needs is dropped"
    );
}

/// What is kept for a minibatch is part of what `verify` compares.
#[test]
fn parameters_that_were_changed_are_found() {
    let search = Search::new(ENDLESS, ASYNCHRONOUS);
    let run = search.run_dir("run");
    let mut running = Running::start_silent(&mut search.command("run"));
    wait_until("parameters are held", || {
        count(
            &run,
            "SELECT count(*) FROM held JOIN minibatches USING (controller, minibatch)",
        ) > 0
    });
    running.kill();
    rusqlite::Connection::open(run.join("search.db"))
        .unwrap()
        .execute_batch("UPDATE held SET parameters = zeroblob(length(parameters))")
        .unwrap();
    let output = netwright().arg("verify").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("are damaged"), "{}", text(&output));
    // The search itself goes on without them, from the seed.
    let last = count(&run, "SELECT max(id) FROM trials");
    let rounded = last.div_ceil(2) * 2;
    succeeds(
        search
            .command("run")
            .args(["--set", &format!("run.trials={rounded}")]),
    );
    assert_verifies(&run);
}
