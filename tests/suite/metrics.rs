//! The endpoint of a running search, read as Prometheus reads it.

use super::common::Search;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

/// GET over a plain socket.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The value of a sample line, such as `netwright_children_total{outcome="completed"}`.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn a_running_search_exports_rewards_children_and_best() {
    let search = Search::new(1_000_000, "");
    let mut command = search.command("run");
    let mut process = command.args(["--set", "telemetry.listen=127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("metrics: http://").map(|rest| rest.trim_end_matches("/metrics").to_owned()))
        .expect("the address is printed");
    // Lines about trials follow once children end: by then the counters must have moved.
    lines.by_ref().map(Result::unwrap).find(|line| line.contains("children/h")).expect("progress is printed");
    let first = get(&address, "/metrics");
    lines.by_ref().map(Result::unwrap).find(|line| line.contains("children/h")).expect("progress goes on");
    let second = get(&address, "/metrics");
    let health = get(&address, "/healthz");
    process.kill().unwrap();
    process.wait().unwrap();

    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let completed = "netwright_children_total{outcome=\"completed\"}";
    assert!(sample(&first, completed) > 0.0);
    assert!(sample(&second, completed) > sample(&first, completed));
    assert!(sample(&second, "netwright_reward_count") > sample(&first, "netwright_reward_count"));
    assert!((0.0..=1.0).contains(&sample(&second, "netwright_best_reward")));
    assert!((0.0..=1.0).contains(&sample(&second, "netwright_baseline")));
    assert!(sample(&second, "process_resident_memory_bytes") > 0.0);
    sample(&second, "netwright_examples_total");
}

#[test]
fn an_address_that_cannot_be_had_is_an_input_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let search = Search::new(10, "");
    let setting = format!("telemetry.listen={}", taken.local_addr().unwrap());
    let output = search.command("run").args(["--set", &setting]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("telemetry.listen"));
    assert!(!search.run_dir("run").exists(), "nothing is written before the input is right");
}
