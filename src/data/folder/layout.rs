//! Which folders of a data folder hold the class folders: itself, or its training and validation
//! split. Opens no test split, and must not read images.

use super::super::DataError;
use super::entries::{self, Found, Kind, problem};
use super::parts::{Part, part};
use super::passed_over::is_leftover;
use std::path::{Path, PathBuf};

const RIGHT: &str = "a data folder holds one folder for each class, or train/ and val/ that hold one folder for each class";

/// Where the class folders lie.
#[derive(Debug)]
pub struct Layout {
    pub train: PathBuf,
    pub validation: Option<PathBuf>,
    /// Test splits: never opened.
    pub tests: Vec<Found>,
    /// Other folders beside splits: not looked into.
    pub beside: Vec<Found>,
    /// What was found, where it is more than class folders.
    pub note: Option<String>,
}

/// The folders in a data folder by what their names say.
#[derive(Default)]
struct Named {
    train: Vec<Found>,
    validation: Vec<Found>,
    test: Vec<Found>,
    others: Vec<Found>,
}

/// What a folder holds at its own level.
struct Holds {
    images: bool,
    folders: bool,
}

/// Looks at the names in a data folder.
///
/// # Errors
/// It looks like splits, and cannot be read as such: names what is in the way and what would be
/// right.
pub fn layout(root: &Path) -> Result<Layout, DataError> {
    let mut named = Named::of(root)?;
    if named.is_classes(root)? {
        return Ok(classes(root, named));
    }
    let train = named.training_split(root)?;
    let validation = named.validation_split(root)?;
    is_readable(&train)?;
    if let Some(validation) = &validation {
        is_readable(validation)?;
    }
    named.check_what_lies_beside(root, &train, validation.is_some())?;
    let note = note(root, &train, validation.as_ref(), &named);
    Ok(Layout {
        train: train.path,
        validation: validation.map(|split| split.path),
        tests: named.test,
        beside: named.others,
        note: Some(note),
    })
}

/// Class folders in the data folder itself; a test split beside them stays closed.
fn classes(root: &Path, named: Named) -> Layout {
    let note = named.test.first().map(|_| {
        format!(
            "{}: {} is taken for a test split by its name, and never opened",
            root.display(),
            list(&named.test)
        )
    });
    Layout {
        train: root.to_owned(),
        validation: None,
        tests: named.test,
        beside: Vec::new(),
        note,
    }
}

impl Named {
    fn of(root: &Path) -> Result<Self, DataError> {
        let mut named = Self::default();
        for found in entries::read(root)? {
            if !found.is_folder() || is_leftover(&found) {
                continue;
            }
            match part(&found.name) {
                Some(Part::Train) => named.train.push(found),
                Some(Part::Validation) => named.validation.push(found),
                Some(Part::Test) => named.test.push(found),
                None => named.others.push(found),
            }
        }
        Ok(named)
    }

    /// Whether the folders are classes. One that is named like the training or the validation split
    /// but holds images itself, beside folders of other names, is a class (COCO has a class
    /// "train").
    fn is_classes(&self, root: &Path) -> Result<bool, DataError> {
        let mut named = self.train.iter().chain(&self.validation);
        let Some(first) = named.next() else {
            if self.others.is_empty() && !self.test.is_empty() {
                let text = format!(
                    "holds nothing but {}, a test split by its name, which is never opened; {RIGHT}",
                    list(&self.test)
                );
                return Err(problem(root, text));
            }
            return Ok(true);
        };
        let is_alone = named.next().is_none() && self.test.is_empty();
        Ok(is_alone && !self.others.is_empty() && holds(&first.path)?.images)
    }

    fn training_split(&mut self, root: &Path) -> Result<Found, DataError> {
        let text = match self.train.len() {
            1 => return Ok(self.train.remove(0)),
            0 => format!(
                "holds {}, a validation split by its name, and no training split: the folders of the classes to train on must lie in train/",
                list(&self.validation)
            ),
            _ => format!(
                "{} are all training splits by their names, and one is needed; {RIGHT}",
                list(&self.train)
            ),
        };
        Err(problem(root, text))
    }

