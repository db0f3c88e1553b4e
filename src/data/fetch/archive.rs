//! Whether a file is the archive that was published. Must not know where it came from.

use super::Published;
use md5::{Digest, Md5};
use std::fs::File;
use std::io::{Read, Seek};

/// How a gzip file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes read at once.
const BUFFER: usize = 1 << 16;

/// Why it is not the archive: one sentence each.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Defect {
    #[error("is an HTML page, not the archive: perhaps a proxy's or a login's")]
    Html,
    #[error("is not the archive: no gzip file begins like this")]
    NoGzip,
    #[error("has {bytes} bytes, and the archive {published}: it is cut off")]
    CutOff { bytes: u64, published: u64 },
    #[error("has {bytes} bytes, and the archive {published}: it is another file")]
    TooLong { bytes: u64, published: u64 },
    #[error(
        "its checksum (MD5) is {md5}, and the published one {published}: it was altered or damaged"
    )]
    Checksum { md5: String, published: String },
}

/// Judges by the first bytes of a file, as far as there are any.
pub(super) fn check_start(start: &[u8]) -> Result<(), Defect> {
    let text = start.trim_ascii_start();
    // A byte order mark may stand before a page.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.first() == Some(&b'<') {
        return Err(Defect::Html);
    }
    let known = start.len().min(GZIP.len());
    if start[..known] == GZIP[..known] {
        Ok(())
    } else {
        Err(Defect::NoGzip)
    }
}

/// Judges by a number of bytes.
pub(super) fn check_length(set: &Published, bytes: u64) -> Result<(), Defect> {
    let published = set.bytes;
    match bytes.cmp(&published) {
        std::cmp::Ordering::Less => Err(Defect::CutOff { bytes, published }),
        std::cmp::Ordering::Greater => Err(Defect::TooLong { bytes, published }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// Reads the whole file, from its start; a file that cannot be read is damaged.
pub(super) fn check(set: &Published, file: &mut File) -> Result<(), Defect> {
    let damaged = |md5: String| Defect::Checksum {
        md5,
        published: set.md5.to_owned(),
    };
    let unreadable = |error: std::io::Error| damaged(format!("unknown ({error})"));
    file.rewind().map_err(unreadable)?;
    let mut hash = Md5::new();
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0_u64;
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if bytes == 0 {
            check_start(&buffer[..count])?;
        }
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
    check_length(set, bytes)?;
    let md5: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if md5 == set.md5 {
        Ok(())
    } else {
        Err(damaged(md5))
    }
}
