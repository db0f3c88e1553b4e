//! Where a run may live: a directory of its own, however it is named. Nothing that lies in one
//! already is replaced, moved or deleted, unless a run has written it.

use super::common::{Search, finished, netwright, refused, stderr, succeeds, text, trials};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const TRIALS: u64 = 12;

/// Every file below a folder with what it holds, but for what a process writes that only looks.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if ["run.lock", "search.db-wal", "search.db-shm"]
                .iter()
                .any(|name| path.ends_with(name))
            {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    files
}

/// `netwright search search.toml ARGUMENTS` in this folder.
fn search_in(search: &Search, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = netwright();
    command
        .arg("search")
        .arg(search.folder.path().join("search.toml"))
        .args(arguments)
        .current_dir(folder);
    command
}

#[test]
fn a_directory_with_other_files_is_refused_and_left_as_it_is() {
    let search = Search::new(TRIALS, "");
    let theirs = search.folder.path().join("theirs");
    std::fs::create_dir_all(theirs.join("sub")).unwrap();
    std::fs::write(
        theirs.join("config.toml"),
        "# my notes\n[run]\ntrials = 2\n",
    )
    .unwrap();
    for file in ["train.py", "a.csv", "b.csv", "search.db"] {
        std::fs::write(theirs.join(file), "mine").unwrap();
    }
    symlink("theirs", search.folder.path().join("link")).unwrap();
    let before = files(search.folder.path());
    let absolute = theirs.display().to_string();
    let cases: &[(&str, &[&str])] = &[
        ("theirs", &["--run-dir", "."]),
        ("theirs", &["--run-dir", "./"]),
        ("theirs/sub", &["--run-dir", ".."]),
        ("theirs/sub", &["--run-dir", "../"]),
        (".", &["--run-dir", "theirs"]),
        (".", &["--run-dir", "theirs//"]),
        (".", &["--run-dir", "theirs/sub/.."]),
        (".", &["--run-dir", "link"]),
        (".", &["--run-dir", "link/"]),
        (".", &["--run-dir", &absolute]),
        (".", &["--set", "run.dir=theirs/"]),
        ("theirs", &["--set", "run.dir=."]),
        // The directory of the config file itself.
        (".", &["--run-dir", "."]),
    ];
    for (folder, arguments) in cases {
        for fresh in [&[][..], &["--fresh"]] {
            let folder = search.folder.path().join(folder);
            let said = refused(search_in(&search, &folder, arguments).args(fresh));
            let files = if said.contains("search.toml") {
                "(link, search.toml, table.csv and 1 more)"
            } else {
                "(a.csv, b.csv, config.toml and 3 more)"
            };
            assert!(
                said.contains("a run needs a directory of its own, and this one holds other files")
                    && said.contains(files)
                    && said.contains("such as --run-dir"),
                "{arguments:?} {fresh:?}: {said}"
            );
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    assert_eq!(files(search.folder.path()), before);
}

#[test]
fn a_config_file_alone_in_a_directory_is_not_replaced_by_the_resolved_one() {
    let search = Search::new(TRIALS, "");
    let folder = search.folder.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    let text = "# MY NOTES\n".to_owned()
        + &std::fs::read_to_string(search.folder.path().join("search.toml")).unwrap();
    std::fs::write(folder.join("config.toml"), &text).unwrap();
    for dir in [".", "./", "../mine"] {
        let said = refused(
            netwright()
                .args(["search", "config.toml", "--run-dir", dir])
                .current_dir(&folder),
        );
        assert!(said.contains("holds other files (config.toml)"), "{said}");
    }
    assert_eq!(
        std::fs::read_to_string(folder.join("config.toml")).unwrap(),
        text
    );
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_config_file_that_somebody_put_into_the_run_is_kept() {
    let search = Search::new(TRIALS, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    let resolved = run.join("config.toml");
    let edited = std::fs::read_to_string(&resolved)
        .unwrap()
        .replace("trials = 12", "trials = 20 # more")
        + "# MY NOTES\n";
    std::fs::write(&resolved, &edited).unwrap();
    let said = succeeds(
        netwright()
            .arg("search")
            .arg(&resolved)
            .arg("--run-dir")
            .arg(&run),
    );
    assert_eq!(finished(&run), 20);
    assert!(said.contains("it is kept as"), "{said}");
    assert_eq!(
        std::fs::read_to_string(run.join("config.1.toml")).unwrap(),
        edited
    );
    let now = std::fs::read_to_string(&resolved).unwrap();
    assert!(now.contains("trials = 20") && !now.contains('#'), "{now}");
    // What the run wrote itself is replaced, and nothing is kept of it.
    succeeds(search.command("run").args(["--set", "run.trials=24"]));
    assert!(!run.join("config.2.toml").exists());
}

#[test]
fn a_run_begins_in_an_empty_directory_however_it_is_named() {
    let search = Search::new(TRIALS, "");
    let folder = search.folder.path();
    let empty = |name: &str| std::fs::create_dir_all(folder.join(name)).unwrap();
    for name in ["here", "up/sub", "slash", "disk", "with/lost+found"] {
        empty(name);
    }
    symlink("disk", folder.join("link")).unwrap();
    let cases: &[(&str, &[&str], &str)] = &[
        ("here", &["--run-dir", "."], "here"),
        (".", &["--run-dir", "slash///"], "slash"),
        (".", &["--run-dir", "link"], "disk"),
        (".", &["--run-dir", "with"], "with"),
        (".", &["--run-dir", "new/deep/"], "new/deep"),
        (".", &["--set", "run.dir=dir/"], "dir"),
    ];
    for (at, arguments, run) in cases {
        let command = || search_in(&search, &folder.join(at), arguments);
        succeeds(&mut command());
        let run = folder.join(run);
        assert_eq!(finished(&run), TRIALS, "{arguments:?}");
        let before = trials(&run);
        // The same words find it again, and --fresh moves it aside.
        succeeds(&mut command());
        assert_eq!(trials(&run), before);
        let said = succeeds(command().args(["--fresh", "--set", "run.seed=4"]));
        assert!(said.contains("the earlier run is now "), "{said}");
        let mut aside = run.clone().into_os_string();
        aside.push(".1");
        assert_eq!(trials(Path::new(&aside)), before, "{arguments:?}");
        assert_ne!(trials(&run), before);
    }
    assert!(folder.join("link").is_symlink() && folder.join("link/search.db").exists());
    assert!(folder.join("with.1/lost+found").exists());
}

#[test]
fn fresh_moves_files_beside_the_run_with_it_or_refuses_where_the_directory_has_to_stay() {
    let search = Search::new(TRIALS, "");
    let run = search.run_dir("run");
    succeeds(&mut search.command("run"));
    std::fs::write(run.join("notes.md"), "mine").unwrap();
    let before = files(&run);
    let said = refused(&mut search_in(
        &search,
        &run,
        &["--run-dir", ".", "--fresh"],
    ));
    assert!(
        said.contains("files that no run has written") && said.contains("(notes.md)"),
        "{said}"
    );
    assert!(files(&run) == before);
    // An occupied name is passed over, a link that leads nowhere among them.
    symlink("nowhere", search.run_dir("run.1")).unwrap();
    succeeds(search.command("run").arg("--fresh"));
    assert_eq!(
        std::fs::read_to_string(search.run_dir("run.2/notes.md")).unwrap(),
        "mine"
    );
    assert!(search.run_dir("run.1").is_symlink());
}

#[test]
fn what_is_no_directory_or_cannot_be_written_is_named() {
    let search = Search::new(TRIALS, "");
    let folder = search.folder.path();
    std::fs::write(folder.join("file"), "mine").unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    for (dir, expected) in [
        ("file", "file: is a file, and a run is a directory"),
        ("file/run", "file/run: its path leads through a file"),
        (
            "dangling",
            "dangling: is a link to nowhere, which is not there",
        ),
    ] {
        for fresh in [&[][..], &["--fresh"]] {
            let said = refused(search_in(&search, folder, &["--run-dir", dir]).args(fresh));
            assert!(said.contains(expected), "{said}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(folder.join("file")).unwrap(),
        "mine"
    );
    // Not even root may write here.
    let output = search_in(&search, folder, &["--run-dir", "/proc/run"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", text(&output));
}

#[test]
fn a_database_of_another_program_is_left_alone() {
    let search = Search::new(TRIALS, "");
    let dir = search.run_dir("other");
    std::fs::create_dir(&dir).unwrap();
    rusqlite::Connection::open(dir.join("search.db"))
        .unwrap()
        .execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        .unwrap();
    let before = files(&dir);
    let said = refused(&mut search.command("other"));
    assert!(said.contains("holds other files (search.db)"), "{said}");
    assert_eq!(files(&dir), before);
}
