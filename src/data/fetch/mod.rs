//! Data sets that their publishers let anybody download: what the archive is, how a copy of it is
//! known to be whole and genuine, and how it becomes a folder. Must not know what is trained on
//! them, nor the command line.

mod archive;
mod download;
#[cfg(test)]
mod tests;
mod unpack;

use std::fs::File;
use std::path::{Path, PathBuf};

/// A data set as it is published: one archive (tar, gzip) that holds one folder of files.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// The word of `data.kind`.
    pub name: &'a str,
    /// Where its publisher has the archive.
    pub url: &'a str,
    /// Bytes of the archive.
    bytes: u64,
    /// The archive's checksum (MD5, hex) as published.
    md5: &'a str,
    /// The folder that the archive holds.
    pub folder: &'a str,
    /// The files in it without which it is not whole, with their bytes.
    files: &'a [(&'a str, u64)],
}

/// What can be fetched.
pub const PUBLISHED: [Published; 2] = [
    Published {
        name: "cifar10",
        url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        md5: "c32a1d4ab5d03f1284b67883e8d87530",
        folder: "cifar-10-batches-bin",
        files: &[
            ("data_batch_1.bin", 30_730_000),
            ("data_batch_2.bin", 30_730_000),
            ("data_batch_3.bin", 30_730_000),
            ("data_batch_4.bin", 30_730_000),
            ("data_batch_5.bin", 30_730_000),
            ("test_batch.bin", 30_730_000),
        ],
    },
    Published {
        name: "cifar100",
        url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        md5: "03b5dce01913d631647c71ecec9e9cb8",
        folder: "cifar-100-binary",
        files: &[("train.bin", 153_700_000), ("test.bin", 30_740_000)],
    },
];

/// Where an archive is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// http or https.
    Url(String),
    File(PathBuf),
}

impl Source {
    /// An address or the path of a file.
    ///
    /// # Errors
    /// One sentence: an address of another kind than http and https.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            None => Ok(Self::File(text.into())),
            Some((scheme, _)) if ["http", "https"].contains(&scheme.to_lowercase().as_str()) => {
                Ok(Self::Url(text.to_owned()))
            }
            Some((scheme, _)) => Err(format!(
                "{text}: {scheme} is not among http and https; name such an address, or a file"
            )),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What whoever waits may be told.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// This source is asked.
    Asking(&'a Source),
    /// So many of the archive's bytes are here.
    Have { bytes: u64, of: u64 },
    /// The archive is whole and genuine, and is being unpacked.
    Unpacking,
    /// This source had nothing to use, and the next one is asked.
    Failed(&'a str),
}

/// A data set that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub folder: PathBuf,
    /// It was there before, whole: nothing was done.
    pub was_there: bool,
    /// Where a folder of its name is now that was not whole.
    pub set_aside: Option<PathBuf>,
}

/// Why a data set cannot be had. Each message is one line; nothing but a partial download has
/// changed then.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{name}: {problem}")]
    Source { name: String, problem: String },
    #[error("{}: {problem}", path.display())]
    Here { path: PathBuf, problem: String },
}

fn here(path: &Path) -> impl Fn(std::io::Error) -> FetchError {
    move |error| FetchError::Here {
        path: path.to_owned(),
        problem: error.to_string(),
    }
}

impl Published<'_> {
    /// Bytes of all files that it must have.
    fn unpacked_bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// What a folder lacks of this data set; None: it is whole.
    fn lacks(&self, folder: &Path) -> Option<String> {
        self.files.iter().find_map(|(name, bytes)| {
            match std::fs::metadata(folder.join(name)).map(|file| file.len()) {
                Err(_) => Some(format!("{name} is missing")),
                Ok(there) if there != *bytes => {
                    Some(format!("{name} has {there} bytes, not {bytes}"))
                }
                Ok(_) => None,
            }
        })
    }

    /// The name of the archive.
    fn archive(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or(self.name)
    }
}

/// Puts a data set into the folder `into`, from the first source that has the archive as it was
/// published. A whole copy that is there already is left as it is, and nothing is asked for. What
/// is half done has other names; a download that breaks off is continued by the next call.
///
/// # Errors
/// No source has it, or it cannot be written here.
pub fn fetch(
    set: &Published,
    sources: &[Source],
    into: &Path,
    tell: &mut dyn FnMut(Step),
) -> Result<Fetched, FetchError> {
    let folder = into.join(set.folder);
    if set.lacks(&folder).is_none() {
        return Ok(Fetched {
            folder,
            was_there: true,
            set_aside: None,
        });
    }
    std::fs::create_dir_all(into).map_err(here(into))?;
    // The same file holds what was downloaded and the lock by which one process fetches at a time.
    let partial = into.join(format!("{}.partial", set.archive()));
    let mut download = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&partial)
        .map_err(here(&partial))?;
    if download.try_lock().is_err() {
        return Err(FetchError::Here {
            path: partial,
            problem: "another process is fetching this data set".into(),
        });
    }
    let mut last: Option<FetchError> = None;
    for source in sources {
        if let Some(error) = last.take() {
            tell(Step::Failed(&error.to_string()));
        }
        tell(Step::Asking(source));
        match from(set, source, &mut download, into, tell) {
            Ok(set_aside) => {
                let _ = std::fs::remove_file(&partial);
                return Ok(Fetched {
                    folder,
                    was_there: false,
                    set_aside,
                });
            }
            Err(problem) => {
                last = Some(FetchError::Source {
                    name: source.to_string(),
                    problem,
                });
            }
        }
    }
    if download.metadata().is_ok_and(|file| file.len() == 0) {
        let _ = std::fs::remove_file(&partial);
    }
    Err(last.unwrap_or_else(|| FetchError::Source {
        name: set.name.to_owned(),
        problem: "there is no source to ask".into(),
    }))
}

/// Takes the archive from one source; returns where an earlier folder is now.
fn from(
    set: &Published,
    source: &Source,
    download: &mut File,
    into: &Path,
    tell: &mut dyn FnMut(Step),
) -> Result<Option<PathBuf>, String> {
    match source {
        Source::File(path) => {
            let mut file = File::open(path).map_err(|error| error.to_string())?;
            archive::check(set, &mut file).map_err(|defect| defect.to_string())?;
            tell(Step::Unpacking);
            unpack::unpack(set, &mut file, into)
        }
        Source::Url(url) => {
            let continued = download::download(set, url, download, tell)?;
            let mut checked = archive::check(set, download);
            // What an earlier download had left may have been the start of something else.
            if checked.is_err() && continued {
                download::discard(download)?;
                download::download(set, url, download, tell)?;
                checked = archive::check(set, download);
            }
            if let Err(defect) = checked {
                download::discard(download)?;
                return Err(defect.to_string());
            }
            tell(Step::Unpacking);
            unpack::unpack(set, download, into)
        }
    }
}
