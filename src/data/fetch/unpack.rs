//! An archive as a folder. Whatever stands in the archive, nothing outside that folder is written,
//! and the folder has its name only when it is whole. Must not know where the archive came from.

use super::Published;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Entry, EntryType};

/// How many bytes an archive may hold beyond the files that it must have.
const SPARE: u64 = 1 << 20;

/// Unpacks the archive, from its start, to the folder of the data set in `into`; returns where a
/// folder is now that had the name.
///
/// # Errors
/// One sentence; nothing has changed then.
pub(super) fn unpack(
    set: &Published,
    archive: &mut File,
    into: &Path,
) -> Result<Option<PathBuf>, String> {
    let folder = into.join(set.folder);
    let partial = into.join(format!("{}.partial", set.folder));
    archive.rewind().map_err(|error| error.to_string())?;
    // What a process that was killed has left.
    let _ = std::fs::remove_dir_all(&partial);
    let unpacked = fill(set, archive, &partial).and_then(|()| {
        let aside = set_aside(&folder)?;
        std::fs::rename(&partial, &folder).map_err(|error| named(&folder, &error))?;
        Ok(aside)
    });
    if unpacked.is_err() {
        let _ = std::fs::remove_dir_all(&partial);
    }
    unpacked
}

fn named(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// Renames a folder to the first free of NAME.1, NAME.2, …
fn set_aside(folder: &Path) -> Result<Option<PathBuf>, String> {
    if folder.symlink_metadata().is_err() {
        return Ok(None);
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = (1..=u32::MAX)
        .map(|number| folder.with_file_name(format!("{name}.{number}")))
        .find(|path| path.symlink_metadata().is_err())
        .unwrap_or_default();
    std::fs::rename(folder, &aside).map_err(|error| named(&aside, &error))?;
    Ok(Some(aside))
}

/// Writes the archive's files into a new folder.
fn fill(set: &Published, archive: &mut File, folder: &Path) -> Result<(), String> {
    std::fs::create_dir(folder).map_err(|error| named(folder, &error))?;
    let damaged = |error: std::io::Error| format!("the archive cannot be read: {error}");
    let mut left = set.unpacked_bytes() + SPARE;
    let mut archive = Archive::new(GzDecoder::new(archive));
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if let Some(name) = file_name(set, &entry)? {
            left = left
                .checked_sub(entry.size())
                .ok_or("the archive holds more than the data set")?;
            write(&mut entry, &folder.join(name))?;
        }
    }
    match set.lacks(folder) {
        None => Ok(()),
        Some(lack) => Err(format!("the archive is not the whole data set: {lack}")),
    }
}

/// The name of a file of the data set; None: the folder itself, or no file at all.
///
/// # Errors
/// An entry that no archive of a data set has: elsewhere than in its folder, a link, a device.
fn file_name<R: Read>(set: &Published, entry: &Entry<R>) -> Result<Option<String>, String> {
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let refusal = |reason: &str| {
        Err(format!(
            "the archive holds {path:?}, {reason}; nothing was unpacked"
        ))
    };
    let parts: Vec<Component> = Path::new(&path)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let normal = |part: &Component| match part {
        Component::Normal(name) => name.to_str().map(str::to_owned),
        _ => None,
    };
    let Some(names) = parts.iter().map(normal).collect::<Option<Vec<_>>>() else {
        return refusal("which leads out of the folder");
    };
    let is_inside = names.first().is_none_or(|first| first == set.folder);
    match entry.header().entry_type() {
        // Remarks on other entries.
        EntryType::XGlobalHeader | EntryType::XHeader => Ok(None),
        EntryType::Symlink | EntryType::Link => refusal("which is a link"),
        EntryType::Directory if is_inside && names.len() < 2 => Ok(None),
        EntryType::Regular if is_inside && names.len() == 2 => Ok(names.into_iter().nth(1)),
        EntryType::Directory | EntryType::Regular => {
            refusal(&format!("which is no file directly in {}", set.folder))
        }
        _ => refusal("which is neither a file nor a folder"),
    }
}

/// A new file with the content of an entry, on the disk when this returns.
fn write(entry: &mut impl Read, path: &Path) -> Result<(), String> {
    let mut file = File::create_new(path).map_err(|error| named(path, &error))?;
    std::io::copy(entry, &mut file)
        .and_then(|_| file.sync_all())
        .map_err(|error| {
            format!(
                "{} cannot be unpacked: {error}",
                path.file_name().unwrap_or_default().to_string_lossy()
            )
        })
}
