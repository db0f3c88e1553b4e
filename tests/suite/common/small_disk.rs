//! A disk of a few megabytes: a tmpfs that only the processes started on it see. It is gone with the value.

use super::needs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A folder on a small disk.
pub struct SmallDisk {
    /// Keeps the namespace, and with it the disk.
    holder: Child,
    folder: PathBuf,
    /// How to enter the namespace.
    enter: &'static [&'static str],
}

impl SmallDisk {
    /// Mounts one on an existing folder. None, said aloud: this system does not allow it.
    pub fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        let script = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && echo mounted && exec sleep 1000");
        for (unshare, enter) in [(&["-m"][..], &["-m"][..]), (&["-r", "-m"], &["-U", "--preserve-credentials", "-m"])] {
            let mut command = Command::new("unshare");
            command.args(unshare).args(["sh", "-c", &script]).arg(folder).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut holder) = command.spawn() else { continue };
            let mut line = String::new();
            // An error is an empty line.
            let _ = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line);
            let disk = Self { holder, folder: folder.to_owned(), enter };
            if line.trim() == "mounted" {
                return Some(disk);
            }
        }
        needs::skip("tests on a small disk: no mount namespaces (unshare -m) here");
        None
    }

    /// The same command, where the disk is seen.
    pub fn run(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg("-t").arg(self.holder.id().to_string()).args(self.enter).arg(command.get_program()).args(command.get_args());
        inside
    }

    /// The folder as it is seen from outside.
    pub fn folder(&self) -> PathBuf {
        let path = format!("/proc/{}/root{}", self.holder.id(), self.folder.display());
        path.into()
    }

    /// Fills what is left of it with one file.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.folder().join("filler")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write(&vec![0; size]).is_ok_and(|written| written > 0) {}
        }
    }

    /// Takes that file away again.
    pub fn empty(&self) {
        std::fs::remove_file(self.folder().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
