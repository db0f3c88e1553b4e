//! `netwright data fetch`: a published data set, downloaded, checked and unpacked. Must not know
//! how that is done.

use super::Failure;
use crate::data::fetch::{self, FetchError, Fetched, PUBLISHED, Published, Source, Step};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(clap::Subcommand)]
enum DataCommand {
    /// Download a data set, check it by its published checksum, and unpack it
    Fetch(FetchArgs),
}

#[derive(clap::Args)]
struct FetchArgs {
    /// cifar10 or cifar100
    name: String,
    /// Take the archive from this address or file; given several times, from the first that has it
    /// [default: the publisher's own host]
    #[arg(long, value_name = "URL|FILE")]
    from: Vec<String>,
    /// The folder to put it into; cifar10 is the folder cifar-10-batches-bin there, cifar100
    /// cifar-100-binary
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    to: PathBuf,
}

pub fn run(args: DataArgs) -> Result<(), Failure> {
    let DataCommand::Fetch(args) = args.command;
    let set = published(&args.name)?;
    let sources = sources(set, &args.from)?;
    let mut progress = Progress::default();
    let fetched = fetch::fetch(set, &sources, &args.to, &mut |step| progress.step(step));
    progress.end();
    let Fetched {
        folder,
        was_there,
        set_aside,
    } = fetched.map_err(|error: FetchError| Failure::Failed(error.to_string()))?;
    if let Some(aside) = set_aside {
        note!(
            "note: a folder of this name was there that is not the whole data set; it is now {}",
            aside.display()
        );
    }
    let state = if was_there {
        "is there already, whole; nothing was downloaded"
    } else {
        "checksum as published"
    };
    let folder = folder.strip_prefix(".").unwrap_or(&folder).display();
    say!("{folder}: {state}");
    say!(
        "use it with data.kind = \"{}\", data.path = \"{folder}\"",
        set.name
    );
    Ok(())
}

/// # Errors
/// No data set of this name can be fetched: says which can.
fn published(name: &str) -> Result<&'static Published<'static>, Failure> {
    if let Some(set) = PUBLISHED.iter().find(|set| set.name == name) {
        return Ok(set);
    }
    Err(Failure::Input(if name == "ptb" {
        "ptb: the Penn Treebank is not free to pass on, so nobody may offer it for download: the Linguistic Data Consortium licenses it \
                  (LDC99T42). If you have it, name its folder: data.kind = \"text\", data.path = FOLDER (ptb.train.txt and ptb.valid.txt)"
            .into()
    } else {
        let names: Vec<&str> = PUBLISHED.iter().map(|set| set.name).collect();
        format!(
            "there is no data set {name:?} to fetch; there are {}",
            names.join(" and ")
        )
    }))
}

/// Those given, else the publisher's own.
///
/// # Errors
/// One is no address of the web, and no file either.
fn sources(set: &Published, given: &[String]) -> Result<Vec<Source>, Failure> {
    if given.is_empty() {
        return Ok(vec![Source::Url(set.url.to_owned())]);
    }
    given
        .iter()
        .map(|text| match Source::parse(text) {
            Ok(Source::File(path)) if !path.is_file() => Err(Failure::Input(format!(
                "--from {text}: there is no such file; name the archive, or an address that begins with https://"
            ))),
            parsed => parsed.map_err(|problem| Failure::Input(format!("--from {problem}"))),
        })
        .collect()
}

/// What is shown meanwhile: a bar on a terminal, a line for each source elsewhere.
#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn step(&mut self, step: Step) {
        match step {
            Step::Asking(source) => {
                self.end();
                note!("fetching {source}");
            }
            Step::Have { bytes, of } => {
                let bar = self.bar.get_or_insert_with(|| bar(of));
                bar.set_position(bytes);
            }
            Step::Unpacking => {
                self.end();
                note!("the archive is as published; unpacking");
            }
            Step::Failed(problem) => {
                self.end();
                note!("note: {problem}");
            }
        }
    }

    fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// indicatif draws it on a terminal alone.
fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:30} {decimal_bytes}/{decimal_total_bytes} · {decimal_bytes_per_sec} · {eta} left",
    );
    let bar = ProgressBar::new(bytes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
