//! A real Prometheus, started with the shipped files unchanged, scrapes a real search on the
//! default port: every panel and every recording rule has something to show, no alert fires on a
//! healthy search, and promtool is content. Needs Debian's `prometheus`; where it is missing the
//! tests say so and pass, but for CI.

use super::common::{Running, Server, arguments_of, get, needs, netwright, sample, wait_until};
use super::dashboards::{dashboard, expressions, folder, recorded};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const PROMETHEUS: &str = "127.0.0.1:9090";

/// Set in the process that runs in a network of its own.
const INSIDE: &str = "NETWRIGHT_TEST_NETWORK";

fn installed(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        needs::skip(&format!(
            "{program} is missing; install it: sudo apt-get install prometheus"
        ));
    }
    found
}

/// Runs `promtool` in the folder of the dashboards; returns what it printed.
fn promtool(arguments: &[&str], input: Option<&str>) -> (bool, String) {
    let mut process = Command::new("promtool")
        .args(arguments)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(
        &mut process.stdin.take().unwrap(),
        input.unwrap_or_default().as_bytes(),
    )
    .unwrap();
    let output = process.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    (output.status.success(), text)
}

#[test]
fn promtool_accepts_config_and_rules_and_each_alert_fires_in_its_test() {
    if !installed("promtool") {
        return;
    }
    let checks: [&[&str]; 3] = [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "rules/recording.yml", "rules/alerts.yml"],
        &["test", "rules", "rules/alerts_test.yml"],
    ];
    for arguments in checks {
        let (accepted, text) = promtool(arguments, None);
        assert!(accepted, "promtool {arguments:?}\n{text}");
    }
    // For each alert there is a test in which it is expected to fire.
    let rules = std::fs::read_to_string(folder().join("rules/alerts.yml")).unwrap();
    let tests = std::fs::read_to_string(folder().join("rules/alerts_test.yml")).unwrap();
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() >= 5);
    for alert in alerts {
        let expected = tests
            .split("- alertname: ")
            .skip(1)
            .any(|case| case.starts_with(alert) && case.contains("exp_labels"));
        assert!(expected, "no test in which {alert} fires");
        assert!(
            tests.contains(&format!(
                "{{alertname: {alert}, eval_time: 9h, exp_alerts: []}}"
            )),
            "no healthy test of {alert}"
        );
    }
}

/// Runs this test again in a network of its own, where the default ports are free, or says why it
/// cannot. True: it was run there.
fn elsewhere(test: &str) -> bool {
    let own = std::env::current_exe().unwrap();
    for unshare in [&["-n"][..], &["-r", "-n"]] {
        let up = "ip link set lo up && exec \"$@\"";
        let try_it = Command::new("unshare")
            .args(unshare)
            .args(["sh", "-c", up, "sh", "true"])
            .stderr(Stdio::null())
            .status();
        if !try_it.is_ok_and(|status| status.success()) {
            continue;
        }
        let mut command = Command::new("unshare");
        command
            .args(unshare)
            .args(["sh", "-c", up, "sh"])
            .arg(own)
            .args(arguments_of(test))
            .env(INSIDE, "yes");
        assert!(
            command.status().unwrap().success(),
            "{test} failed in a network of its own"
        );
        return true;
    }
    false
}

/// Starts Prometheus with the shipped files; ready once it answers.
fn prometheus(storage: &Path) -> Running {
    let process = Running::start(
        Command::new("prometheus")
            .arg("--config.file")
            .arg(folder().join("prometheus.yml"))
            .arg("--storage.tsdb.path")
            .arg(storage)
            .arg(format!("--web.listen-address={PROMETHEUS}"))
            .arg("--log.level=warn"),
    );
    wait_until("Prometheus is ready", || {
        get(PROMETHEUS, "/-/ready").is_ok_and(|answer| answer.status == 200)
    });
    process
}

/// An answer of Prometheus's API.
fn api(path: &str) -> Value {
    let answer = get(PROMETHEUS, path).unwrap();
    let status = answer.status;
    let body = answer.body;
    let answer: Value = serde_json::from_str(&body)
        .unwrap_or_else(|error| panic!("{path}: {status} {error} {body}"));
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["data"].clone()
}

/// The samples of an expression now, with its variables replaced as Grafana would.
fn query(expression: &str) -> Vec<Value> {
    let expression = expression
        .replace("$__rate_interval", "1m")
        .replace("$instance", ".*");
    let encoded: String = expression
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    api(&format!("/api/v1/query?query={encoded}"))["result"]
        .as_array()
        .unwrap()
        .clone()
}

/// The first sample's value.
fn value(expression: &str) -> f64 {
    query(expression)
        .first()
        .and_then(|sample| sample["value"][1].as_str()?.parse().ok())
        .unwrap_or(0.0)
}

