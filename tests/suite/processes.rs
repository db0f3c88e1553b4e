//! What scripts leave running: it ends with its trial or with the search, it never takes a process of
//! another lane with it, and a search that is process 1 of a container leaves no zombies.

use super::common::{Running, count, finished, is_dead, needs, netwright, trials, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a script and a search of two lanes that runs it.
fn search(trials: u64, script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.sh"), script).unwrap();
    let config = format!(
        "[run]\nname = \"t\"\ntrials = {trials}\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 3] }}]\n[controller]\nchildren = 2\n[devices]\nlanes_per_device = 2\n\
         [child]\nevaluator = \"command\"\nattempts = 1\ncommand.argv = [\"sh\", \"train.sh\"]\n"
    );
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    folder
}

/// `command` with the arguments of the search in this folder.
fn searching(mut command: Command, folder: &Path) -> Command {
    command
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", "run"]);
    command
}

fn command(folder: &Path) -> Command {
    searching(netwright(), folder)
}

/// A daemon of the trial: it writes its process id, and is no longer below the script.
const DAEMON: &str = "daemon() { (setsid sh -c \"$1\"' echo $$ > daemon.part; mv daemon.part daemon; exec sleep 1000' > /dev/null 2>&1 &); \
                      while [ ! -e daemon ]; do sleep 0.01; done; }\n\
                      top=$PWD; cd \"$NETWRIGHT_CHECKPOINT_DIR\"\n";

fn daemon(folder: &Path, trial: u64) -> PathBuf {
    folder.join(format!("run/checkpoints/trial-{trial}/daemon"))
}

#[test]
fn a_trials_daemon_ends_with_its_trial_and_no_other_lanes() {
    let script = format!(
        "{DAEMON}daemon ''\n[ $NETWRIGHT_TRIAL = 2 ] || while [ ! -e \"$top/go\" ]; do sleep 0.02; done\necho '{{\"reward\": 1}}'\n"
    );
    let folder = search(2, &script);
    let run = folder.path().join("run");
    let mut process = Running::start_silent(&mut command(folder.path()));
    let pid = |trial| std::fs::read_to_string(daemon(folder.path(), trial)).unwrap();
    wait_until("trial 2 has ended, and trial 1 has its daemon", || {
        finished(&run) == 1 && daemon(folder.path(), 1).exists()
    });
    assert!(
        is_dead(&pid(2)),
        "it is gone before its trial has an outcome"
    );
    assert!(!is_dead(&pid(1)), "another lane's daemon goes on");
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(process.wait().code(), Some(0));
    assert!(is_dead(&pid(1)));
    assert!(trials(&run).iter().all(|trial| trial.3 == "completed"));
}

#[test]
fn a_daemon_ends_with_a_search_that_is_stopped_even_if_it_ignores_sigterm() {
    let script = format!("{DAEMON}daemon 'trap \"\" TERM;'\nexec sleep 1000\n");
    let folder = search(2, &script);
    let mut process = Running::start_silent(&mut command(folder.path()));
    let files = [1, 2].map(|trial| daemon(folder.path(), trial));
    wait_until("both have their daemon", || {
        files.iter().all(|file| file.exists())
    });
    process.signal(Signal::TERM);
    assert_eq!(process.wait().code(), Some(143));
    for file in files {
        assert!(is_dead(&std::fs::read_to_string(file).unwrap()));
    }
}

#[test]
fn a_child_that_no_script_has_started_is_left_alone() {
    let folder = search(4, "(setsid sleep 0.01 &)\necho '{\"reward\": 1}'\n");
    let mut shell = Command::new("sh");
    // The sleep becomes a child of the search.
    shell
        .args(["-c", "sleep 1000 & echo $! > sleep.pid; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_netwright"));
    let output = searching(shell, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(output.success(), "{output}");
    let pid = std::fs::read_to_string(folder.path().join("sleep.pid")).unwrap();
    assert!(!is_dead(&pid));
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Ids and states (a letter) of the children of a process.
fn children(parent: u32) -> Vec<(u32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let child = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit(") ").next()?.split(' ');
        let state = fields.next()?.to_owned();
        (fields.next()?.parse() == Ok(parent)).then_some((pid, state))
    };
    entries.filter_map(child).collect()
}

/// The options of `unshare` that make a process the first one of a namespace here.
fn namespace() -> Option<Vec<&'static str>> {
    let options = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    [&[][..], &["--map-root-user"]]
        .into_iter()
        .find_map(|more| {
            let all = [more, &options].concat();
            let works = Command::new("unshare")
                .args(&all)
                .arg("true")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
            works.then_some(all)
        })
}

#[test]
fn process_1_of_a_container_leaves_no_zombies_and_hears_every_program() {
    let Some(options) = namespace() else {
        return needs::skip("tests as process 1: no process namespaces (unshare --pid) here");
    };
    // Each trial but the last leaves orphans that end by themselves, some before it does.
    let script = "for i in 1 2 3; do (setsid sleep 0.0$i > /dev/null 2>&1 &); done\n\
                  [ $NETWRIGHT_TRIAL = 8 ] && while [ ! -e go ]; do sleep 0.02; done\n\
                  [ $NETWRIGHT_TRIAL = 3 ] && exit 7\necho '{\"reward\": 1}'\n";
    let folder = search(8, script);
    let run = folder.path().join("run");
    let mut unshare = Command::new("unshare");
    unshare.args(options).arg(env!("CARGO_BIN_EXE_netwright"));
    let mut process = Running::start(
        searching(unshare, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    );
    wait_until("all trials but one have ended", || {
        finished(&run) == 7 || process.has_ended()
    });
    let (search, _) = children(process.id())[0];
    wait_until("every orphan is reaped", || {
        let left = children(search);
        left.len() == 1 && left[0].1 != "Z"
    });
    std::fs::write(folder.path().join("go"), "").unwrap();
    assert_eq!(process.wait().code(), Some(0));
    let exits =
        "SELECT count(*) FROM trials WHERE status = 'failed' AND error LIKE '%exit code 7%'";
    assert_eq!((finished(&run), count(&run, exits)), (8, 1));
}
