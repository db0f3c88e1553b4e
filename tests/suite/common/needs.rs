//! Programs that some tests need beside Rust. Where one is missing the tests are skipped and `make
//! test` says so; in CI that is a failure.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// True if these programs are here. If not, says what is skipped and how to install them; in CI,
/// panics.
pub fn has(what: &str, programs: &[&str], install: &str) -> bool {
    let runs = |program: &&str| {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if programs.iter().all(runs) {
        return true;
    }
    skip(&format!("{what}: {install}"));
    false
}

/// Says what is skipped and how to have it run; in CI, panics.
pub fn skip(note: &str) {
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "in CI nothing is skipped: {note}"
    );
    println!("skipped: {note}");
    // Made by `make test`, which shows it at its end.
    let notes = std::fs::OpenOptions::new()
        .append(true)
        .open(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/skipped"));
    if let Ok(mut notes) = notes {
        writeln!(notes, "{note}").unwrap();
    }
}