    fn validation_split(&mut self, root: &Path) -> Result<Option<Found>, DataError> {
        if self.validation.len() > 1 {
            let text = format!(
                "{} are all validation splits by their names, and one is needed",
                list(&self.validation)
            );
            return Err(problem(root, text));
        }
        Ok(self.validation.pop())
    }

    /// Folders of other names beside splits are passed over, unless they may be meant as classes.
    fn check_what_lies_beside(
        &self,
        root: &Path,
        train: &Found,
        has_validation: bool,
    ) -> Result<(), DataError> {
        let is_certain = has_validation || !self.test.is_empty();
        let classes = names_of_folders(&train.path)?;
        for other in &self.others {
            let may_be_class = !is_certain || classes.contains(&other.name);
            if may_be_class && has_images_below(&other.path)? {
                let text = format!(
                    "\"{}\" is a training split by its name, and \"{}\", which holds images, lies beside it: {RIGHT}",
                    train.name, other.name
                );
                return Err(problem(root, text));
            }
        }
        Ok(())
    }
}

/// # Errors
/// The split holds no class folders, or splits again.
fn is_readable(split: &Found) -> Result<(), DataError> {
    let holds = holds(&split.path)?;
    if !holds.folders {
        let what = if holds.images {
            "holds images, and no class folders"
        } else {
            "is empty"
        };
        let text = format!(
            "{what}: by its name it is a split of the data, which holds one folder for each class"
        );
        return Err(problem(&split.path, text));
    }
    let inside = Named::of(&split.path)?;
    if !inside.test.is_empty() || !inside.is_classes(&split.path)? {
        let names: Vec<&Found> = inside
            .train
            .iter()
            .chain(&inside.validation)
            .chain(&inside.test)
            .collect();
        let text = format!(
            "is a split by its name, and holds {}, splits by their names: data.path must name the folder right above the splits, and these hold one folder for each class",
            list(names)
        );
        return Err(problem(&split.path, text));
    }
    Ok(())
}

/// What is done with the splits, in one line.
fn note(root: &Path, train: &Found, validation: Option<&Found>, named: &Named) -> String {
    let mut text = format!("{}: {} is trained on", root.display(), quoted(train));
    match validation {
        Some(validation) => text += &format!(", {} is for validation", quoted(validation)),
        None => text += " and the validation set is held out from it",
    }
    if !named.test.is_empty() {
        text += &format!("; {} is never opened", list(&named.test));
    }
    if !named.others.is_empty() {
        text += &format!("; passed over beside them: {}", list(&named.others));
    }
    text
}

fn quoted(found: &Found) -> String {
    format!("\"{}\"", found.name)
}

fn list<'a>(found: impl IntoIterator<Item = &'a Found>) -> String {
    let names: Vec<String> = found.into_iter().map(quoted).collect();
    names.join(", ")
}

fn holds(folder: &Path) -> Result<Holds, DataError> {
    let entries = entries::read(folder)?;
    let visible = || entries.iter().filter(|found| !is_leftover(found));
    Ok(Holds {
        images: visible().any(|found| !found.is_folder() && found.is_image()),
        folders: visible().any(Found::is_folder),
    })
}

fn names_of_folders(folder: &Path) -> Result<Vec<String>, DataError> {
    let entries = entries::read(folder)?;
    let folders = entries.into_iter().filter(Found::is_folder);
    Ok(folders.map(|found| found.name).collect())
}

/// Whether there is an image at any depth; links are not followed.
fn has_images_below(folder: &Path) -> Result<bool, DataError> {
    for found in entries::read(folder)? {
        let is_below = match found.kind {
            _ if is_leftover(&found) => false,
            Kind::Folder(_) => !found.is_link && has_images_below(&found.path)?,
            _ => found.is_image(),
        };
        if is_below {
            return Ok(true);
        }
    }
    Ok(false)
}
