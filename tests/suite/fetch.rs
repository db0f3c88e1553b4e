//! `netwright data fetch`, as a user runs it, without a network: what it refuses, and that a refusal
//! harms nothing. How an archive is fetched and unpacked is tested beside the code, with small ones.

use super::common::{netwright, refused, stderr, succeeds, text};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

fn fetch(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["data", "fetch"])
        .args(arguments);
    command
}

/// Runs a command that fails: exit code 1, and one line behind what it was about to do.
#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let errors = stderr(&output);
    let mut lines = errors.lines().filter(|line| line.starts_with("error: "));
    let error = lines.next().unwrap().to_owned();
    assert!(
        lines.next().is_none() && errors.ends_with(&format!("{error}\n")),
        "{errors}"
    );
    error
}

/// Answers every request with this, on a port of its own.
fn serve(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let _ = stream.write_all(answer);
        }
    });
    format!("http://{address}/cifar-10-binary.tar.gz")
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let ptb = refused(&mut fetch(folder.path(), &["ptb"]));
    assert!(
        ptb.contains("not free to pass on") && ptb.contains("data.kind = \"text\""),
        "{ptb}"
    );
    let unknown = refused(&mut fetch(folder.path(), &["mnist"]));
    assert!(
        unknown.contains("there are cifar10 and cifar100"),
        "{unknown}"
    );
    let scheme = refused(&mut fetch(
        folder.path(),
        &["cifar10", "--from", "ftp://a/b"],
    ));
    assert!(
        scheme.contains("ftp is not among http and https"),
        "{scheme}"
    );
    let absent = refused(&mut fetch(
        folder.path(),
        &["cifar10", "--from", "x.tar.gz"],
    ));
    assert!(
        absent.contains("--from x.tar.gz: there is no such file"),
        "{absent}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_not_the_published_archive_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("cifar-10-batches-bin");
    std::fs::create_dir(&copy).unwrap();
    std::fs::write(copy.join("data_batch_1.bin"), "mine").unwrap();
    // As long as the archive, and beginning like one.
    let altered = std::fs::File::create(folder.path().join("altered.tar.gz")).unwrap();
    altered.set_len(170_052_171).unwrap();
    (&altered).write_all(&[0x1f, 0x8b]).unwrap();
    std::fs::write(folder.path().join("short.tar.gz"), [0x1f, 0x8b, 8]).unwrap();
    let page =
        serve(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>");
    let gone = serve(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n");
    for (source, problem) in [
        (
            "altered.tar.gz",
            "and the published one c32a1d4ab5d03f1284b67883e8d87530: it was altered or damaged",
        ),
        (
            "short.tar.gz",
            "has 3 bytes, and the archive 170052171: it is cut off",
        ),
        (
            &page,
            "is an HTML page, not the archive: perhaps a proxy's or a login's",
        ),
        (&gone, "the server answers 410 Gone"),
    ] {
        let error = fails(&mut fetch(folder.path(), &["cifar10", "--from", source]));
        assert!(
            error.starts_with(&format!("error: {source}: ")) && error.ends_with(problem),
            "{error}"
        );
    }
    // The first one is a note, the last one the error.
    let output = fetch(
        folder.path(),
        &["cifar10", "--from", &page, "--from", &gone],
    )
    .output()
    .unwrap();
    let errors = stderr(&output);
    assert!(
        errors.contains(&format!("note: {page}: is an HTML page")),
        "{errors}"
    );
    assert!(
        errors.ends_with("the server answers 410 Gone\n"),
        "{errors}"
    );

    assert_eq!(
        std::fs::read_to_string(copy.join("data_batch_1.bin")).unwrap(),
        "mine"
    );
    assert_eq!(std::fs::read_dir(&copy).unwrap().count(), 1);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        3,
        "the copy and two files of ours"
    );
}

#[test]
fn a_whole_copy_stays_and_nothing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("data/cifar-100-binary");
    std::fs::create_dir_all(&copy).unwrap();
    for (name, bytes) in [("train.bin", 153_700_000), ("test.bin", 30_740_000)] {
        let file = std::fs::File::create(copy.join(name)).unwrap();
        file.set_len(bytes).unwrap();
    }
    let printed = succeeds(&mut fetch(
        folder.path(),
        &["cifar100", "--to", "data", "--from", "http://127.0.0.1:1/"],
    ));
    assert_eq!(
        printed,
        "data/cifar-100-binary: is there already, whole; nothing was downloaded\n\
         use it with data.kind = \"cifar100\", data.path = \"data/cifar-100-binary\"\n"
    );
}
