//! The endpoint of a running search, read as Prometheus reads it: each metric before and after the
//! event that it counts.

use super::common::{
    ENDLESS, Search, Server, netwright, refused, sample, stderr, succeeds, text, wait_until,
};
use std::path::Path;
use std::process::Command;

/// A search that trains tiny networks on built-in images.
fn training(run: &Path, sets: &[&str]) -> Command {
    let mut command = netwright();
    command
        .args([
            "search",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.toml"),
            "--run-dir",
        ])
        .arg(run);
    let tiny = [
        "telemetry.listen=127.0.0.1:0",
        "run.trials=1000000",
        "space.layers=2",
        "space.filters=[4, 8]",
        "controller.children=2",
        "child.epochs=1",
        "child.batch_size=16",
        "data.train_size=32",
        "data.validation_size=16",
    ];
    for set in tiny.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command
}

fn value(text: &str, name: &str) -> f64 {
    sample(text, name).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// Asserts that each of these has grown from the first scrape to the second.
fn assert_grown(before: &str, after: &str, names: &[&str]) {
    for name in names {
        let from = value(before, name);
        let to = value(after, name);
        assert!(to > from, "{name} stays at {from} (then {to})");
    }
}

#[test]
fn a_training_search_moves_every_metric_of_its_work() {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("go");
    let mut command = training(&folder.path().join("run"), &[]);
    // Until the first scrape is done, the first child does not start.
    command.env(
        "NETWRIGHT_FAULT",
        format!("start.hold=1@{}", gate.display()),
    );
    let live = Server::start(&mut command);
    let first = live.metrics();
    std::fs::write(gate, "").unwrap();
    // Every family is there, at 0 or not, before the first child has ended.
    for family in [
        "children_total{outcome=\"diverged\"}",
        "actor_restarts_total{actor=\"child_trainer\"}",
    ] {
        assert_eq!(value(&first, &format!("netwright_{family}")), 0.0);
    }
    assert!(value(&first, "netwright_mailbox_depth{actor=\"controller\"}") >= 0.0);
    assert_eq!(value(&first, "netwright_run_info{run=\"quickstart\"}"), 1.0);
    assert_eq!(
        value(&first, "netwright_lane_info{device=\"cpu\",lane=\"cpu-0\"}"),
        1.0
    );
    let version = format!(
        "netwright_build_info{{cuda=\"true\",version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(value(&first, &version), 1.0);
    assert_eq!(
        value(&first, "netwright_last_snapshot_timestamp_seconds"),
        0.0
    );
    let counters = [
        "netwright_children_total{outcome=\"completed\"}",
        "netwright_reward_count",
        "netwright_reward_bucket{le=\"+Inf\"}",
        "netwright_child_duration_seconds_count",
        "netwright_child_duration_seconds_sum",
        "netwright_examples_total",
        "netwright_controller_updates_total",
        "netwright_shard_updates_total",
        "netwright_gradient_staleness_updates_count",
        "netwright_journal_commit_seconds_count",
        "netwright_journal_commit_seconds_sum",
    ];
    let positive = [
        "netwright_lane_busy_ratio{lane=\"cpu-0\"}",
        "netwright_policy_entropy_nats",
        "netwright_policy_gradient_norm",
        "netwright_run_dir_free_bytes",
        "process_resident_memory_bytes",
        "process_threads",
        "process_open_fds",
    ];
    let second = live.metrics_when("every metric moves", |text| {
        counters
            .iter()
            .all(|name| value(text, name) > value(&first, name))
            && positive.iter().all(|name| value(text, name) > 0.0)
            && value(text, "netwright_children_running") > 0.0
    });
    let completed = value(&second, "netwright_children_total{outcome=\"completed\"}");
    assert!(
        value(&second, "netwright_examples_total") >= 32.0 * completed,
        "each child sees every training image once"
    );
    assert!(value(&second, "netwright_lane_busy_ratio{lane=\"cpu-0\"}") <= 1.0);
    assert_eq!(value(&second, "netwright_architecture_layers"), 2.0);
}

#[test]
fn children_wait_in_the_queue_and_the_depth_follows_its_schedule() {
    let folder = tempfile::tempdir().unwrap();
    let schedule = [
        "controller.children=4",
        "devices.lanes_per_device=1",
        "space.layers_step=1",
        "space.layers_every=4",
        "space.layers_max=3",
    ];
    let live = Server::start(&mut training(&folder.path().join("run"), &schedule));
    live.metrics_when("a queue", |text| {
        value(text, "netwright_children_queued") > 0.0
    });
    live.metrics_when("deeper networks", |text| {
        value(text, "netwright_architecture_layers") == 3.0
    });
}

/// Failures of each kind in one run are counted by cause, and the next process continues the counts.
#[test]
fn failures_count_by_cause_and_the_next_process_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let causes: [(&str, &[&str]); 3] = [
        ("diverged", &["child.learning_rate=1e30"]),
        (
            "timeout",
            &["child.max_seconds=0.000001", "child.attempts=1"],
        ),
        ("completed", &[]),
    ];
    let mut counted: Vec<(String, f64)> = Vec::new();
    for (outcome, sets) in causes {
        let mut live = Server::start(&mut training(&run, sets));
        let name = format!("netwright_children_total{{outcome=\"{outcome}\"}}");
        let first = live.metrics();
        for (earlier, count) in &counted {
            assert!(
                value(&first, earlier) >= *count,
                "{earlier} was {count}, and does not go on\n{first}"
            );
        }
        let before = value(&first, &name);
        let after = live.metrics_when(&name, |text| value(text, &name) >= before + 2.0);
        assert_grown(
            &first,
            &after,
            &[&name, "netwright_child_duration_seconds_count"],
        );
        counted = ["diverged", "timeout", "completed"]
            .map(|outcome| format!("netwright_children_total{{outcome=\"{outcome}\"}}"))
            .map(|name| (name.clone(), value(&after, &name)))
            .to_vec();
        counted.push((
            "netwright_controller_updates_total".into(),
            value(&after, "netwright_controller_updates_total"),
        ));
        counted.push((
            "netwright_child_duration_seconds_count".into(),
            value(&after, "netwright_child_duration_seconds_count"),
        ));
        assert_eq!(live.terminate().code(), Some(143));
    }
    // The orderly end left a snapshot, and its time is known at once.
    let live = Server::start(&mut training(&run, &[]));
    assert!(value(&live.metrics(), "netwright_last_snapshot_timestamp_seconds") > 0.0);
}

#[test]
fn a_child_that_does_not_fit_counts_as_out_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    let devices = succeeds(netwright().args(["devices", "--json"]));
    let devices: serde_json::Value = serde_json::from_str(&devices).unwrap();
    // So many lanes that each has a gibibyte at most. Half of all layers are too wide for that; the
    // settings are right, for the other half fits.
    let gibibytes = devices[0]["memory_bytes"].as_u64().unwrap() >> 30;
    let lanes = format!(
        "devices.lanes_per_device={}",
        (gibibytes + 1).clamp(2, 1024)
    );
    let wide = [
        "space.filters=[4, 4096]",
        &lanes,
        "devices.use=[\"cpu\"]",
        "child.batch_size=256",
        "data.train_size=256",
    ];
    let live = Server::start(&mut training(&folder.path().join("run"), &wide));
    live.metrics_when("out of memory", |text| {
        value(text, "netwright_children_total{outcome=\"out_of_memory\"}") > 0.0
    });
}