/// A search of tiny networks on the default port, with a GPU that a file stands in for.
fn search(folder: &Path, sets: &[&str]) -> Server {
    let readings = folder.join("readings.json");
    let gpu = r#"[{"uuid": "GPU-1", "pci_bus_id": "00000000:1B:00.0", "model": "A", "utilization_percent": 80, "memory_used_bytes": 1000,
                   "memory_total_bytes": 2000, "power_milliwatts": 300000, "temperature_celsius": 60, "clock_megahertz": 1500}]"#;
    std::fs::write(&readings, gpu).unwrap();
    let mut command = netwright();
    command
        .args([
            "search",
            concat!(env!("CARGO_MANIFEST_DIR"), "/config/quickstart.toml"),
            "--run-dir",
        ])
        .arg(folder.join("run"));
    command
        .env("NETWRIGHT_NVML_READINGS", &readings)
        .env_remove("CUDA_VISIBLE_DEVICES");
    let tiny = [
        "run.trials=1000000",
        "space.layers=2",
        "space.filters=[4, 8]",
        "controller.children=2",
        "child.epochs=1",
    ];
    let small = [
        "child.batch_size=16",
        "data.train_size=32",
        "data.validation_size=16",
    ];
    for set in tiny.iter().chain(&small).chain(sets) {
        command.args(["--set", set]);
    }
    Server::start(&mut command)
}

/// The lock of the default ports, for systems that give a test no network of its own: two suites on
/// one machine then use the ports in turn. None: another program has one of them.
fn default_ports() -> Option<std::fs::File> {
    let lock = std::env::temp_dir().join("netwright-tests-default-ports.lock");
    let lock = std::fs::File::create(lock).unwrap();
    lock.lock().unwrap();
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (is_free(9464) && is_free(9090)).then_some(lock)
}

#[test]
fn every_panel_and_rule_has_samples_and_a_healthy_search_no_alert() {
    if !installed("prometheus") || !installed("promtool") {
        return;
    }
    let name = "monitoring::every_panel_and_rule_has_samples_and_a_healthy_search_no_alert";
    let ports = if std::env::var(INSIDE).is_ok() {
        None
    } else if elsewhere(name) {
        return;
    } else if let Some(lock) = default_ports() {
        Some(lock)
    } else {
        return needs::skip("no network of its own (unshare -n), and port 9464 or 9090 is taken");
    };
    let folder = tempfile::tempdir().unwrap();
    let mut healthy = search(folder.path(), &[]);
    assert_eq!(healthy.address, "127.0.0.1:9464", "the default port");
    let _prometheus = prometheus(&folder.path().join("tsdb"));
    shows_a_healthy_search();
    assert_eq!(healthy.terminate().code(), Some(143));

    // The same run goes on with children that all fail: what shows failures has something to show,
    // too.
    let failing = search(folder.path(), &["child.learning_rate=1e30"]);
    assert_eq!(
        failing.address, "127.0.0.1:9464",
        "the port is free again at once"
    );
    wait_until("failures in Prometheus", || {
        value("increase(netwright_children_total{outcome=\"diverged\"}[1h])") > 0.0
            && value("instance:netwright_children_failed:ratio30m") > 0.0
    });
    every_expression_has_samples();
    wait_until("a GPU in a scrape", || {
        value("netwright_gpu_power_watts{gpu=\"cuda:0\"}") == 300.0
    });
    assert!(
        value("sum(netwright_children_total{outcome=\"completed\"})") > 0.0,
        "the counters went on"
    );
    let text = failing.metrics_when("a GPU", |text| {
        sample(text, "netwright_gpu_utilization_ratio{gpu=\"cuda:0\"}") == Some(0.8)
    });
    let (accepted, complaints) = promtool(&["check", "metrics"], Some(&text));
    assert!(
        accepted && complaints.trim().is_empty(),
        "promtool check metrics\n{complaints}"
    );
    drop(ports);
}

/// Prometheus scrapes the search and evaluates every rule, and no alert fires.
fn shows_a_healthy_search() {
    wait_until("three scrapes of a search with rewards", || {
        value("count_over_time(netwright_reward_count[5m])") >= 3.0
            && value("increase(netwright_reward_count[1m])") > 0.0
            && value("up{job=\"netwright\"}") == 1.0
    });
    wait_until("every rule is evaluated", || {
        let rules = api("/api/v1/rules");
        let groups = rules["groups"].as_array().unwrap().iter();
        let mut all = groups.flat_map(|group| group["rules"].as_array().unwrap());
        all.clone().count() >= 12 && all.all(|rule| rule["health"] == "ok")
    });
    wait_until("a mean reward", || {
        !query("instance:netwright_reward:mean30m").is_empty()
    });
    assert!(value("instance:netwright_reward:mean30m") >= 0.0);
    // A pending alert is none yet: before its first child, for one, a lane is idle.
    let alerts = api("/api/v1/alerts")["alerts"].as_array().unwrap().clone();
    assert!(
        alerts.iter().all(|alert| alert["state"] == "pending"),
        "a healthy search, and yet: {alerts:?}"
    );
}

/// Nothing in the dashboard is empty, and neither is what the rules record.
fn every_expression_has_samples() {
    let recorded = recorded().into_iter();
    let queries: Vec<(String, String)> = expressions(&dashboard())
        .into_iter()
        .chain(recorded.map(|name| ("recording rule".to_owned(), name)))
        .collect();
    for (panel, expression) in &queries {
        wait_until(
            format!("{panel} has something to show: {expression}"),
            || !query(expression).is_empty(),
        );
    }
    println!("{} expressions have samples", queries.len());
}
