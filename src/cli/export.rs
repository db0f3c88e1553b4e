//! `netwright export`: a trial's network as a file or folder for other programs; a whole run goes to
//! `export_run`. Reads the run, and never overwrites anything.

use super::retrained::Retrained;
use super::{Failure, export_run, reading, show};
use crate::child::TrainedNetwork;
use crate::export::{onnx, torch};
use crate::journal::{Reader, TrialRow};
use crate::report;
use crate::space::{Architecture, Network};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
#[command(override_usage = "netwright export <RUN> [TRIAL] --format <FORMAT> <OUT>")]
pub struct ExportArgs {
    /// The run directory
    pub run: PathBuf,
    /// The trial's id (tensorboard and optuna take the whole run), and the file or folder to write:
    /// it must not be there yet, but for an earlier export's folder for TensorBoard
    #[arg(required = true, num_args = 1.., value_name = "[TRIAL] OUT")]
    pub rest: Vec<PathBuf>,
    #[arg(long, value_enum)]
    pub format: Format,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One file for ONNX Runtime and others; raw images in, logits out
    Onnx,
    /// A folder for PyTorch and the Hugging Face Hub
    Torch,
    /// The architecture alone, as `[[enqueue]]` reads it
    Json,
    /// The whole run as a folder for TensorBoard: scalars by epoch, hyper-parameters
    Tensorboard,
    /// The whole run as a study for Optuna: a file for its JournalStorage
    Optuna,
}

/// The arguments, told apart.
struct Export {
    run: PathBuf,
    trial: Option<u64>,
    format: Format,
    out: PathBuf,
}

impl Export {
    /// # Errors
    /// There are too many, or the trial is no number.
    fn of(args: ExportArgs) -> Result<Self, Failure> {
        let (trial, out) = match args.rest.as_slice() {
            [out] => (None, out),
            [trial, out] => (Some(trial), out),
            rest => {
                let more = rest
                    .get(2)
                    .map_or_else(String::new, |more| more.display().to_string());
                return Err(Failure::Input(format!(
                    "{more}: one argument too many: a run, perhaps a trial of it, and the file or folder to write"
                )));
            }
        };
        let number = |trial: &PathBuf| {
            let number = trial.to_str().and_then(|text| text.parse().ok());
            number.ok_or_else(|| {
                Failure::Input(format!(
                    "{}: is no trial's id; ids are whole numbers from 1",
                    trial.display()
                ))
            })
        };
        Ok(Self {
            trial: trial.map(number).transpose()?,
            out: out.clone(),
            run: args.run,
            format: args.format,
        })
    }
}

pub fn run(args: ExportArgs) -> Result<(), Failure> {
    let args = Export::of(args)?;
    let reader = Reader::open(&args.run).map_err(reading)?;
    match args.format {
        Format::Tensorboard => {
            whole_run(&args)?;
            export_run::tensorboard(&reader, &args.run, &args.out)
        }
        Format::Optuna => {
            whole_run(&args)?;
            export_run::optuna(&reader, &args.run, &args.out)
        }
        Format::Json => {
            let row = row(&reader, &args)?;
            let text = serde_json::to_string_pretty(&row.architecture)
                .map_err(|error| Failure::Failed(error.to_string()))?;
            write(&args.out, format!("{text}\n").as_bytes())?;
            say!(
                "{}: the architecture of trial {}",
                args.out.display(),
                row.id
            );
            Ok(())
        }
        Format::Onnx => {
            let row = row(&reader, &args)?;
            let trained = weights(&args.run, &row)?;
            to_onnx(&trained, &args.out)
        }
        Format::Torch => {
            let row = row(&reader, &args)?;
            let trained = weights(&args.run, &row)?;
            let title = report::run_name(&args.run);
            let drawing = drawing(&trained.record.architecture);
            let files = torch::folder(&trained, &title, drawing).map_err(unusable)?;
            write_folder(&args.out, &files)?;
            let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            say!("{}: {}", args.out.display(), names.join(", "));
            Ok(())
        }
    }
}

