//! The entries of one folder, and what each of them is on disk. Must not know classes or splits.

use super::super::DataError;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Endings of files that are read.
const IMAGES: &[&str] = &["png", "jpg", "jpeg", "webp"];

/// Device and inode: what makes two paths one file.
pub type Place = (u64, u64);

/// What stands behind an entry, behind a link too.
#[derive(Debug)]
pub enum Kind {
    Folder(Place),
    File(Place),
    /// A pipe, a socket or a device.
    Special,
    /// A link that leads nowhere, with the system's reason.
    Broken(String),
}

/// An entry of a folder.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    pub name: String,
    pub is_link: bool,
    pub kind: Kind,
}

impl Found {
    /// It is a folder, or a link to one.
    pub fn is_folder(&self) -> bool {
        matches!(self.kind, Kind::Folder(_))
    }

    /// By its name: whether its bytes are those of an image shows when it is decoded.
    pub fn is_image(&self) -> bool {
        self.path.extension().is_some_and(|extension| {
            IMAGES
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        })
    }
}

pub fn problem(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::File {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

/// The entries of a folder, in the order of their names.
///
/// # Errors
/// Names the folder that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<Found>, DataError> {
    let fail = |error: std::io::Error| problem(folder, format!("cannot be opened: {error}"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let path = entry.path();
        let own = entry.metadata().map_err(fail)?;
        let is_link = own.is_symlink();
        let kind = if is_link {
            match std::fs::metadata(&path) {
                Ok(target) => kind(&target),
                Err(error) => Kind::Broken(error.to_string()),
            }
        } else {
            kind(&own)
        };
        found.push(Found {
            name: entry.file_name().to_string_lossy().into_owned(),
            path,
            is_link,
            kind,
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

pub fn place(metadata: &Metadata) -> Place {
    (metadata.dev(), metadata.ino())
}

fn kind(metadata: &Metadata) -> Kind {
    if metadata.is_dir() {
        Kind::Folder(place(metadata))
    } else if metadata.is_file() {
        Kind::File(place(metadata))
    } else {
        Kind::Special
    }
}
