//! The weights of a final training, in a file of their own that no other child displaces:
//! `weights/final.safetensors` of the retraining. They are on disk before the training's outcome is.
//! Must not know what is in them.

use crate::child::{Checkpoints, Epoch, Progress, Weights};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where the final weights of the retraining in `run_dir` lie.
pub fn final_weights_file(run_dir: &Path) -> PathBuf {
    run_dir.join("weights").join("final.safetensors")
}

/// A training whose weights are kept whatever its reward.
pub struct FinalProgress<'a> {
    progress: &'a mut dyn Progress,
    weights: FinalWeightsFile,
}

struct FinalWeightsFile {
    path: PathBuf,
    /// None: nothing was kept.
    written: Option<std::io::Result<()>>,
}

impl<'a> FinalProgress<'a> {
    pub fn new(progress: &'a mut dyn Progress, run_dir: &Path) -> Self {
        Self {
            progress,
            weights: FinalWeightsFile {
                path: final_weights_file(run_dir),
                written: None,
            },
        }
    }

    /// Whether the weights are on disk.
    ///
    /// # Errors
    /// One sentence: why they are not.
    pub fn kept(self) -> Result<(), String> {
        let FinalWeightsFile { path, written } = self.weights;
        match written {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(format!(
                "{}: the final weights cannot be written: {error}",
                path.display()
            )),
            None => Err("the final weights were not kept".into()),
        }
    }
}

impl Progress for FinalProgress<'_> {
    fn epoch(&mut self, epoch: Epoch) {
        self.progress.epoch(epoch);
    }

    fn examples(&mut self, count: usize) {
        self.progress.examples(count);
    }

    fn stop_requested(&self) -> bool {
        self.progress.stop_requested()
    }

    fn elapsed(&self) -> f64 {
        self.progress.elapsed()
    }

    fn resumed(&mut self, epochs: &[Epoch]) {
        self.progress.resumed(epochs);
    }

    fn checkpoints(&mut self) -> Option<&mut dyn Checkpoints> {
        self.progress.checkpoints()
    }

    fn weights(&mut self) -> Option<&mut dyn Weights> {
        Some(&mut self.weights)
    }
}

impl Weights for FinalWeightsFile {
    fn are_wanted(&self, _: f64) -> bool {
        true
    }

    fn keep(&mut self, file: &[u8]) {
        self.written = Some(write(&self.path, file));
    }
}

/// Writes the file, wholly or not at all, so that it survives a loss of power.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}
