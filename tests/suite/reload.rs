//! The config file of a running search is changed: what may change is taken over without losing
//! work, the rest is refused by name.

use super::common::{
    ENDLESS, Running, Search, Server, assert_verifies, count, events, finished, get, printed,
    wait_until,
};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// A search at work whose config file is changed.
struct Changed {
    search: Search,
    process: Running,
}

impl Changed {
    fn start(extra: &str, set: &[&str]) -> Self {
        Self::of(Search::new(ENDLESS, extra), set)
    }

    fn of(search: Search, set: &[&str]) -> Self {
        let mut command = search.command("run");
        command.args(set.iter().flat_map(|setting| ["--set", setting]));
        let process = Running::start_silent(&mut command);
        let mut running = Self { search, process };
        running.wait("the first outcomes", |run| finished(run) > 50);
        running
    }

    fn dir(&self) -> PathBuf {
        self.search.run_dir("run")
    }

    /// Waits until something is true of the run's directory.
    fn wait(&mut self, what: &str, holds: impl Fn(&Path) -> bool) {
        let run = self.dir();
        wait_until(what, || {
            assert!(!self.process.has_ended(), "{what}: {:?}", events(&run));
            holds(&run)
        });
    }

    /// Changes the file; waits for the event that says whether the change was taken over, and then
    /// for more outcomes.
    fn change(&mut self, from: &str, to: &str, expected: &str) {
        self.search.edit(from, to);
        self.wait(expected, |run| {
            events(run).iter().any(|event| event.contains(expected))
        });
        let before = finished(&self.dir());
        self.wait("the run goes on", |run| finished(run) > before + 50);
    }
}

const EXTRA: &str = "[controller]\nreplicas = 2\nchildren = 4\nlearning_rate = 0.002\n[parameter_server]\nshards = 2\naccumulate = 3\n\
                     [devices]\nlanes_per_device = 1\n";

#[test]
fn a_table_that_changes_on_the_disk_leaves_a_running_search_alone() {
    let mut running = Changed::start(EXTRA, &[]);
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
    let mut running = Changed::start(EXTRA, &["child.attempts=2"]);
    running.change(
        "replicas = 2",
        "replicas = 5",
        "config accepted: controller.replicas 2 → 5",
    );
    running.wait("five replicas", |run| {
        count(run, "SELECT count(DISTINCT controller) FROM minibatches") == 5
    });
    running.change(
        "shards = 2",
        "shards = 7",
        "config accepted: parameter_server.shards 2 → 7",
    );
    running.wait("seven shards have eight boundaries", |run| {
        count(
            run,
            "SELECT json_array_length(boundaries) FROM minibatches ORDER BY number DESC LIMIT 1",
        ) == 8
    });
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
        "config accepted: child.failed_reward \"by-cause\" → 0.5",
    );
    running.change(
        "replicas = 5",
        "replicas = 1",
        "config accepted: controller.replicas 5 → 1",
    );
    running.process.signal(Signal::TERM);
    assert_eq!(running.process.wait().code(), Some(143));
    let config = std::fs::read_to_string(running.dir().join("config.toml")).unwrap();
    assert!(
        config.contains("replicas = 1")
            && config.contains("shards = 1")
            && config.contains("failed_reward = 0.5"),
        "{config}"
    );
    assert_eq!(
        count(&running.dir(), "SELECT count(*) FROM changes"),
        3,
        "the first settings, the learning rate, the accumulation"
    );
    assert_verifies(&running.dir());
}

#[test]
fn page_and_status_show_the_lanes_of_now() {
    let mut running = Changed::start("[devices]\nlanes_per_device = 1\n", &[]);
    let page = Server::page(&running.dir());
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
        let lanes = format!(" {}", names.join(", "));
        running.wait("status shows the lanes", |run| {
            printed("status", run, &[])
                .lines()
                .any(|line| line.starts_with("lanes ") && line.ends_with(&lanes))
        });
        running.wait("the page's status shows the lanes", |_| {
            let (_, status) = page.json("/api/status");
            status["lanes"].as_array().unwrap().len() == to
        });
        running.wait(expected, |_| page.get("/").body.contains(expected));
    }
}

#[test]
fn the_limits_of_the_space_hold_after_a_change_of_how_children_are_trained() {
    let search = Search::new(1, "");
    let config = "[run]\ntrials = 1000000\n[space]\nlayers = 1\nmax_parameters = 1\n[child]\nepochs = 1\n\
                  [data]\ntrain_size = 128\nvalidation_size = 64\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    let mut running = Changed::of(search, &[]);
    running.change(
        "epochs = 1",
        "epochs = 2",
        "config accepted: child.epochs 1 → 2",
    );
    let trained = "SELECT count(*) FROM trials WHERE status = 'completed' OR error NOT LIKE 'not trained: it has %'";
    assert_eq!(count(&running.dir(), trained), 0);
}

#[test]
fn what_may_not_change_is_refused_by_name_and_what_is_masked_is_told() {
    let mut running = Changed::start(EXTRA, &["controller.children=4"]);
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
    running.process.signal(Signal::HUP);
    running.wait("the file is read again", |run| {
        let events = events(run);
        let of_the_name = events.iter().filter(|event| event.contains("run.name"));
        of_the_name.count() >= 2
    });
    let status = printed("status", &running.dir(), &[]);
    assert!(status.contains("config refused"), "{status}");
}

/// An address on which nobody listens, and where the system has more than one loopback address, one
/// that no other process uses.
fn unused_address() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = TcpListener::bind((Ipv4Addr::new(127, 1, high, low), 0));
    let listener = own.or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    listener.unwrap().local_addr().unwrap()
}

#[test]
fn a_lower_number_of_trials_ends_the_run_and_a_moved_endpoint_answers() {
    let mut running = Changed::start(EXTRA, &[]);
    let address = unused_address();
    running.change(
        "listen = \"off\"",
        &format!("listen = \"{address}\""),
        "config accepted: telemetry.listen",
    );
    running.wait("the endpoint answers", |_| {
        get(&address.to_string(), "/healthz").is_ok_and(|answer| answer.status == 200)
    });
    let trials = format!("trials = {ENDLESS}");
    running.search.edit(&trials, "trials = 10");
    assert!(running.process.wait().success());
    assert_verifies(&running.dir());
}