/// The word of `--format`.
fn word(format: Format) -> String {
    let value = clap::ValueEnum::to_possible_value(&format);
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The trial that is named, if nothing is in the way of what is to be written.
fn row(reader: &Reader, args: &Export) -> Result<TrialRow, Failure> {
    let Some(trial) = args.trial else {
        let word = word(args.format);
        return Err(Failure::Input(format!(
            "--format {word} writes one trial's network: name the trial, as in netwright export {} 7 --format {word} OUT",
            args.run.display()
        )));
    };
    let row = show::trial(reader, &args.run, trial)?;
    is_free(&args.out)?;
    Ok(row)
}

/// # Errors
/// A trial is named.
fn whole_run(args: &Export) -> Result<(), Failure> {
    match args.trial {
        None => Ok(()),
        Some(_) => Err(Failure::Input(format!(
            "--format {} writes the whole run: leave the trial out",
            word(args.format)
        ))),
    }
}

/// A file of weights that is not what it should be.
fn unusable(problem: String) -> Failure {
    Failure::Failed(format!("the kept weights cannot be used: {problem}"))
}

fn drawing(architecture: &Architecture) -> String {
    match &architecture.network {
        Network::Conv(network) => report::svg(network),
        Network::Cell(network) => report::cell_svg(network),
        Network::Choices(_) => String::new(),
    }
}

fn to_onnx(trained: &TrainedNetwork, out: &Path) -> Result<(), Failure> {
    let model = onnx::model(trained).map_err(unusable)?;
    let beside = model.vocabulary.map(|text| (vocabulary_file(out), text));
    if let Some((path, _)) = &beside {
        is_free(path)?;
    }
    write(out, &model.bytes)?;
    say!(
        "{}: ONNX, opset {}: {}",
        out.display(),
        onnx::OPSET,
        model.signature
    );
    if let Some((path, text)) = &beside {
        write(path, text.as_bytes())?;
        say!("{}: the tokens, in the order of the logits", path.display());
    }
    Ok(())
}

/// `model.onnx` has its vocabulary in `model.vocabulary.json`.
fn vocabulary_file(out: &Path) -> PathBuf {
    out.with_extension("vocabulary.json")
}

/// Where the weights of a trial lie: those of the trial that was trained, if this one took its
/// reward.
pub(super) fn weights_file(run: &Path, row: &TrialRow) -> PathBuf {
    weights_of(run, row.reused_from.unwrap_or(row.id))
}

/// Where the weights of a trial lie that was trained.
pub(super) fn weights_of(run: &Path, trial: u64) -> PathBuf {
    run.join("weights")
        .join(format!("trial-{trial}.safetensors"))
}

/// The file of a trial's weights: of a retraining of it, else if they are kept.
pub(super) fn kept_weights(run: &Path, row: &TrialRow) -> Option<PathBuf> {
    if let Some(retrained) = retrained(run, row) {
        return Some(retrained.weights_file());
    }
    let is_final = row.status == "completed";
    Some(weights_file(run, row)).filter(|path| is_final && path.is_file())
}

/// The retraining of a trial, or of the trial whose reward it took.
fn retrained(run: &Path, row: &TrialRow) -> Option<Retrained> {
    let ids = [Some(row.id), row.reused_from];
    ids.into_iter()
        .flatten()
        .find_map(|trial| Retrained::of(run, trial))
}

/// The trained network of a trial, or of the trial whose reward it took: retrained, if it was; says
/// which weights they are.
fn weights(run: &Path, row: &TrialRow) -> Result<TrainedNetwork, Failure> {
    let trial = row.reused_from.unwrap_or(row.id);
    if let Some(retrained) = retrained(run, row) {
        let trained = retrained.trained()?;
        say!("weights: {}", retrained.description());
        return Ok(trained);
    }
    let path = weights_file(run, row);
    // Of a trial that was interrupted there may be weights without an outcome.
    if row.status != "completed" {
        return Err(Failure::Input(not_kept(run, row, trial)));
    }
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::Input(not_kept(run, row, trial)),
        _ => Failure::Failed(format!("{}: {error}", path.display())),
    })?;
    let trained = TrainedNetwork::from_file(&bytes)
        .map_err(|problem| Failure::Failed(format!("{}: {problem}", path.display())))?;
    let training = &trained.record.training;
    let unit = training.unit;
    let scores = training.validation.map_or_else(String::new, |scores| {
        format!(
            ": validation {} {} (the search was rewarded for {})",
            unit.name(),
            unit.number(scores.score),
            unit.number(scores.metric)
        )
    });
    let source = if trial == row.id {
        String::new()
    } else {
        format!(" of trial {trial}, which has the same network,")
    };
    say!(
        "weights: those kept{source} after epoch {}{scores}",
        training.epochs
    );
    Ok(trained)
}

