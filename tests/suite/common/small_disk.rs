//! A disk of a few megabytes: a tmpfs in a mount namespace of its own, in which a test is run
//! again. It is gone when the test has ended.

use super::{arguments_of, needs};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the folder of the small disk, where there is one.
const INSIDE: &str = "NETWRIGHT_SMALL_DISK";

/// A folder on a small disk.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// The disk that this test runs on. None: the whole test was run again on one, and has passed
    /// there; or this system has none, which is printed.
    pub fn of(test: &str, megabytes: u32) -> Option<Self> {
        if let Some(folder) = std::env::var_os(INSIDE) {
            return Some(Self(folder.into()));
        }
        let own = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let script = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && exec \"$@\"");
        for unshare in [&["-m"][..], &["-r", "-m"]] {
            let command = || {
                let mut command = Command::new("unshare");
                command
                    .args(unshare)
                    .args(["sh", "-c", &script])
                    .arg(folder.path());
                command
            };
            if command()
                .arg("true")
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
            {
                let status = command()
                    .arg(&own)
                    .args(arguments_of(test))
                    .env(INSIDE, folder.path())
                    .status()
                    .unwrap();
                assert!(status.success(), "{test} failed on a small disk");
                return None;
            }
        }
        needs::skip("tests on a small disk: no mount namespaces (unshare -m) here");
        None
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Fills what is left of it with one file.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
        }
    }

    /// Takes that file away again.
    pub fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}
