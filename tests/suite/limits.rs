//! What the system withholds: files that may not be opened, outputs that take nothing more. Every
//! subcommand ends with a message or goes on; none panics.

use super::common::{Search, finished, netwright, succeeds, text};
use std::path::Path;
use std::process::Command;

/// Every subcommand, with arguments that let it come to its end on this run; `page` with an address
/// that it cannot have.
fn subcommands(search: &Search) -> Vec<(Vec<String>, bool)> {
    let config = search
        .folder
        .path()
        .join("search.toml")
        .display()
        .to_string();
    let run = search.run_dir("run").display().to_string();
    let fresh = search.run_dir("fresh").display().to_string();
    let list = |arguments: &[&str]| arguments.iter().map(|&word| word.to_owned()).collect();
    [
        // Prints its result to standard output alone.
        (&["init", "quickstart", "-"][..], true),
        (&["check", &config], true),
        (&["check", &config, "--json"], true),
        (&["schema"], true),
        (&["schema", "--markdown"], true),
        (&["status", &run], true),
        (&["top", &run, "--csv"], true),
        (&["show", &run, "1"], true),
        (&["report", &run], true),
        (&["restore", &run], true),
        (&["verify", &run], true),
        (&["devices"], true),
        (&["--help"], false),
        (&["search", "--help"], false),
        (&["nonsense"], false),
        (&["status", "/nowhere"], false),
        (&["compare-architectures", &config], false),
        (&["compare", &config, "--strategies", "chance"], false),
        (&["classify", "/nowhere", "/nowhere"], false),
        (&["page", &run, "--listen", "256.0.0.1:1"], false),
        (&["search", &config, "--run-dir", &fresh, "--fresh"], false),
        (
            &[
                "search",
                &config,
                "--run-dir",
                &fresh,
                "--log-format",
                "json",
                "--set",
                "run.trials=60",
            ],
            false,
        ),
    ]
    .map(|(arguments, prints): (&[&str], bool)| (list(arguments), prints))
    .to_vec()
}

/// How a shell sets a command's limits, outputs and reader: `ulimit -n 12`, `>/dev/full`, `| true`.
#[derive(Clone, Copy, Debug, Default)]
struct Shell<'a> {
    limit: &'a str,
    outputs: &'a str,
    reader: &'a str,
}

impl Shell<'_> {
    /// Runs `netwright ARGUMENTS`; its exit code, and what can be seen of its outputs.
    fn run(&self, folder: &Path, arguments: &[String]) -> (i32, String) {
        let Self {
            limit,
            outputs,
            reader,
        } = self;
        let script = format!("{{ ({limit}\n\"$0\" \"$@\" {outputs}); echo $? >code; }} {reader}");
        let output = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(netwright().get_program())
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let code = std::fs::read_to_string(folder.join("code")).unwrap();
        (code.trim().parse().unwrap(), text(&output))
    }
}

/// 101 is a panic's exit code.
#[track_caller]
fn assert_no_panic(what: &str, code: i32, said: &str) {
    assert!(
        (0..=2).contains(&code) && !said.contains("panicked"),
        "{what}: exit code {code}: {said}"
    );
}

#[test]
fn a_full_or_closed_output_ends_no_subcommand_with_a_panic() {
    let search = Search::new(40, "");
    succeeds(&mut search.command("run"));
    let shells = [
        (">/dev/full", ""),
        ("2>/dev/full", ""),
        (">/dev/full 2>&1", ""),
        ("<&- >&- 2>&-", ""),
        ("", "| true"),
        ("2>&1", "| true"),
    ];
    for (arguments, prints) in subcommands(&search) {
        for (outputs, reader) in shells {
            let shell = Shell {
                outputs,
                reader,
                ..Shell::default()
            };
            let (code, said) = shell.run(search.folder.path(), &arguments);
            let what = format!("{} {outputs} {reader}", arguments.join(" "));
            assert_no_panic(&what, code, &said);
            if prints && outputs == ">/dev/full" {
                // A result that nobody has is no success.
                assert_eq!(code, 1, "{what}: {said}");
                assert!(
                    said.contains("standard output: No space left"),
                    "{what}: {said}"
                );
            }
            if arguments.iter().any(|word| word == "--fresh") {
                assert_eq!(
                    (code, finished(&search.run_dir("fresh"))),
                    (0, 40),
                    "{what}"
                );
            }
        }
    }
}

#[test]
fn too_few_files_end_no_subcommand_with_a_panic() {
    let search = Search::new(40, "");
    succeeds(&mut search.command("run"));
    // What is said of other arguments than those of a whole run.
    let others = [
        "error: unrecognized",
        "there is no run",
        "compare-architectures trains",
        "no such strategy",
        "no config.json here",
        "256.0.0.1",
    ];
    for (arguments, _) in subcommands(&search) {
        for files in [4, 5, 6, 8, 12, 20, 30, 50, 70] {
            let limit = &format!("ulimit -n {files}");
            let shell = Shell {
                limit,
                ..Shell::default()
            };
            let (code, said) = shell.run(search.folder.path(), &arguments);
            let what = format!("{} with {files} files", arguments.join(" "));
            assert_no_panic(&what, code, &said);
            assert!(
                code == 0
                    || said.contains("files open at once")
                    || said.contains("Too many open files")
                    || others.iter().any(|text| said.contains(text)),
                "{what}: {said}"
            );
        }
    }
}

#[test]
fn as_many_files_as_a_search_says_that_it_needs_are_enough() {
    let search = Search::new(40, "");
    let config = search
        .folder
        .path()
        .join("search.toml")
        .display()
        .to_string();
    let run = search.run_dir("run").display().to_string();
    let arguments = [
        "search",
        &config,
        "--run-dir",
        &run,
        "--set",
        "telemetry.listen=127.0.0.1:0",
    ]
    .map(String::from);
    let with = |limit: &str| {
        Shell {
            limit,
            ..Shell::default()
        }
        .run(search.folder.path(), &arguments)
    };
    let mut files: u64 = 12;
    loop {
        let (code, said) = with(&format!("ulimit -n {files}"));
        if code == 0 {
            break;
        }
        let needed = said
            .split("and needs ")
            .nth(1)
            .and_then(|rest| rest.split(':').next()?.parse().ok());
        let needed = needed.unwrap_or_else(|| panic!("{said}"));
        assert!(needed > files, "{said}");
        files = needed;
    }
    assert_eq!(finished(&search.run_dir("run")), 40);
    let (code, said) = with("ulimit -Sn 12");
    assert_eq!(code, 0, "a limit that may be raised is raised: {said}");
}
