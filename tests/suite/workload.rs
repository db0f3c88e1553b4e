//! What rewards are computed from belongs to a run: a table that changed is refused, as changed
//! images are.

use super::common::{Search, finished, trials};
use rusqlite::Connection;
use std::path::Path;
use std::process::Output;

fn run(search: &Search, settings: &[&str]) -> Output {
    let mut command = search.command("run");
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Raises one reward in the table.
fn change_table(search: &Search) {
    let path = search.folder.path().join("table.csv");
    let table = std::fs::read_to_string(&path).unwrap();
    let changed = table.replace("\n3,3,3,3,1\n", "\n3,3,3,3,2\n");
    assert_ne!(changed, table);
    std::fs::write(path, changed).unwrap();
}

/// Removes from the run what an earlier version did not record.
fn forget_content(run: &Path) {
    let connection = Connection::open(run.join("search.db")).unwrap();
    let identity: String = connection
        .query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| {
            row.get(0)
        })
        .unwrap();
    let mut identity: serde_json::Value = serde_json::from_str(&identity).unwrap();
    let content = identity.as_object_mut().unwrap().remove("data content");
    assert_eq!(
        content.unwrap().as_str().unwrap().len(),
        64,
        "SHA-256 in hex"
    );
    let sql = "UPDATE meta SET value = ?1 WHERE key = 'identity'";
    connection.execute(sql, [identity.to_string()]).unwrap();
}

#[test]
fn a_run_refuses_a_table_that_changed_since_it_began() {
    let search = Search::new(20, "");
    assert!(run(&search, &[]).status.success());
    let before = trials(&search.run_dir("run"));
    change_table(&search);
    let refused = run(&search, &["run.trials=40"]);
    assert_eq!(refused.status.code(), Some(2));
    let message = text(&refused.stderr);
    assert!(
        message.contains("this run was started with other settings")
            && message.contains("data content: "),
        "{message}"
    );
    assert_eq!(trials(&search.run_dir("run")), before);
    assert!(search.command("other").output().unwrap().status.success());
}

#[test]
fn a_run_that_did_not_record_its_table_records_it_once_and_says_so() {
    let search = Search::new(20, "");
    assert!(run(&search, &[]).status.success());
    forget_content(&search.run_dir("run"));
    let lines = |output: &Output| {
        assert!(output.status.success(), "{}", text(&output.stderr));
        let shown = text(&output.stdout);
        shown
            .lines()
            .filter(|line| line.starts_with("data content: "))
            .count()
    };
    assert_eq!(lines(&run(&search, &["run.trials=40"])), 1);
    assert_eq!(lines(&run(&search, &["run.trials=60"])), 0);
    assert_eq!(finished(&search.run_dir("run")), 60);
    change_table(&search);
    assert_eq!(run(&search, &["run.trials=80"]).status.code(), Some(2));
}
