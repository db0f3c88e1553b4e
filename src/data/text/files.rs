//! Where the training, the validation and the test text lie. Must not read them.

use super::{DataError, DataSettings};
use std::path::{Path, PathBuf};

/// Names that parts of a corpus go by: `train.txt`, `ptb.train.txt`, `wiki.train.tokens`.
const TRAIN: &[&str] = &["train"];
const VALIDATION: &[&str] = &["valid", "validation", "val", "dev"];
const TEST: &[&str] = &["test"];
const EXTENSIONS: &[&str] = &["txt", "tokens"];

/// Files of the training and of the validation text: as named, else found in the folder
/// `data.path`.
pub fn find(settings: &DataSettings) -> Result<(PathBuf, PathBuf), DataError> {
    Ok((
        part(
            settings,
            settings.train_file.as_deref(),
            TRAIN,
            "data.train_file",
        )?,
        part(
            settings,
            settings.validation_file.as_deref(),
            VALIDATION,
            "data.validation_file",
        )?,
    ))
}

/// The file of the test text: as named, else found in the folder `data.path`; None: there is none.
///
/// # Errors
/// The file that is named is not there; or several could be meant.
pub fn test_file(settings: &DataSettings) -> Result<Option<PathBuf>, DataError> {
    let folder = settings.path.as_deref().map(Path::new);
    if let Some(named) = &settings.test_file {
        let file = folder.map_or_else(|| named.into(), |folder| folder.join(named));
        if !file.is_file() {
            return Err(DataError::File {
                path: file,
                problem: "no such file; data.test_file names it".into(),
            });
        }
        return Ok(Some(file));
    }
    let holds_one = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .into_iter()
            .any(|entry| is_part(&entry.path(), TEST))
    };
    match folder.filter(|folder| holds_one(folder)) {
        None => Ok(None),
        Some(_) => part(settings, None, TEST, "data.test_file").map(Some),
    }
}

fn part(
    settings: &DataSettings,
    named: Option<&str>,
    names: &[&str],
    key: &'static str,
) -> Result<PathBuf, DataError> {
    let folder = settings.path.as_deref().map(Path::new);
    if let Some(named) = named {
        // A name without a folder of its own lies in data.path, as the files that are found there
        // do.
        return Ok(folder.map_or_else(|| named.into(), |folder| folder.join(named)));
    }
    let Some(folder) = folder else {
        return Err(DataError::Setting {
            key,
            problem: "must name a text file, or data.path a folder that holds it".into(),
        });
    };
    let fail = |problem: String| DataError::File {
        path: folder.into(),
        problem,
    };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| fail(format!("cannot be read as the folder of a text: {error}")))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_part(path, names))
        .collect();
    found.sort();
    match &found[..] {
        [file] => Ok(file.clone()),
        [] => {
            let list: Vec<String> = names.iter().map(|name| format!("{name}.txt")).collect();
            Err(fail(format!(
                "holds no {0} (nor *.{0}, nor .tokens for .txt); {key} may name it",
                list.join(", ")
            )))
        }
        several => {
            let list: Vec<_> = several
                .iter()
                .filter_map(|path| path.file_name())
                .map(|name| name.to_string_lossy())
                .collect();
            Err(fail(format!(
                "holds {}: {key} must say which one",
                list.join(" and ")
            )))
        }
    }
}

fn is_part(path: &Path, names: &[&str]) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let last = stem.rsplit_once('.').map_or(stem, |(_, last)| last);
    EXTENSIONS.contains(&extension) && names.contains(&last)
}
