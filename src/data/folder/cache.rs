//! Decoded images on disk, so that a folder is decoded once: one file for each folder and size,
//! valid as long as no image changed. A cache that cannot be read or written is as good as none.
//! Must not know how images are decoded.

use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What the file begins with; another number for another way to decode or to store.
const FORMAT: &[u8; 16] = b"netwright img 2\n";
const HASH: usize = 32;

/// `$XDG_CACHE_HOME/netwright`, or `~/.cache/netwright`; None: the user has neither.
pub fn directory() -> Option<PathBuf> {
    let given = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    Some(
        given("XDG_CACHE_HOME")
            .or_else(|| given("HOME").map(|home| home.join(".cache")))?
            .join("netwright"),
    )
}

/// The cache file of a folder at a size.
pub fn file(directory: &Path, folder: &Path, size: usize) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let hash = Sha256::digest(folder.to_string_lossy().as_bytes());
    let name: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    directory.join(format!("images-{name}-{size}.bin"))
}

/// The images of this key, `bytes` in all; None: they are not there, or damaged.
pub fn read(file: &Path, key: &[u8; HASH], bytes: usize) -> Option<Vec<u8>> {
    let mut content = std::fs::read(file).ok()?;
    let head = FORMAT.len() + 2 * HASH;
    if content.len() != head + bytes
        || !content.starts_with(FORMAT)
        || content[FORMAT.len()..FORMAT.len() + HASH] != *key
    {
        return None;
    }
    let images = content.split_off(head);
    (Sha256::digest(&images)[..] == content[FORMAT.len() + HASH..]).then_some(images)
}

/// Replaces the file in one step; a process that reads it meanwhile sees the old one or the new
/// one.
pub fn write(file: &Path, key: &[u8; HASH], images: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let partial = file.with_extension(format!("{}.partial", std::process::id()));
    let write = || {
        let mut out = std::fs::File::create(&partial)?;
        for part in [&FORMAT[..], key, &Sha256::digest(images), images] {
            out.write_all(part)?;
        }
        out.sync_all()?;
        std::fs::rename(&partial, file)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}
