//! Files as other programs write them: byte order marks, semicolons and tabs, text that is no UTF-8.
//! They are read, or refused in one sentence that says what they are.

use super::common::{Search, netwright, refused, succeeds, trials};
use serde_json::json;
use std::process::Command;

const MARK: &str = "\u{feff}";

/// Replaces a file of the search by what `change` makes of it.
fn rewrite(search: &Search, file: &str, change: impl Fn(&str) -> Vec<u8>) {
    let path = search.folder.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(&text)).unwrap();
}

type Change = fn(&str) -> Vec<u8>;

fn utf_16(text: &str) -> Vec<u8> {
    format!("{MARK}{text}")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect()
}

#[test]
fn a_table_with_semicolons_or_tabs_gives_the_search_of_one_with_commas() {
    let plain = Search::new(40, "");
    succeeds(&mut plain.command("run"));
    let expected = trials(&plain.run_dir("run"));
    let changes: [Change; 3] = [
        |text| text.replace(',', "\t").into_bytes(),
        |text| format!("{MARK}{}", text.replace(',', ";").replace('\n', "\r\n")).into_bytes(),
        |text| text.replace(',', ";").replace('.', ",").into_bytes(),
    ];
    for change in changes {
        let search = Search::new(40, "");
        rewrite(&search, "table.csv", change);
        succeeds(&mut search.command("run"));
        assert_eq!(trials(&search.run_dir("run")), expected);
    }
    let search = Search::new(40, "");
    rewrite(&search, "table.csv", utf_16);
    let message = refused(&mut search.command("run"));
    assert!(
        message.ends_with("table.csv: is UTF-16 text; save it as UTF-8\n"),
        "{message}"
    );
}

#[test]
fn a_config_and_an_architecture_may_begin_with_a_byte_order_mark() {
    let search = Search::new(20, "");
    let low =
        json!({ "version": 1, "kind": "choices", "values": { "a": 0, "b": 1, "c": 0, "d": 0 } });
    let file = search.folder.path().join("low.json");
    std::fs::write(&file, format!("{MARK}{low}\n")).unwrap();
    let entry = format!("[[enqueue]]\narchitecture = {file:?}\n");
    rewrite(&search, "search.toml", |text| {
        format!("{MARK}{text}{entry}").into_bytes()
    });
    let printed = succeeds(&mut search.command("run"));
    assert!(printed.contains("low (enqueued"), "{printed}");
    // A mistake is still named with its line.
    rewrite(&search, "search.toml", |text| {
        text.replace("seed = 3", "seed = 1.5").into_bytes()
    });
    let message = refused(&mut search.command("other"));
    assert!(
        message.contains("search.toml:3: run.seed = 1.5"),
        "{message}"
    );
    rewrite(&search, "search.toml", utf_16);
    let message = refused(&mut search.command("other"));
    assert!(
        message.ends_with("search.toml: is UTF-16 text; save it as UTF-8\n"),
        "{message}"
    );
}

#[test]
fn an_architecture_that_is_no_utf_8_or_no_file_is_refused_in_one_sentence() {
    let search = Search::new(20, "");
    let file = search.folder.path().join("it.json");
    let entry = format!("[[enqueue]]\narchitecture = {file:?}\n");
    rewrite(&search, "search.toml", |text| {
        format!("{text}{entry}").into_bytes()
    });
    std::fs::write(&file, utf_16("{}")).unwrap();
    let message = refused(&mut search.command("run"));
    assert!(
        message.contains("it.json: is UTF-16 text; save it as UTF-8"),
        "{message}"
    );
    std::fs::remove_file(&file).unwrap();
    // Nobody writes into this pipe: to open it would wait for ever.
    assert!(
        Command::new("mkfifo")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    let message = refused(&mut search.command("run"));
    assert!(message.contains("it.json: is no regular file"), "{message}");
}

#[test]
fn texts_may_begin_with_a_byte_order_mark_and_pipes_are_no_texts() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    let config = "[run]\nname = \"t\"\ntrials = 1\n[space]\nkind = \"cell\"\nbase = 2\n[child]\nepochs = 1\nhidden = 4\nlayers = 1\n\
                  batch_size = 2\nsteps = 4\n[data]\nkind = \"text\"\npath = \".\"\n[telemetry]\nlisten = \"off\"\n[devices]\nuse = [\"cpu\"]\n";
    write("t.toml", config.as_bytes());
    let words = "one two three four\n".repeat(20);
    write("train.txt", format!("{MARK}{words}").as_bytes());
    write("valid.txt", words.as_bytes());
    let command = || {
        let mut command = netwright();
        command
            .current_dir(folder.path())
            .args(["search", "t.toml", "--run-dir", "run"]);
        command
    };
    let printed = succeeds(&mut command());
    // The mark is no part of a word: there are four of them, and the end of a line.
    assert!(printed.contains(", 5 different"), "{printed}");
    write("train.txt", &utf_16(&words));
    let message = refused(&mut command());
    assert!(
        message.ends_with("train.txt: is UTF-16 text; save it as UTF-8\n"),
        "{message}"
    );
    std::fs::remove_file(folder.path().join("train.txt")).unwrap();
    let pipe = folder.path().join("train.txt");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let message = refused(&mut command());
    assert!(
        message.ends_with("train.txt: is a pipe, a socket or a device, and no file\n"),
        "{message}"
    );
}
