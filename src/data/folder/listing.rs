//! Which image files a folder holds, and of which class each is: a folder for each class, or
//! `train/` and `val/` above them. Must not read the files.

use super::super::DataError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Labels are bytes.
const MAX_CLASSES: usize = 256;

/// An image file and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    /// The path below the data folder: what identifies the image, and gives the order.
    pub name: String,
    pub label: u8,
    /// From `val/`.
    pub validation: bool,
}

/// What a data folder holds.
#[derive(Debug)]
pub struct Listing {
    pub class_names: Vec<String>,
    /// In the order of their names.
    pub entries: Vec<Entry>,
    /// Has `train/` and `val/`.
    pub is_split: bool,
}

fn problem(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::File {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

/// Lists the folder.
///
/// # Errors
/// Names the folder, and the classes that are empty, alone, too many, or differ by case alone.
pub fn list(path: &Path) -> Result<Listing, DataError> {
    if !path.is_dir() {
        return Err(problem(
            path,
            "no such folder; data.path must name the folder that holds one folder of images for each class",
        ));
    }
    let train = path.join("train");
    let validation = path.join("val");
    let is_split = train.is_dir() && validation.is_dir();
    let roots = if is_split {
        vec![(train, false), (validation, true)]
    } else {
        vec![(path.to_owned(), false)]
    };
    let mut class_names: Vec<String> = Vec::new();
    let mut entries = Vec::new();
    for (root, validation) in roots {
        let classes = classes(&root)?;
        if validation && !classes.keys().eq(&class_names) {
            let other = classes
                .keys()
                .find(|name| !class_names.contains(name))
                .or_else(|| class_names.iter().find(|name| !classes.contains_key(*name)));
            return Err(problem(
                &root,
                format!(
                    "train/ and val/ need the same class folders; only one of them has \"{}\"",
                    other.map_or("", String::as_str)
                ),
            ));
        }
        class_names = classes.keys().cloned().collect();
        for (label, files) in classes.into_values().enumerate() {
            for file in files {
                let name = file
                    .strip_prefix(path)
                    .unwrap_or(&file)
                    .to_string_lossy()
                    .into_owned();
                entries.push(Entry {
                    path: file,
                    name,
                    label: label as u8,
                    validation,
                });
            }
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listing {
        class_names,
        entries,
        is_split,
    })
}

/// The class folders and the image files in each.
fn classes(root: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
    let mut classes: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in folder(root)? {
        let name = entry
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if entry.is_dir() && !name.starts_with('.') {
            let mut files = Vec::new();
            images(&entry, &mut files)?;
            classes.insert(name, files);
        }
    }
    differ_by_more_than_case(root, &classes)?;
    let empty: Vec<String> = classes
        .iter()
        .filter(|(_, files)| files.is_empty())
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    match (classes.len(), empty.as_slice()) {
        (0, _) => Err(problem(
            root,
            "no class folders here: the images must lie in one folder for each class, named like the class",
        )),
        (_, [_, ..]) => Err(problem(
            root,
            format!(
                "no PNG, JPEG or WebP file in {} of its class folders: {}",
                empty.len(),
                empty.join(", ")
            ),
        )),
        (1, _) => Err(problem(
            root,
            format!(
                "one class folder alone (\"{}\"): there must be at least two classes to tell apart",
                classes.keys().next().map_or("", String::as_str)
            ),
        )),
        (2..=MAX_CLASSES, _) => Ok(classes),
        (count, _) => Err(problem(
            root,
            format!("{count} class folders; at most {MAX_CLASSES} are possible"),
        )),
    }
}

/// # Errors
/// The names of two classes differ by case alone.
fn differ_by_more_than_case(
    root: &Path,
    classes: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<(), DataError> {
    let mut lower: BTreeMap<String, &String> = BTreeMap::new();
    for name in classes.keys() {
        if let Some(first) = lower.insert(name.to_lowercase(), name) {
            let text = format!(
                "the class folders \"{first}\" and \"{name}\" differ by case alone; are they one class?"
            );
            return Err(problem(root, text));
        }
    }
    Ok(())
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(path).map_err(|error| problem(path, error.to_string()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| problem(path, error.to_string()))?;
    paths.sort();
    Ok(paths)
}

/// All image files below a class folder.
fn images(path: &Path, into: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in folder(path)? {
        let hidden = entry
            .file_name()
            .is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if hidden {
            continue;
        }
        if entry.is_dir() {
            images(&entry, into)?;
        } else if entry.extension().is_some_and(|extension| {
            ["png", "jpg", "jpeg", "webp"]
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        }) {
            into.push(entry);
        }
    }
    Ok(())
}
