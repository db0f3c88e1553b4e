//! `[[enqueue]]`: known architectures are evaluated before anything is sampled, stand in the
//! leaderboard as baselines, and move no number of the search; whatever happens in between, each is
//! there once.

use super::common::{
    Facts, Running, Search, Server, assert_verifies, count, database, finished, killed_at,
    last_snapshot, netwright, printed, refused, rows, succeeds, trials, wait_until,
};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const BEST: &str = "[[enqueue]]\nname = \"best\"\ndecisions = [3, 3, 3, 3]\n";

/// Id, name, status, reward and the trial whose reward it took, of every enqueued trial.
type Entry = (u64, String, String, Option<f64>, Option<u64>);

fn entries(run: &Path) -> Vec<Entry> {
    let sql = "SELECT id, enqueued, status, reward, reused_from FROM trials WHERE enqueued IS NOT NULL AND controller IS NULL ORDER BY id";
    rows(run, sql)
}

/// The sampled trials, numbered from 1 as if nothing had been enqueued.
fn sampled_trials(run: &Path) -> Vec<Facts> {
    let enqueued = entries(run);
    let others = trials(run)
        .into_iter()
        .filter(|trial| !enqueued.iter().any(|entry| entry.0 == trial.0));
    (1..)
        .zip(others)
        .map(|(id, (_, decisions, seed, status, reward, metric))| {
            (id, decisions, seed, status, reward, metric)
        })
        .collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Adds this at the end of the search's config.
fn append(search: &Search, more: &str) {
    let path = search.folder.path().join("search.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text + more).unwrap();
}

#[test]
fn baselines_come_first_and_the_search_is_the_same_without_them() {
    let search = Search::new(
        400,
        "[controller]\nreplicas = 1\nchildren = 8\nlearning_rate = 0.01\n",
    );
    succeeds(&mut search.command("without"));
    let file = search.folder.path().join("low.json");
    let low =
        json!({ "version": 1, "kind": "choices", "values": { "a": 0, "b": 1, "c": 0, "d": 0 } });
    std::fs::write(&file, low.to_string()).unwrap();
    append(
        &search,
        &format!("{BEST}[[enqueue]]\narchitecture = {file:?}\n"),
    );
    let output = succeeds(&mut search.command("with"));
    assert!(
        output
            .contains("first, before sampling starts: best, low (enqueued; 0 of 2 are evaluated)"),
        "{output}"
    );

    // Killed again and again, it is still the same.
    for trial in [20, 150, 300] {
        killed_at(search.command("killed"), trial);
    }
    succeeds(&mut search.command("killed"));

    let without = search.run_dir("without");
    assert_eq!(trials(&without).len(), 400);
    for run in ["with", "killed"] {
        let run = search.run_dir(run);
        let expected = [
            (1, "best".into(), "completed".into(), Some(1.0), None),
            (2, "low".into(), "completed".into(), Some(1.0 / 12.0), None),
        ];
        assert_eq!(entries(&run), expected);
        assert_eq!(sampled_trials(&run), trials(&without));
        assert!(
            last_snapshot(&run) == last_snapshot(&without),
            "the controller's parameters differ"
        );
        assert_verifies(&run);
    }
    shown_as_baselines(&search.run_dir("with"), &without);
}

/// What `top`, `status`, `show`, the page and the CSV file say of the two entries, compared with
/// what they say of a run without entries.
fn shown_as_baselines(run: &Path, without: &Path) {
    let top = printed("top", run, &["-n", "3"]);
    assert!(
        top.contains("[baseline best] a=3 b=3 c=3 d=3")
            && top.contains("[baseline low] a=0 b=1 c=0 d=0"),
        "{top}"
    );
    let rows: Value = serde_json::from_str(&printed("top", run, &["--json"])).unwrap();
    assert_eq!(
        (&rows[0]["id"], &rows[0]["enqueued"], &rows[0]["controller"]),
        (&json!(1), &json!("best"), &Value::Null)
    );
    let csv = printed("top", run, &["--csv"]);
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .ends_with(",reused_from,enqueued,confirms,retry_of,cost")
            && csv.lines().nth(1).unwrap().ends_with(",best,,,"),
        "{csv}"
    );
    let status = printed("status", run, &[]);
    for part in [
        "400 of 400 (0 failed)",
        "enqueued    best (trial 1), a baseline: reward 1.0000",
        "enqueued    low (trial 2), a baseline: reward 0.0833",
    ] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
    let [own, other]: [Value; 2] = [run, without]
        .map(|run| serde_json::from_str(&printed("status", run, &["--json"])).unwrap());
    for key in [
        "completed",
        "failed",
        "mean_reward",
        "best_reward",
        "baseline",
        "sampled",
    ] {
        assert_eq!(own[key], other[key], "{key}");
    }
    assert_eq!(
        (&own["enqueued"], &own["baselines"][1]["name"]),
        (&json!(2), &json!("low"))
    );
    let shown = printed("show", run, &["1"]);
    assert!(
        shown.contains("trial       1 (best: a baseline from [[enqueue]], not sampled)"),
        "{shown}"
    );
    let served = Server::page(run);
    let page = served.get("/").body;
    for part in [
        "<strong>400</strong> of 400 trials",
        "and 2 baselines",
        ">baseline</span> best <code>a=3 b=3 c=3 d=3</code>",
        ">baseline</span> low",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(
        served
            .get("/fragment/trial/2")
            .body
            .contains("low: a baseline from [[enqueue]], not sampled")
    );
    let file = std::fs::read_to_string(run.join("report/trials.csv")).unwrap();
    assert_eq!(file.lines().count(), 403);
}

/// A search whose script appends the trial's number to the file `calls`. In the trial that the file
/// `hold` names it waits until that file is gone.
fn scripted(folder: &Path, extra: &str) -> Command {
    let script = "echo $NETWRIGHT_TRIAL >> calls\nwhile [ -f hold ] && [ \"$(cat hold)\" = $NETWRIGHT_TRIAL ]; do sleep 0.01; done\n\
                  if grep -q '\"a\":9' ; then echo 'no such network' >&2; exit 4; fi\necho '{\"reward\": 0.5}'\n";
    write(folder, "train.sh", script);
    let config = format!(
        "[run]\nname = \"t\"\ntrials = 4\n[telemetry]\nlisten = \"off\"\n[space]\nkind = \"choices\"\n\
         decision = [{{ name = \"a\", options = [1, 2, 9] }}, {{ name = \"b\", options = [0.5, 0.25] }}]\n[controller]\nchildren = 2\n\
         [child]\nevaluator = \"command\"\nattempts = 1\ncommand.argv = [\"sh\", \"train.sh\"]\n[devices]\nlanes_per_device = 2\n{extra}"
    );
    write(folder, "search.toml", &config);
    let mut command = netwright();
    command.current_dir(folder).args(["search", "search.toml"]);
    command
}

/// The trials that the script was called for.
fn calls(folder: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(folder.join("calls")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn sampling_waits_and_an_entry_that_was_under_way_runs_again_under_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let extra = "[[enqueue]]\nname = \"one\"\ndecisions = [0, 0]\n[[enqueue]]\nname = \"two\"\ndecisions = [1, 1]\n";
    write(folder.path(), "hold", "2");
    let run = folder.path().join("runs/t");
    let mut process = Running::start_silent(&mut scripted(folder.path(), extra));
    wait_until("trial 1 has its outcome, and trial 2 is held", || {
        assert!(!process.has_ended(), "the search has ended");
        finished(&run) == 1
            && calls(folder.path()).len() == 2
            && count(&run, "SELECT count(*) FROM trials WHERE status = 'running'") == 1
    });
    let status: Value = serde_json::from_str(&printed("status", &run, &["--json"])).unwrap();
    assert_eq!(
        (&status["sampled"], &status["running"], &status["enqueued"]),
        (&json!(0), &json!(1), &json!(2))
    );
    process.kill();
    let (ended, before): (String, u64) = database(&run)
        .unwrap()
        .query_row(
            "SELECT finished_at, (SELECT count(*) FROM trials) FROM trials WHERE id = 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(before, 2, "something was sampled");
    std::fs::remove_file(folder.path().join("hold")).unwrap();
    let output = succeeds(&mut scripted(folder.path(), extra));
    assert!(
        output.contains("(enqueued; 1 of 2 are evaluated)"),
        "{output}"
    );
    let calls = calls(folder.path());
    let of = |trial: u64| calls.iter().filter(|call| **call == trial).count();
    assert_eq!((of(1), of(2)), (1, 2));
    assert_eq!(
        trials(&run).iter().map(|trial| trial.0).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    let after: (String, u64) = database(&run)
        .unwrap()
        .query_row(
            "SELECT (SELECT finished_at FROM trials WHERE id = 1), interruptions FROM trials WHERE id = 2 AND status = 'completed'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    assert_eq!(after, (ended, 1));
}

#[test]
fn a_failed_entry_is_shown_as_failed_and_teaches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let extra = "[[enqueue]]\nname = \"odd one\"\ndecisions = [2, 0]\n";
    let mut command = scripted(folder.path(), extra);
    let output = succeeds(command.args(["--set", "child.failed_reward=0.25"]));
    assert!(
        output.contains("odd one (trial 1) failed: the command ended with exit code 4"),
        "{output}"
    );
    let run = folder.path().join("runs/t");
    assert_eq!(
        entries(&run),
        [(1, "odd one".into(), "failed".into(), None, None)]
    );
    assert_eq!(trials(&run).len(), 5);
    let status = printed("status", &run, &[]);
    assert!(
        status.contains("4 of 4 (")
            && status
                .contains("enqueued    odd one (trial 1), a baseline: failed: the command ended"),
        "{status}"
    );
}

#[test]
fn entries_may_be_added_to_a_run_but_not_changed() {
    let search = Search::new(40, BEST);
    succeeds(&mut search.command("run"));
    let run = search.run_dir("run");
    let before = trials(&run);
    assert_eq!(before.len(), 41);
    let worst = "{ name = \"worst\", decisions = [0, 0, 0, 0] }";
    let with = |entries: &str| {
        let mut command = search.command("run");
        command.args(["--set", &format!("enqueue=[{entries}]")]);
        command
    };
    for (entries, part) in [
        (
            "",
            "enqueue[1]: \"best\" in the run, not there now; entries stay as they are, new ones come behind them",
        ),
        (worst, "enqueue[1]: \"best\" in the run, \"worst\" now"),
        (
            "{ name = \"best\", decisions = [3, 3, 3, 0] }",
            "enqueue[1]: \"best\" in the run, another network of this name now",
        ),
    ] {
        let message = refused(&mut with(entries));
        assert!(
            message.contains(part) && message.contains("--fresh"),
            "{message}"
        );
    }
    assert_eq!(trials(&run), before);
    succeeds(&mut with(&format!(
        "{{ name = \"best\", decisions = [3, 3, 3, 3] }}, {worst}"
    )));
    assert_eq!(
        entries(&run)
            .iter()
            .map(|entry| (entry.0, entry.1.as_str()))
            .collect::<Vec<_>>(),
        [(1, "best"), (42, "worst")]
    );
    append(
        &search,
        "[[enqueue]]\nname = \"worst\"\ndecisions = [0, 0, 0, 0]\n",
    );
    succeeds(search.command("run").args(["--set", "run.trials=60"]));
    let after = trials(&run);
    assert_eq!((after.len(), &after[..41]), (62, &before[..]));
    assert_verifies(&run);
}

#[test]
fn a_sampled_network_takes_the_reward_of_an_enqueued_one_and_is_learned_from() {
    // A network that were evaluated again could get another reward.
    let search = Search::new(
        600,
        &format!(
            "[controller]\nchildren = 8\nlearning_rate = 0.01\n{BEST}[[enqueue]]\nname = \"twin\"\ndecisions = [3, 3, 3, 3]\n"
        ),
    );
    search.write_noisy_table();
    succeeds(search.command("run").args([
        "--set",
        "run.reuse=true",
        "--set",
        "child.table.reward=['reward', 'again']",
    ]));
    let run = search.run_dir("run");
    let [first, twin] = entries(&run).try_into().unwrap();
    assert_eq!((first.4, twin.4, first.3), (None, Some(1), twin.3));
    let connection = database(&run).unwrap();
    let sql = "SELECT count(*), count(DISTINCT reward), min(reward), count(minibatch) FROM trials WHERE reused_from = 1 AND enqueued IS NULL";
    let (count, rewards, reward, learned): (u64, u64, f64, u64) = connection
        .query_row(sql, [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap();
    assert!(count > 0, "the network was never sampled");
    assert_eq!((rewards, Some(reward), learned), (1, first.3, count));
    assert_verifies(&run);
    let top = printed("top", &run, &["-n", "1000"]);
    assert!(
        top.contains("[baseline best]") && top.contains("[baseline twin]"),
        "both stand in the leaderboard: {top}"
    );
    assert_eq!(
        top.matches("a=3 b=3 c=3 d=3").count(),
        2,
        "and those that took the reward do not: {top}"
    );
}

/// `check`, in `folder`, on a search of small convolutional networks whose config ends with this
/// text.
fn check(folder: &Path, more: &str) -> Command {
    let config = "[telemetry]\nlisten = \"off\"\n[run]\nname = \"t\"\ntrials = 2\n[space]\nlayers = 2\nfilters = [4, 8]\n[controller]\nchildren = 2\n[child]\nepochs = 1\n\
                  [data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 32\naugment = false\n";
    write(folder, "s.toml", &format!("{config}{more}"));
    let mut command = netwright();
    command.current_dir(folder).args(["check", "s.toml"]);
    command
}

#[test]
fn the_shipped_rivals_are_trained_and_a_found_network_goes_into_another_search() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/architectures");
    let entry = |file: &Path| format!("[[enqueue]]\narchitecture = {file:?}\n");
    let both = format!(
        "{}{}",
        entry(&shipped.join("vgg-like.json")),
        entry(&shipped.join("all-skip.json"))
    );
    let output = succeeds(&mut check(folder.path(), &both));
    for part in [
        "evaluated before sampling starts: vgg-like: 6 layers, 2 poolings: 3×3·24",
        "all-skip: 6 layers: 3×3·24/2 | 3×3·24 | 3×3·24 ← 1,2",
    ] {
        assert!(output.contains(part), "{part} is not in {output}");
    }
    succeeds(
        netwright()
            .current_dir(folder.path())
            .args(["search", "s.toml"]),
    );
    let run = folder.path().join("runs/t");
    let found = entries(&run);
    assert!(
        found.iter().all(|entry| entry.2 == "completed") && found.len() == 2,
        "{found:?}"
    );
    write(
        folder.path(),
        "found.json",
        &printed("show", &run, &["3", "--json"]),
    );
    let more = "[[enqueue]]\narchitecture = \"found.json\"\n";
    assert!(succeeds(&mut check(folder.path(), more)).contains("sampling starts: found: 2 layers"));
    let json: Value =
        serde_json::from_str(&succeeds(check(folder.path(), more).arg("--json"))).unwrap();
    let row: Value = serde_json::from_str(&printed("show", &run, &["3", "--json"])).unwrap();
    assert_eq!(json["enqueued"][0]["architecture"], row["architecture"]);
}

#[test]
fn the_entries_that_shipped_configs_name_fit_them() {
    for (search, name) in [
        ("cifar10", "vgg-like"),
        ("cifar10", "all-skip"),
        ("choices", "usual"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        succeeds(
            netwright()
                .current_dir(folder.path())
                .args(["init", search, "c.toml"]),
        );
        let text = std::fs::read_to_string(folder.path().join("c.toml")).unwrap();
        let block = format!("# [[enqueue]]\n# name = \"{name}\"");
        assert!(text.contains(&block), "{search} does not name {name}");
        let (before, after) = text.split_once(&block).unwrap();
        let after = after.replacen("# decisions", "decisions", 1);
        write(
            folder.path(),
            "c.toml",
            &format!("{before}[[enqueue]]\nname = \"{name}\"{after}"),
        );
        let printed = succeeds(
            netwright()
                .current_dir(folder.path())
                .args(["check", "c.toml"]),
        );
        assert!(
            printed.contains(&format!("# evaluated before sampling starts: {name}: ")),
            "{printed}"
        );
    }
}

#[test]
fn what_cannot_be_enqueued_is_refused_with_the_entry_and_what_would_be_right() {
    let folder = tempfile::tempdir().unwrap();
    let network = |layers: Value, output: Value| {
        let image = json!({ "channels": 3, "height": 32, "width": 32 });
        json!({ "version": 1, "kind": "conv", "image": image, "classes": 10, "layers": layers, "output": output })
    };
    let layer = json!({ "filter_height": 3, "filter_width": 3, "filters": 4, "stride_height": 1, "stride_width": 1, "inputs": [2] });
    write(folder.path(), "text.json", "{ layers: 3 }");
    write(folder.path(), "other.json", "{\"nodes\": []}");
    write(folder.path(), "newer.json", "{\"version\": 2}");
    write(
        folder.path(),
        "cell.json",
        "{\"version\": 1, \"kind\": \"cell\", \"reference\": \"lstm\"}",
    );
    write(
        folder.path(),
        "bare.json",
        &network(json!([{ "inputs": [0] }]), json!([1])).to_string(),
    );
    let mut images = network(json!([layer]), json!([1]));
    images["image"] = json!({ "channels": 1, "height": 28, "width": 28 });
    write(folder.path(), "other-images.json", &images.to_string());
    write(
        folder.path(),
        "ahead.json",
        &network(json!([layer]), json!([1])).to_string(),
    );
    for (entry, part) in [
        (
            "architecture = \"none.json\"",
            "s.toml:19: enqueue[1].architecture (\"none\"): none.json: there is no such file (paths are relative to the working directory)",
        ),
        (
            "architecture = \"text.json\"",
            "enqueue[1].architecture (\"text\"): text.json: is not JSON: key must be a string at line 1 column 3",
        ),
        (
            "architecture = \"other.json\"",
            "other.json: is no architecture, for \"version\": 1 is not there; `netwright show RUN TRIAL --json` prints one",
        ),
        (
            "architecture = \"newer.json\"",
            "newer.json: its version is 2, and this program knows version 1",
        ),
        (
            "architecture = \"cell.json\"",
            "cell.json: it is of kind \"cell\", and space.kind is \"conv\"",
        ),
        (
            "architecture = \"bare.json\"",
            "bare.json: is no architecture: a layer of type conv needs filter_height (layer 1)",
        ),
        (
            "architecture = \"other-images.json\"",
            "other-images.json: image: it is for images of 1 × 28 × 28 (channels × height × width), and those of this search have 3 × 32 × 32; a file without image and classes is for those of the search",
        ),
        (
            "architecture = \"ahead.json\"",
            "ahead.json: layer 1: inputs = [2]: must be different earlier layers, 0 for the image",
        ),
        (
            "decisions = [1, 1, 2]",
            "s.toml:19: enqueue[1].decisions (\"entry 1\"): decision 3: layer 1: filters must be the number of an option (0 for 4, 1 for 8), not 2",
        ),
        (
            "name = \"short\"\ndecisions = [1, 1, 1]",
            "s.toml:20: enqueue[1].decisions (\"short\"): decision 4: the list ends here, and layer 1 lacks an anchor point",
        ),
        (
            "decisions = [1, 1, 1, [0]]",
            "decision 4: the anchor point of layer 1 must be [], for none is before it, not [0]",
        ),
        (
            "decisions = [1, -1]",
            "s.toml:19: enqueue[1].decisions = [1, -1]: must be a list of option numbers, from 0",
        ),
        (
            "name = \"x\"",
            "s.toml:18: enqueue[1]: needs architecture = \"FILE.json\"",
        ),
        (
            "decisions = [1]\narchitecture = \"x.json\"",
            "s.toml:18: enqueue[1]: has more than one of architecture, decisions and run: leave one of them",
        ),
        (
            "decision = [1]",
            "s.toml:19: unknown key enqueue[1].decision; the nearest valid key is enqueue[1].decisions",
        ),
        (
            "name = \"\"\ndecisions = [1]",
            "s.toml:19: enqueue[1].name: \"\": must be 1 to 40 characters in one line",
        ),
        (
            "name = \"x\"\ndecisions = [1]\n[[enqueue]]\nname = \"x\"\ndecisions = [2]",
            "s.toml:22: enqueue[2].name: another entry is called \"x\" too: give each a name of its own",
        ),
    ] {
        let message = refused(&mut check(
            folder.path(),
            &format!("[[enqueue]]\n{entry}\n"),
        ));
        assert!(
            message.contains(part) && message.lines().count() == 1,
            "{entry}: {part} is not in {message}"
        );
    }
    assert!(!folder.path().join("runs").exists());
    // Nothing starts: not the search either.
    check(folder.path(), "[[enqueue]]\narchitecture = \"none.json\"\n");
    assert!(
        refused(
            netwright()
                .current_dir(folder.path())
                .args(["search", "s.toml"])
        )
        .contains("none.json: there is no such file")
    );
    assert!(!folder.path().join("runs").exists());
}
