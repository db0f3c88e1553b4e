//! The files under deploy/ say what the program's exit codes and signals mean. Checked by their structure; by systemd-analyze where
//! there is one.

use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The values of `key: value` lines that stand under these keys, each deeper than the one before.
fn under(text: &str, keys: &[&str]) -> Option<String> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let bare = line.trim_start_matches([' ', '-']);
        let depth = line.len() - bare.len();
        open.retain(|(_, other)| *other < depth);
        let Some((key, value)) = bare.split_once(':') else { continue };
        let found = open.last().map_or(0, |(found, _)| *found);
        if keys.get(found) == Some(&key) {
            if found + 1 == keys.len() {
                return Some(value.trim().trim_matches('"').to_owned());
            }
            open.push((found + 1, depth));
        }
    }
    None
}

#[test]
fn the_unit_starts_again_after_a_crash_but_not_after_wrong_input() {
    let (path, text) = file("netwright.service");
    for line in ["Restart=on-failure", "SuccessExitStatus=130 143", "RestartPreventExitStatus=2", "ExecReload=/bin/kill -HUP $MAINPID"] {
        assert!(text.lines().any(|other| other == line), "{line} is missing");
    }
    // What systemd itself says of it; the program need not be installed here.
    let unit = tempfile::tempdir().unwrap();
    let copy = unit.path().join("netwright.service");
    std::fs::write(&copy, text.replace("/usr/local/bin/netwright", env!("CARGO_BIN_EXE_netwright"))).unwrap();
    if let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&copy).output() {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("netwright.service:"), "{}: {said}", path.display());
    }
}

#[test]
fn the_job_ends_when_the_search_does_and_keeps_the_run_on_a_volume() {
    let (_, text) = file("kubernetes-job.yaml");
    let documents: Vec<&str> = text.split("\n---\n").collect();
    let [claim, job] = documents[..] else { panic!("a claim and a job") };
    let expect = |document: &str, keys: &[&str], value: &str| assert_eq!(under(document, keys).as_deref(), Some(value), "{keys:?}");
    expect(claim, &["kind"], "PersistentVolumeClaim");
    expect(claim, &["spec", "accessModes"], "[ReadWriteOnce]");
    expect(job, &["apiVersion"], "batch/v1");
    expect(job, &["kind"], "Job");
    expect(job, &["spec", "parallelism"], "1");
    expect(job, &["spec", "template", "spec", "restartPolicy"], "OnFailure");
    expect(
        job,
        &["spec", "template", "spec", "volumes", "persistentVolumeClaim", "claimName"],
        &under(claim, &["metadata", "name"]).unwrap(),
    );
    expect(job, &["spec", "template", "spec", "containers", "volumeMounts", "mountPath"], "/runs");
    expect(job, &["spec", "template", "spec", "containers", "livenessProbe", "httpGet", "path"], "/healthz");
    let arguments = under(job, &["spec", "template", "spec", "containers", "args"]).unwrap();
    assert!(arguments.starts_with("[search, /config/search.toml, --run-dir, /runs/"), "{arguments}");
}
