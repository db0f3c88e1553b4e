//! The page and its JSON over HTTP: of a live search, of a finished run, of one with a hundred
//! thousand trials.

use super::common::{ENDLESS, Search, Server, netwright, printed, refused, succeeds, trials};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;

/// A finished run of 40 trials, and its page.
fn finished() -> (Search, Server) {
    let search = Search::new(40, "");
    succeeds(&mut search.command("run"));
    let served = Server::page(&search.run_dir("run"));
    (search, served)
}

#[test]
fn a_finished_run_is_served_with_its_outcomes_and_a_strict_policy() {
    let (search, served) = finished();
    let page = served.get("/");
    assert_eq!(page.status, 200);
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'; script-src 'sha256-"),
        "{}",
        page.head
    );
    assert!(!page.head.contains("unsafe"), "{}", page.head);
    for part in [
        "<strong>40</strong> of 40 trials",
        ">finished</span>",
        "reward over 40 trials: best",
        "<h3>What matters</h3>",
        "<h3>What the best have in common</h3>",
        "<h3>Chosen over time</h3>",
        "Nothing trains: the search is not running",
    ] {
        assert!(
            page.body.contains(part),
            "{part} is missing from\n{}",
            page.body
        );
    }
    let (_, status) = served.json("/api/status");
    let printed = printed("status", &search.run_dir("run"), &["--json"]);
    assert_eq!(status, serde_json::from_str::<Value>(&printed).unwrap());
    assert_eq!(status["life"], "closed");
    let fragment = served.get("/fragment/trial/7");
    assert!(
        fragment.status == 200
            && fragment.body.contains("Trial 7")
            && fragment.body.contains("<th scope=\"row\">a</th>")
    );
    assert_eq!(
        (
            served.get("/drawing/7.svg").status,
            served.get("/fragment/trial/41").status
        ),
        (404, 404)
    );
}

#[test]
fn trials_come_in_pages_sorted_and_filtered_and_wrong_parameters_are_named() {
    let (search, served) = finished();
    let (status, page) = served.json("/api/trials?limit=5&offset=10");
    assert_eq!(
        (
            status,
            &page["total"],
            page["trials"].as_array().unwrap().len()
        ),
        (200, &json!(40), 5)
    );
    assert_eq!(page["trials"][0]["id"], 11);
    let (_, best) = served.json("/api/trials?sort=-reward&status=completed");
    let trained = best["trials"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|trial| trial["reused_from"].is_null())
        .take(10);
    let top = printed("top", &search.run_dir("run"), &["--json"]);
    assert_eq!(
        json!(trained.collect::<Vec<_>>()),
        serde_json::from_str::<Value>(&top).unwrap()
    );
    let ids = |query: &str| -> Vec<u64> {
        let (_, page) = served.json(query);
        page["trials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trial| trial["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids("/api/trials?sort=-id&limit=3"), [40, 39, 38]);
    assert!(ids("/api/trials?status=failed").is_empty() && ids("/api/trials?offset=40").is_empty());
    let (_, one) = served.json("/api/trials/11");
    assert_eq!(one["reward"], page["trials"][0]["reward"]);
    assert!(one["epochs"].is_array());
    for (query, status, names) in [
        (
            "/api/trials?limit=0",
            400,
            "limit=0: must be 1 to 1000 trials",
        ),
        (
            "/api/trials?status=done",
            400,
            "must be queued, running, completed, failed or stopped",
        ),
        (
            "/api/trials?sort=metric",
            400,
            "must be id, -id (newest first), reward or -reward (best first)",
        ),
        (
            "/api/trials?page=1",
            400,
            "there are limit, offset, sort and status",
        ),
        ("/api/trials/x", 400, "a trial is a whole number from 1"),
        ("/api/trials/41", 404, "there is no trial 41"),
    ] {
        let (code, problem) = served.json(query);
        assert_eq!(code, status, "{query}");
        assert!(
            problem["error"].as_str().unwrap().contains(names),
            "{problem}"
        );
    }
}

#[test]
fn a_running_search_serves_its_page_and_tells_of_each_change() {
    let search = Search::new(ENDLESS, "");
    let served = Server::search(&mut search.command("run"));
    assert!(served.get("/").body.contains("of 10,000,000 trials"));
    let count = |event: &String| -> Option<u64> {
        let text = event
            .split("<strong>")
            .nth(1)
            .and_then(|rest| rest.split("</strong>").next())?;
        event
            .contains("<p class=\\\"count\\\">")
            .then(|| text.replace(',', "").parse().unwrap())
    };
    let events = served.events(|events| events.iter().filter_map(count).count() >= 3);
    let counts: Vec<u64> = events.iter().filter_map(count).collect();
    assert!(
        counts.windows(2).all(|pair| pair[0] < pair[1]),
        "{counts:?}"
    );
    // Another process shows the same run.
    let other = Server::page(&search.run_dir("run"));
    let shows = |badge: &'static str| {
        other.get_when(badge, "/", |page| {
            page.contains(&format!("<span class=\"badge {badge}</span>"))
        })
    };
    shows("live\">running");
    assert!(
        served
            .get("/metrics")
            .body
            .contains("netwright_reward_count"),
        "the routes of monitors are there beside"
    );
    // Killed.
    drop(served);
    shows("bad\">interrupted");
}