#[test]
fn a_running_search_over_a_table_exports_rewards_and_answers_monitors() {
    let seconds = || {
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    };
    let started = seconds();
    let search = Search::new(ENDLESS, "");
    let live = Server::search(&mut search.command("run"));
    let grows = [
        "netwright_children_total{outcome=\"completed\"}",
        "netwright_reward_count",
        "netwright_reward_sum",
        "netwright_journal_commit_seconds_count",
    ];
    let first = live.metrics_when("children end", |text| value(text, grows[0]) > 0.0);
    let snapshot = "netwright_last_snapshot_timestamp_seconds";
    let second = live.metrics_when("more children end and a snapshot is stored", |text| {
        grows
            .iter()
            .all(|name| value(text, name) > value(&first, name))
            && value(text, snapshot) > 0.0
            && value(text, "netwright_baseline") > 0.0
    });
    assert!((started - 1.0..seconds() + 1.0).contains(&value(&second, snapshot)));
    assert!(
        value(&second, "netwright_controller_updates_total") >= 63.0,
        "a snapshot comes with every 64th number"
    );
    for reward in ["netwright_best_reward", "netwright_baseline"] {
        let reward = value(&second, reward);
        assert!(reward > 0.0 && reward <= 1.0, "{reward}");
    }
    assert_eq!(live.get_when_status("/healthz", 200), "ok\n");
    assert_eq!(live.get_when_status("/readyz", 200), "ready\n");
    assert_eq!(live.get("/nothing-here").status, 404);
    let mut stream = std::net::TcpStream::connect(&live.address).unwrap();
    std::io::Write::write_all(&mut stream, b"POST /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut refused = String::new();
    std::io::Read::read_to_string(&mut stream, &mut refused).unwrap();
    assert!(
        !refused.starts_with("HTTP/1.0 200"),
        "the endpoint is read-only: {refused}"
    );
}

#[test]
fn a_journal_that_cannot_be_written_makes_the_process_not_ready_until_it_can() {
    let search = Search::new(ENDLESS, "");
    let live = Server::search(&mut search.command("run"));
    live.metrics_when("children end", |text| {
        value(text, "netwright_reward_count") > 0.0
    });
    // Another writer keeps the database: every commit fails, as on a full disk.
    let other = rusqlite::Connection::open(search.run_dir("run").join("search.db")).unwrap();
    wait_until("the other writer has its turn", || {
        other.execute_batch("BEGIN IMMEDIATE").is_ok()
    });
    let slow = live.get_when_status("/readyz", 503);
    assert!(slow.contains("journal"), "{slow}");
    // After SQLite's own patience the error itself is the reason.
    live.get_when("the error is the reason", "/readyz", |reason| {
        reason.contains("search.db: database is locked")
    });
    assert_eq!(live.get("/healthz").status, 200, "alive, but not ready");
    other.execute_batch("ROLLBACK").unwrap();
    live.get_when_status("/readyz", 200);
}

/// NVML's raw readings, as `src/machine/nvml.rs` describes them: the first GPU supports
/// nothing but its memory.
fn readings(utilization: u32) -> String {
    format!(
        r#"[{{"uuid": "GPU-aaaa", "pci_bus_id": "00000000:1B:00.0", "model": "A", "memory_total_bytes": 1000}},
            {{"uuid": "GPU-bbbb", "pci_bus_id": "00000000:43:00.0", "model": "B", "utilization_percent": {utilization},
              "memory_used_bytes": 3221225472, "memory_total_bytes": 85899345920, "power_milliwatts": 312500, "temperature_celsius": 54,
              "clock_megahertz": 1755}}]"#
    )
}