/// Why there are no weights, and of which trials there are.
fn not_kept(run: &Path, row: &TrialRow, trial: u64) -> String {
    let kept = kept(run);
    let reason = match row.status.as_str() {
        _ if matches!(row.architecture.network, Network::Choices(_)) => {
            return format!(
                "{}: trial {} is a list of choices, no network of this program's: it has no weights here; --format json writes its architecture",
                run.display(),
                row.id
            );
        }
        "completed" if trial != row.id => format!(
            "trial {} has the reward of trial {trial}, whose weights are not kept",
            row.id
        ),
        "completed" => format!("the weights of trial {trial} are not kept"),
        status => format!("trial {trial} has no weights: its status is {status}"),
    };
    let there = if kept.is_empty() {
        "none are kept (run.keep_weights says of how many of the best trials they are)".to_owned()
    } else {
        let kept: Vec<String> = kept.iter().map(u64::to_string).collect();
        format!(
            "they are kept of trials {} (run.keep_weights: of how many of the best)",
            kept.join(", ")
        )
    };
    format!(
        "{}: {reason}; {there}. --format json needs none",
        run.display()
    )
}

/// Trials whose weights are there.
fn kept(run: &Path) -> Vec<u64> {
    let entries = std::fs::read_dir(run.join("weights")).into_iter().flatten();
    let mut kept: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let trial = name.to_str()?.strip_prefix("trial-")?;
            trial.strip_suffix(".safetensors")?.parse().ok()
        })
        .collect();
    kept.sort_unstable();
    kept
}

/// # Errors
/// Something has this name, and is not overwritten.
pub(super) fn is_free(path: &Path) -> Result<(), Failure> {
    match path.symlink_metadata() {
        Ok(_) => Err(Failure::Input(format!(
            "{}: is there already, and is not overwritten; name another, or remove it first",
            path.display()
        ))),
        Err(_) => Ok(()),
    }
}

pub(super) fn failed(path: &Path, error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Failure::Input(format!(
            "{}: the folder that it is to be in is not there",
            path.display()
        )),
        ErrorKind::AlreadyExists => Failure::Input(format!(
            "{}: is there already, and is not overwritten",
            path.display()
        )),
        _ => Failure::Failed(format!("{}: {error}", path.display())),
    }
}

/// The same name with `.partial` behind it: what is half written never has the name itself.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    path.with_file_name(name)
}

/// Writes a new file, wholly or not at all.
fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let partial = partial(path);
    let written = new_file(&partial, content).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&partial);
        failed(path, &error)
    })
}

fn new_file(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes a new folder, wholly or not at all.
fn write_folder(path: &Path, files: &[torch::File]) -> Result<(), Failure> {
    let partial = partial(path);
    let fill = || {
        std::fs::create_dir(&partial)?;
        for (name, content) in files {
            new_file(&partial.join(name), content)?;
        }
        std::fs::rename(&partial, path)
    };
    fill().map_err(|error| {
        if error.kind() != ErrorKind::AlreadyExists {
            let _ = std::fs::remove_dir_all(&partial);
        }
        failed(path, &error)
    })
}
