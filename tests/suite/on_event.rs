//! `run.on_event`: a program of the user's is called at a new best trial, at the end and at a failure
//! of the run, with what happened as JSON; whatever it does, the search goes on and ends.

use super::common::{
    ENDLESS, Running, Search, finished, has_line, is_dead, netwright, refused, stderr, succeeds,
    text, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A search whose program is `sh notify.sh first`, in its own folder.
fn command(search: &Search, script: &str) -> Command {
    std::fs::write(search.folder.path().join("notify.sh"), script).unwrap();
    let mut command = search.command("run");
    command.current_dir(search.folder.path());
    command.args(["--set", "run.on_event=['sh', 'notify.sh', 'first']"]);
    command
}

/// Appends each event's JSON, with what the environment says, to the file `told`.
const TELL: &str =
    "printf '%s %s %s %s\\n' \"$NETWRIGHT_EVENT\" \"$NETWRIGHT_RUN_DIR\" \"$1\" \"$2\" >> told\n";

/// Event, directory and JSON of each call.
fn told(folder: &Path) -> Vec<(String, String, Value)> {
    let text = std::fs::read_to_string(folder.join("told")).unwrap_or_default();
    let call = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap().to_owned();
        let (event, dir, first) = (word(), word(), word());
        assert_eq!(first, "first");
        (event, dir, serde_json::from_str(&word()).unwrap())
    };
    text.lines().map(call).collect()
}

#[test]
fn it_is_told_of_new_bests_and_of_the_end() {
    let search = Search::new(40, "");
    let folder = search.folder.path();
    succeeds(&mut command(&search, TELL));
    let calls = told(folder);
    let dir = search.run_dir("run").to_string_lossy().into_owned();
    let mut last = f64::MIN;
    for (event, run_dir, json) in &calls {
        assert_eq!(
            (&json["event"], &json["run"]),
            (&Value::from(event.as_str()), &Value::from("t"))
        );
        assert_eq!((run_dir, &json["dir"]), (&dir, &Value::from(dir.as_str())));
        let reward = json["reward"].as_f64().unwrap();
        if event == "best" {
            assert!(reward > last, "{reward} is no new best after {last}");
            last = reward;
        }
    }
    let (event, _, json) = calls.last().unwrap();
    assert_eq!(
        (event.as_str(), &json["finished"], &json["trials"]),
        ("end", &40.into(), &40.into())
    );
    assert!(
        json["trial"].is_u64() && json["confirmed"].is_null(),
        "{json}"
    );
    assert_eq!(calls.iter().filter(|call| call.0 == "end").count(), 1);
    // A run that goes on knows its best.
    std::fs::remove_file(folder.join("told")).unwrap();
    let mut more = command(&search, TELL);
    succeeds(more.args(["--set", "run.trials=44"]));
    for (event, _, json) in told(folder) {
        assert!(
            event == "end" || json["reward"].as_f64().unwrap() > last,
            "{json}"
        );
    }
}

#[test]
fn a_failure_is_told_and_its_own_failure_harms_nothing() {
    let search = Search::new(12, "");
    let config = "[run]\nname = \"t\"\ntrials = 12\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{ name = \"a\", options = [1, 2] }]\n[child]\nevaluator = \"command\"\nattempts = 1\n\
         command.argv = [\"sh\", \"-c\", \"exit 3\"]\n";
    std::fs::write(search.folder.path().join("search.toml"), config).unwrap();
    let script = format!("{TELL}echo 'it says this' >&2\nexit 7\n");
    let output = command(&search, &script).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let calls = told(search.folder.path());
    let (event, _, json) = &calls[0];
    assert_eq!((calls.len(), event.as_str()), (1, "failure"));
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("all 12 trials have failed"), "{message}");
    assert!(
        stderr(&output).contains("run.on_event: sh notify.sh first at the event \"failure\"")
            && stderr(&output).contains("exit status: 7"),
        "{}",
        stderr(&output)
    );
    let log = search.run_dir("run").join("log/on-event.log");
    assert!(
        std::fs::read_to_string(log)
            .unwrap()
            .contains("it says this")
    );
}

#[test]
fn it_holds_nothing_up_and_a_signal_ends_it_with_the_search() {
    let search = Search::new(ENDLESS, "");
    let folder = search.folder.path();
    let script = "echo $$ > pid\nsleep 3600 & echo $! > below\nwait\n";
    let mut process = Running::start_silent(&mut command(&search, script));
    let run = search.run_dir("run");
    wait_until("the program runs, and the search goes on", || {
        assert!(!process.has_ended());
        has_line(&folder.join("below")) && finished(&run) > 500
    });
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(143));
    for file in ["pid", "below"] {
        let pid = std::fs::read_to_string(folder.join(file)).unwrap();
        wait_until(format!("{file} is gone"), || is_dead(&pid));
    }
    // At the end it is waited for, until somebody does not want to.
    let mut last = command(
        &search,
        "[ $NETWRIGHT_EVENT = best ] || { echo $$ > last; sleep 3600; }\n",
    );
    let trials = format!("run.trials={}", finished(&run) + 8);
    let mut process = Running::start_silent(last.args(["--set", &trials]));
    wait_until("it is told of the end", || has_line(&folder.join("last")));
    assert!(!process.has_ended());
    process.signal(Signal::INT);
    assert_eq!(
        process.wait().code(),
        Some(0),
        "the search has come to its end"
    );
    let pid = std::fs::read_to_string(folder.join("last")).unwrap();
    wait_until("it is gone", || is_dead(&pid));
}

#[test]
fn a_program_that_is_not_there_is_refused() {
    let search = Search::new(4, "");
    for (program, part) in [
        (
            "['no-such-program']",
            "there is no program no-such-program on the PATH",
        ),
        ("['']", "must be a program and its arguments"),
    ] {
        let mut command = search.command("run");
        command.args(["--set", &format!("run.on_event={program}")]);
        let message = refused(&mut command);
        assert!(
            message.contains("run.on_event") && message.contains(part),
            "{message}"
        );
    }
    assert!(
        netwright()
            .arg("status")
            .arg(search.run_dir("run"))
            .output()
            .unwrap()
            .status
            .code()
            == Some(2)
    );
}