#[test]
fn gpus_appear_under_the_names_that_cuda_gives_them_in_base_units_and_move() {
    let search = Search::new(ENDLESS, "");
    let file = search.folder.path().join("readings.json");
    std::fs::write(&file, readings(73)).unwrap();
    let serve = |visible: Option<&str>| {
        let mut command = search.command("run");
        command
            .env_remove("CUDA_VISIBLE_DEVICES")
            .envs(visible.map(|devices| ("CUDA_VISIBLE_DEVICES", devices)))
            .env("NETWRIGHT_NVML_READINGS", &file);
        Server::search(&mut command)
    };
    for (visible, b) in [
        ("1,0", "cuda:0"),
        ("GPU-bbbb,GPU-aaaa", "cuda:0"),
        ("GPU-a,GPU-b", "cuda:1"),
        ("0,1", "cuda:1"),
        ("1", "cuda:0"),
    ] {
        let live = serve(Some(visible));
        let of = |text: &str, family: &str, gpu: &str| {
            sample(text, &format!("netwright_gpu_{family}{{gpu=\"{gpu}\"}}"))
        };
        // A scrape that comes before the first reading goes without.
        let text = live.metrics_when("the first reading", |text| {
            of(text, "utilization_ratio", b).is_some()
        });
        for (family, expected) in [
            ("utilization_ratio", 0.73),
            ("memory_used_bytes", 3_221_225_472.0),
            ("memory_total_bytes", 85_899_345_920.0),
            ("power_watts", 312.5),
            ("temperature_celsius", 54.0),
            ("clock_hertz", 1.755e9),
        ] {
            let found = of(&text, family, b);
            assert_eq!(found, Some(expected), "{visible}: {family}\n{text}");
        }
        let a = if b == "cuda:0" { "cuda:1" } else { "cuda:0" };
        assert_eq!(
            of(&text, "memory_total_bytes", a),
            (visible != "1").then_some(1000.0)
        );
        assert_eq!(
            of(&text, "power_watts", a),
            None,
            "not supported: absent, not 0"
        );
    }
    let live = serve(None);
    let utilization = |text: &str| sample(text, "netwright_gpu_utilization_ratio{gpu=\"cuda:1\"}");
    live.metrics_when("a reading", |text| utilization(text) == Some(0.73));
    std::fs::write(&file, readings(12)).unwrap();
    live.metrics_when("the new reading", |text| utilization(text) == Some(0.12));
}

#[test]
fn without_a_gpu_its_families_are_absent_and_one_log_line_says_so() {
    let search = Search::new(ENDLESS, "");
    let mut command = search.command("run");
    let missing = search.folder.path().join("missing.json");
    let live = Server::search(command.env("NETWRIGHT_NVML_READINGS", missing));
    let text = live.metrics_when("children end", |text| {
        value(text, "netwright_reward_count") > 0.0
    });
    assert!(!text.contains("netwright_gpu_"), "{text}");
    let log = std::fs::read_to_string(search.run_dir("run").join("log/search.log")).unwrap();
    assert_eq!(log.matches("no GPUs in the metrics").count(), 1, "{log}");
}

#[test]
fn an_address_that_cannot_be_had_is_an_input_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let search = Search::new(10, "");
    let setting = format!("telemetry.listen={}", taken.local_addr().unwrap());
    let message = refused(search.command("run").args(["--set", &setting]));
    assert!(message.contains("telemetry.listen"), "{message}");
    assert!(
        !search.run_dir("run").exists(),
        "nothing is written before the input is right"
    );
}

#[test]
fn an_address_beyond_loopback_is_warned_of_on_the_terminal_and_in_the_log() {
    let search = Search::new(10, "");
    let output = search
        .command("run")
        .args(["--set", "telemetry.listen=0.0.0.0:0"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let warning = "can be read by other machines; it has no password";
    let errors = stderr(&output);
    assert_eq!(errors.matches(warning).count(), 1, "{errors}");
    assert!(
        std::fs::read_to_string(search.run_dir("run").join("log/search.log"))
            .unwrap()
            .contains(warning)
    );
}