/// A search of four trials on the CPU and on a GPU whose readings come from a file. Its children end
/// once there is a file `go`.
fn waiting(folder: &Path) -> Server {
    let config = "[run]\nname = \"w\"\ntrials = 4\n[telemetry]\nlisten = \"127.0.0.1:0\"\n[space]\nkind = \"choices\"\n\
         decision = [{ name = \"a\", options = [1, 2, 3] }]\n[controller]\nchildren = 4\n[devices]\nuse = [\"cpu\", \"cuda:0\"]\n\
         [child]\nevaluator = \"command\"\ncommand.argv = [\"sh\", \"train.sh\"]\n";
    std::fs::write(folder.join("search.toml"), config).unwrap();
    std::fs::write(
        folder.join("train.sh"),
        "until [ -e go ]; do sleep 0.05; done; echo '{\"reward\": 0.5}'\n",
    )
    .unwrap();
    let gpu = r#"[{"uuid": "GPU-1", "pci_bus_id": "00000000:1B:00.0", "model": "A", "utilization_percent": 80,
                   "memory_used_bytes": 3221225472, "memory_total_bytes": 8589934592, "temperature_celsius": 61}]"#;
    std::fs::write(folder.join("gpu.json"), gpu).unwrap();
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", "run"])
        .env_remove("CUDA_VISIBLE_DEVICES");
    Server::start(command.env("NETWRIGHT_NVML_READINGS", folder.join("gpu.json")))
}

/// The newest HTML of a part in these lines of events.
fn part(lines: &[String], name: &str) -> Option<String> {
    let html = |line: &String| {
        serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok()?[name]
            .as_str()
            .map(str::to_owned)
    };
    lines.iter().rev().find_map(html)
}

#[test]
fn devices_show_what_the_process_at_work_reads_and_the_journal_alone_does_not_guess() {
    let folder = tempfile::tempdir().unwrap();
    let served = waiting(folder.path());
    // The busy ratio is that of the last seconds, and a child takes a moment to start.
    let busy = |lane: &str, html: &str| -> Option<f64> {
        html.split(&format!("{lane} busy</span>"))
            .nth(1)?
            .split("class=\"n\">")
            .nth(1)?
            .split('%')
            .next()?
            .parse()
            .ok()
    };
    let mut lines = Vec::new();
    for line in served.event_lines() {
        lines.push(line);
        let html = part(&lines, "devices").unwrap_or_default();
        if busy("cpu-0", &html) > Some(0.0)
            && busy("cuda0-0", &html) > Some(0.0)
            && html.contains("#trial-")
        {
            break;
        }
    }
    let html = part(&lines, "devices").unwrap();
    for reading in [
        "<b>cuda:0</b>",
        "utilization",
        ">80%<",
        "3.0 of 8.0 GiB",
        "61 °C",
    ] {
        assert!(html.contains(reading), "{reading} is missing from {html}");
    }
    served.get_when("the first load has the readings too", "/", |page| {
        page.contains(">80%<") && page.contains("cpu-0 busy")
    });
    let other = Server::page(&folder.path().join("run")).get("/").body;
    assert!(
        other.contains("<b>cuda:0</b>")
            && !other.contains("class=\"bar\"")
            && !other.contains("80%"),
        "{other}"
    );
    std::fs::write(folder.path().join("go"), "").unwrap();
}

#[test]
fn whoever_looks_when_the_search_ends_sees_its_last_state_and_that_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = waiting(folder.path());
    let mut lines = served.event_lines();
    let mut heard: Vec<String> = lines
        .by_ref()
        .take_while(|line| !line.contains("#trial-"))
        .collect();
    std::fs::write(folder.path().join("go"), "").unwrap();
    // To the end: the server closes the connection.
    heard.extend(lines);
    assert!(served.process.wait().success());
    assert!(
        part(&heard, "progress")
            .unwrap()
            .contains("<strong>4</strong> of 4 trials"),
        "{heard:?}"
    );
    assert!(
        part(&heard, "state").unwrap().contains(">finished<"),
        "{heard:?}"
    );
    assert!(
        part(&heard, "running")
            .unwrap()
            .contains("the search is not running"),
        "{heard:?}"
    );
    let end = heard
        .iter()
        .position(|line| line == "event: end")
        .unwrap_or_else(|| panic!("no end in {heard:?}"));
    assert!(
        heard[end + 1].starts_with("data: The search has ended"),
        "{}",
        heard[end + 1]
    );
    // An empty chunk is the end of the answer.
    assert!(
        heard[end + 2..]
            .iter()
            .all(|line| line.is_empty() || line == "0"),
        "something came after the end: {heard:?}"
    );
    assert!(folder.path().join("run/report/reward.svg").is_file());
}

