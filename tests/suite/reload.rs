//! The config file of a running search is changed: what may change is taken over without losing
//! work, the rest is refused by name.

use super::common::{Search, Served, database, finished, netwright};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Running {
    search: Search,
    process: Child,
}

impl Running {
    fn start(extra: &str, set: &[&str]) -> Self {
        Self::of(Search::new(1_000_000, extra), set)
    }

    fn of(search: Search, set: &[&str]) -> Self {
        let mut command = search.command("run");
        command.args(set.iter().flat_map(|setting| ["--set", setting]));
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { search, process };
        running.wait("the first outcomes", |dir| finished(dir) > 50);
        running
    }

    fn dir(&self) -> std::path::PathBuf {
        self.search.run_dir("run")
    }

    fn wait(&self, what: &str, done: impl Fn(&Path) -> bool) {
        let started = Instant::now();
        while !done(&self.dir()) {
            assert!(
                started.elapsed() < Duration::from_mins(2),
                "{what}: {:?}",
                events(&self.dir())
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.search.folder.path().join("search.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in\n{text}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Changes the file and waits for the event that says what became of it; then for more
    /// outcomes.
    fn change(&self, from: &str, to: &str, expected: &str) {
        self.edit(from, to);
        self.wait(expected, |dir| {
            events(dir).iter().any(|event| event.contains(expected))
        });
        let before = finished(&self.dir());
        self.wait("the run goes on", |dir| finished(dir) > before + 50);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(self.process.id().try_into().unwrap()).unwrap(),
            signal,
        )
        .unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn events(dir: &Path) -> Vec<String> {
    let Some(connection) = database(dir) else {
        return Vec::new();
    };
    let Ok(mut statement) =
        connection.prepare("SELECT kind || ': ' || text FROM events ORDER BY id")
    else {
        return Vec::new();
    };
    statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map_while(Result::ok)
        .collect()
}

const EXTRA: &str = "[controller]\nreplicas = 2\nchildren = 4\nlearning_rate = 0.002\n[parameter_server]\nshards = 2\naccumulate = 3\n\
                     [devices]\nlanes_per_device = 1\n";

#[test]
fn a_table_that_changes_on_the_disk_leaves_a_running_search_alone() {
    let running = Running::start(EXTRA, &[]);
    std::fs::write(
        running.search.folder.path().join("table.csv"),
        "no table any more",
    )
    .unwrap();
    // Each lane gets a new evaluator.
    running.change(
        "lanes_per_device = 1",
        "lanes_per_device = 2",
        "config accepted: devices.lanes_per_device 1 → 2",
    );
}

#[test]
fn what_may_change_is_taken_over_and_the_log_still_says_what_the_parameters_are() {
    let mut running = Running::start(EXTRA, &["child.attempts=2"]);
    running.change(
        "replicas = 2",
        "replicas = 5",
        "config accepted: controller.replicas 2 → 5",
    );
    running.wait("five replicas", |dir| controllers(dir) == 5);
    running.change(
        "shards = 2",
        "shards = 7",
        "config accepted: parameter_server.shards 2 → 7",
    );
    running.wait("seven shards", |dir| last_boundaries(dir) == 8);
    running.change(
        "learning_rate = 0.002",
        "learning_rate = 0.01",
        "config accepted: controller.learning_rate 0.002 → 0.01",
    );
    running.change(
        "accumulate = 3",
        "accumulate = 1",
        "config accepted: parameter_server.accumulate 3 → 1",
    );
    running.change(
        "lanes_per_device = 1",
        "lanes_per_device = 3",
        "config accepted: devices.lanes_per_device 1 → 3",
    );
    running.change(
        "lanes_per_device = 3",
        "lanes_per_device = 2",
        "config accepted: devices.lanes_per_device 3 → 2",
    );
    running.change(
        "shards = 7",
        "shards = 1",
        "config accepted: parameter_server.shards 7 → 1",
    );
    running.change(
        "children = 4",
        "children = 6",
        "config accepted: controller.children 4 → 6",
    );
    running.change(
        "evaluator = \"table\"",
        "evaluator = \"table\"\nfailed_reward = 0.5",
        "config accepted: child.failed_reward \"skip\" → 0.5",
    );
    running.change(
        "replicas = 5",
        "replicas = 1",
        "config accepted: controller.replicas 5 → 1",
    );
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.process.wait().unwrap().code(), Some(143));
    let config = std::fs::read_to_string(running.dir().join("config.toml")).unwrap();
    assert!(
        config.contains("replicas = 1")
            && config.contains("shards = 1")
            && config.contains("failed_reward = 0.5"),
        "{config}"
    );
    let changes: i64 = database(&running.dir())
        .unwrap()
        .query_row("SELECT count(*) FROM changes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(
        changes, 3,
        "the first settings, the learning rate, the accumulation"
    );
    let verified = netwright()
        .arg("verify")
        .arg(running.dir())
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn page_and_status_show_the_lanes_of_now() {
    let running = Running::start("[devices]\nlanes_per_device = 1\n", &[]);
    let page = Served::page(&running.dir());
    for (from, to, expected) in [
        (1, 3, " of 3 lanes at work"),
        (3, 2, " of 2 lanes at work"),
        (2, 1, ">1 lane, "),
    ] {
        let key = |lanes: usize| format!("lanes_per_device = {lanes}");
        running.change(
            &key(from),
            &key(to),
            &format!("config accepted: devices.lanes_per_device {from} → {to}"),
        );
        let names: Vec<String> = (0..to).map(|lane| format!("cpu-{lane} on cpu")).collect();
        let told = netwright()
            .arg("status")
            .arg(running.dir())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(
            told.lines().any(|line| line.starts_with("lanes ")
                && line.ends_with(&format!(" {}", names.join(", ")))),
            "{told}"
        );
        let (_, status) = page.json("/api/status");
        assert_eq!(status["lanes"].as_array().unwrap().len(), to, "{status}");
        running.wait(expected, |_| page.get("/").body.contains(expected));
    }
}

#[test]
fn the_limits_of_the_space_hold_after_a_change_of_how_children_are_trained() {
    let search = Search::new(1, "");
    let config = "[run]\ntrials = 1000000\n[space]\nlayers = 1\nmax_parameters = 1\n[child]\nepochs = 1\n\
                  [data]\ntrain_size = 128\nvalidation_size = 64\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    let running = Running::of(search, &[]);
    running.change(
        "epochs = 1",
        "epochs = 2",
        "config accepted: child.epochs 1 → 2",
    );
    let others = "SELECT count(*) FROM trials WHERE status IN ('running', 'completed') OR error NOT LIKE 'not trained: it has %'";
    let others: i64 = database(&running.dir())
        .unwrap()
        .query_row(others, [], |row| row.get(0))
        .unwrap();
    assert!(others <= 2, "{others} trials were trained");
}

fn controllers(dir: &Path) -> i64 {
    let connection = database(dir).unwrap();
    connection
        .query_row(
            "SELECT count(DISTINCT controller) FROM minibatches",
            [],
            |row| row.get(0),
        )
        .unwrap_or(0)
}

fn last_boundaries(dir: &Path) -> i64 {
    let sql = "SELECT json_array_length(boundaries) FROM minibatches ORDER BY number DESC LIMIT 1";
    database(dir)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap_or(0)
}

#[test]
fn what_may_not_change_is_refused_by_name_and_what_is_masked_is_told() {
    let running = Running::start(EXTRA, &["controller.children=4"]);
    running.change("seed = 3", "seed = 4", "config refused: ");
    assert!(
        events(&running.dir())
            .iter()
            .any(|event| event.contains("run.seed (3 → 4) may not change in a run's life"))
    );
    running.change("seed = 4", "seed = 3\nsede = 1", "unknown key run.sede");
    running.change("seed = 3\nsede = 1", "seed = 3", "");
    running.change(
        "children = 4",
        "children = 9",
        "config masked: controller.children is now 9 in ",
    );
    running.change(
        "name = \"t\"",
        "name = \"u\"",
        "run.name (\"t\" → \"u\") cannot change while the search runs",
    );
    running.signal(rustix::process::Signal::HUP);
    running.wait("the file is read again", |dir| {
        events(dir)
            .iter()
            .filter(|event| event.contains("run.name"))
            .count()
            == 2
    });
    let status = netwright()
        .arg("status")
        .arg(running.dir())
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("config refused"),
        "{}",
        String::from_utf8_lossy(&status.stdout)
    );
}

#[test]
fn a_lower_number_of_trials_ends_the_run_and_a_moved_endpoint_answers() {
    let mut running = Running::start(EXTRA, &[]);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    running.change(
        "listen = \"off\"",
        &format!("listen = \"{free}\""),
        "config accepted: telemetry.listen",
    );
    running.wait("the endpoint", |_| {
        std::net::TcpStream::connect(free).is_ok()
    });
    running.edit("trials = 1000000", "trials = 10");
    assert!(running.process.wait().unwrap().success());
    assert!(
        netwright()
            .arg("verify")
            .arg(running.dir())
            .output()
            .unwrap()
            .status
            .success()
    );
}
