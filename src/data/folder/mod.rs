//! `data.kind = "image-folder"`: the user's own images, one folder for each class, perhaps below a
//! training and a validation split. Every file is hashed, so that the split follows the images and not their places, and decoded once. Must not
//! know how images are used.

mod cache;
mod decode;
mod entries;
mod exif;
mod jpeg;
mod layout;
mod listing;
mod parts;
mod passed_over;
mod resize;
#[cfg(test)]
mod tests;

use super::{DataError, Dataset, HeldOut};
use crate::space::ImageShape;
use listing::{Entry, Listing};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

type Hash = [u8; 32];

/// The test split of a data folder; None: it has none. Nothing in it is looked at.
///
/// # Errors
/// It has several; or what `load` says of the folder.
pub fn test_folder(path: &Path) -> Result<Option<PathBuf>, DataError> {
    let mut tests = layout::layout(path)?.tests;
    if tests.len() > 1 {
        let names: Vec<String> = tests
            .iter()
            .map(|test| format!("\"{}\"", test.name))
            .collect();
        let text = format!(
            "{} are all test splits by their names, and one is needed",
            names.join(", ")
        );
        return Err(entries::problem(path, text));
    }
    Ok(tests.pop().map(|test| test.path))
}

/// The images of a test split, with the labels of the training set's classes. They are decoded anew
/// each time.
///
/// # Errors
/// As `load`; or a class that the training set does not have.
pub fn load_test(path: &Path, size: usize, class_names: &[String]) -> Result<Dataset, DataError> {
    let test = load_with(path, size, None)?;
    let label = |name: &String| {
        let label = class_names.iter().position(|known| known == name);
        label.map(|label| label as u8).ok_or_else(|| {
            let text = format!(
                "has a class \"{name}\" that the training images do not have; theirs are {}",
                class_names.join(", ")
            );
            entries::problem(path, text)
        })
    };
    let labels: Vec<u8> = test
        .class_names
        .iter()
        .map(label)
        .collect::<Result<_, _>>()?;
    let own = test.labels.iter().map(|own| labels[usize::from(*own)]);
    Ok(Dataset::new(
        test.shape,
        class_names.to_vec(),
        test.images.clone(),
        own.collect(),
        false,
    ))
}

/// Files that a message lists at most.
const LISTED: usize = 10;

/// The images of a folder as squares of `size` pixels, in the order of their names. Works in the
/// caller's rayon pool; depends on nothing but the files.
///
/// # Errors
/// Names the folder, class or first file that cannot be used, and how many there are.
pub fn load(path: &Path, size: usize) -> Result<Dataset, DataError> {
    load_with(path, size, cache::directory().as_deref())
}

/// `load`, with this directory for decoded images.
fn load_with(path: &Path, size: usize, cache: Option<&Path>) -> Result<Dataset, DataError> {
    let listing = listing::list(path)?;
    let hashes = all(path, &listing.entries, hash)?;
    let key = key(&listing, &hashes, size);
    let bytes = listing.entries.len() * 3 * size * size;
    let file = cache.map(|directory| cache::file(directory, path, size));
    let images = if let Some(images) = file
        .as_ref()
        .and_then(|file| cache::read(file, &key, bytes))
    {
        images
    } else {
        let images = all(path, &listing.entries, |entry| square(entry, size))?.concat();
        if let Some(Err(error)) = file.as_ref().map(|file| cache::write(file, &key, &images)) {
            tracing::warn!("decoded images are not kept, and will be decoded again: {error}");
        }
        images
    };
    let shape = ImageShape {
        channels: 3,
        height: size,
        width: size,
    };
    let labels = listing.entries.iter().map(|entry| entry.label).collect();
    let mut dataset = Dataset::new(shape, listing.class_names, images, labels, false);
    let validation: Option<Vec<bool>> = listing.is_split.then(|| {
        listing
            .entries
            .iter()
            .map(|entry| entry.validation)
            .collect()
    });
    dataset.notes = listing.notes;
    dataset
        .notes
        .extend(twins(&hashes, validation.as_deref(), path));
    dataset.held_out = HeldOut::ByContent { hashes, validation };
    Ok(dataset)
}

/// Says how many validation images are training images too: what is measured on them is memory.
fn twins(hashes: &[Hash], validation: Option<&[bool]>, path: &Path) -> Option<String> {
    let validation = validation?;
    let side = |side: bool| {
        let sides = hashes.iter().zip(validation);
        sides.filter_map(move |(hash, held_out)| (*held_out == side).then_some(hash))
    };
    let trained: HashSet<&Hash> = side(false).collect();
    let twins = side(true).filter(|hash| trained.contains(hash)).count();
    (twins > 0).then(|| {
        format!(
            "{}: {twins} of the {} validation images are training images too, byte for byte: accuracies will be too high",
            path.display(),
            side(true).count()
        )
    })
}

/// Something of every file, or which files refuse it.
fn all<T: Send>(
    path: &Path,
    entries: &[Entry],
    of: impl Fn(&Entry) -> Result<T, String> + Sync + Send,
) -> Result<Vec<T>, DataError> {
    let results: Vec<Result<T, String>> = entries.par_iter().map(of).collect();
    let refused: Vec<(&Entry, &String)> = entries
        .iter()
        .zip(&results)
        .filter_map(|(entry, result)| Some((entry, result.as_ref().err()?)))
        .collect();
    if let Some((entry, reason)) = refused.first() {
        let problem = if refused.len() == 1 {
            (*reason).clone()
        } else {
            let names = refused.iter().take(LISTED);
            let names: Vec<&str> = names.map(|(entry, _)| entry.name.as_str()).collect();
            let more = if refused.len() > LISTED { ", …" } else { "" };
            format!(
                "{reason}; {} of the {} images in {} cannot be read: {}{more}",
                refused.len(),
                entries.len(),
                path.display(),
                names.join(", ")
            )
        };
        return Err(DataError::File {
            path: entry.path.clone(),
            problem,
        });
    }
    Ok(results.into_iter().flatten().collect())
}

fn read(entry: &Entry) -> Result<Vec<u8>, String> {
    std::fs::read(&entry.path).map_err(|error| format!("cannot be read: {error}"))
}

fn hash(entry: &Entry) -> Result<Hash, String> {
    Ok(Sha256::digest(read(entry)?).into())
}

fn square(entry: &Entry, size: usize) -> Result<Vec<u8>, String> {
    Ok(resize::square(&decode::decode(&read(entry)?)?, size))
}

/// One image file as a square of `size` pixels, `[3, size, size]`, by the rules of folders of
/// images.
///
/// # Errors
/// Names the file, and why it cannot be read.
pub fn read_image(path: &Path, size: usize) -> Result<Vec<u8>, DataError> {
    let read = || {
        let bytes = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => format!("cannot be read: {error}"),
        })?;
        Ok(resize::square(&decode::decode(&bytes)?, size))
    };
    read().map_err(|problem| DataError::File {
        path: path.to_owned(),
        problem,
    })
}

/// Changes with every image that is added, removed, renamed or changed.
fn key(listing: &Listing, hashes: &[Hash], size: usize) -> Hash {
    let mut hash = Sha256::new();
    hash.update((size as u64).to_le_bytes());
    for (entry, content) in listing.entries.iter().zip(hashes) {
        hash.update((entry.name.len() as u64).to_le_bytes());
        hash.update(&entry.name);
        hash.update(content);
    }
    hash.finalize().into()
}