#[test]
fn names_of_the_user_are_text_and_nothing_else() {
    let search = Search::new(8, "");
    let config = search.folder.path().join("search.toml");
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("name = \"t\"", "name = \"<img src=x onerror=alert(1)>\"");
    let text = text.replace("name = \"a\"", "name = \"a<b>\"");
    std::fs::write(&config, text).unwrap();
    let table = search.folder.path().join("table.csv");
    std::fs::write(
        &table,
        std::fs::read_to_string(&table)
            .unwrap()
            .replacen("a,", "a<b>,", 1),
    )
    .unwrap();
    succeeds(&mut search.command("run"));
    let served = Server::page(&search.run_dir("run"));
    let all = [served.get("/").body, served.get("/fragment/trial/1").body].concat();
    assert!(all.contains("&lt;img src=x onerror=alert(1)&gt;") && all.contains("a&lt;b&gt;"));
    assert!(!all.contains("<img src=x") && !all.contains("a<b>"));
}

#[test]
fn an_address_that_cannot_be_had_and_a_folder_without_a_run_are_input_errors() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (search, _served) = finished();
    let address = taken.local_addr().unwrap().to_string();
    for (run, listen) in [
        (search.run_dir("run"), address.as_str()),
        (search.run_dir("none"), "127.0.0.1:0"),
        (search.run_dir("run"), "off"),
    ] {
        refused(netwright().arg("page").arg(run).args(["--listen", listen]));
    }
}

/// Fills the run up to `many` trials: some failed, and at the end some that run and some that wait.
fn multiply(run: &Path, many: u64) {
    let connection = Connection::open(run.join("search.db")).unwrap();
    let sql = format!(
        "CREATE TEMP TABLE seeds AS SELECT * FROM trials;
         DELETE FROM trials;
         WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {many})
         INSERT INTO trials SELECT n, 0, n, 0, decisions, architecture,
             CASE WHEN n > {many} - 40 THEN 'running' WHEN n % 97 = 0 THEN 'failed' ELSE 'completed' END,
             CASE WHEN n <= {many} - 40 AND n % 97 > 0 THEN (n % 7919) / 7919.0 END, CASE WHEN n <= {many} - 40 AND n % 97 > 0 THEN (n % 7919) / 7919.0 END,
             1234567, 123456789, seed, 'cuda:' || (n % 8), 0, 0, sampled_at, started_at, CASE WHEN n <= {many} - 40 THEN finished_at END, seconds,
             CASE WHEN n % 97 = 0 THEN 'diverged: the loss of epoch 3 is not finite, and here is a long story of why that may be so' END, NULL, NULL, NULL, NULL, NULL
         FROM numbers JOIN seeds ON seeds.id = n % 40 + 1;
         INSERT INTO epochs SELECT id, value, 1.0 / value, value / 500.0, 3.25 FROM trials, generate WHERE status = 'running';"
    );
    connection
        .execute_batch("CREATE TEMP TABLE generate AS WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 400) SELECT value FROM n;")
        .unwrap();
    connection.execute_batch(&sql).unwrap();
}

#[test]
fn a_hundred_thousand_trials_fit_the_first_load_and_every_update() {
    let search = Search::new(40, "");
    succeeds(&mut search.command("run"));
    let run = search.run_dir("run");
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    // So that children have epochs to show.
    std::fs::write(
        run.join("config.toml"),
        config.replace(
            "evaluator = \"table\"",
            "evaluator = \"train\"\nepochs = 400",
        ),
    )
    .unwrap();
    multiply(&run, 100_000);
    assert_eq!(trials(&run).len(), 100_000);
    let served = Server::page(&run);
    let page = served.get("/");
    assert!(
        page.body.len() < 500_000,
        "the first load has {} bytes",
        page.body.len()
    );
    assert!(
        page.body.contains("worst to best of each 500 trials"),
        "{}",
        page.body
    );
    let parts = [
        "state", "progress", "figures", "rewards", "leaders", "running", "latest", "devices",
        "events",
    ];
    let tells = |events: &[String], part: &str| {
        events
            .iter()
            .any(|event| event.contains(&format!("\"{part}\":")))
    };
    let events = served.events(|events| parts.iter().all(|part| tells(events, part)));
    for event in &events {
        assert!(event.len() < 20_000, "an update has {} bytes", event.len());
    }
    let points = served.get("/points");
    assert!(
        points.body.len() < 20_000,
        "the chart's points have {} bytes",
        points.body.len()
    );
    assert!(
        serde_json::from_str::<Vec<Value>>(&points.body)
            .unwrap()
            .len()
            <= 2000
    );
    let (_, far) = served.json("/api/trials?sort=-reward&offset=90000&limit=2");
    assert_eq!(
        (&far["total"], far["trials"].as_array().unwrap().len()),
        (&json!(100_000), 2)
    );
}
