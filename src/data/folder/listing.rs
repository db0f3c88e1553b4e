//! Which image files a folder holds, and of which class each is: a folder for each class, or splits
//! above them. Each file and folder is taken once, at its own place rather than through a link. Must
//! not read the files.

use super::super::DataError;
use super::entries::{self, Found, Kind, Place, problem};
use super::layout::{Layout, layout};
use super::parts::{Part, part};
use super::passed_over::{PassedOver, is_leftover};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
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
    /// From the validation split.
    pub validation: bool,
}

/// What a data folder holds.
#[derive(Debug)]
pub struct Listing {
    pub class_names: Vec<String>,
    /// In the order of their names.
    pub entries: Vec<Entry>,
    /// Has a training and a validation split.
    pub is_split: bool,
    /// What was made of its folders, and what was passed over: one line each.
    pub notes: Vec<String>,
}

/// Lists the folder.
///
/// # Errors
/// Names the folder that cannot be read, or looks like splits and is none; the classes that are
/// empty, alone, too many, or differ by case alone; a link to an image that is not there; a file
/// that lies in two classes.
pub fn list(path: &Path) -> Result<Listing, DataError> {
    let is_folder = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => problem(
            path,
            "no such folder; data.path must name the folder that holds one folder of images for each class",
        ),
        _ => problem(path, format!("cannot be opened: {error}")),
    })?;
    if !is_folder.is_dir() {
        return Err(problem(
            path,
            "is a file; data.path must name the folder that holds one folder of images for each class (an archive must be unpacked)",
        ));
    }
    let layout = layout(path)?;
    let roots = [Some(&layout.train), layout.validation.as_ref()];
    let roots: Vec<PathBuf> = roots.into_iter().flatten().cloned().collect();
    let mut walk = Walk::new(path, &roots, &layout)?;
    for (split, root) in roots.iter().enumerate() {
        walk.class_folders(split, root)?;
    }
    walk.follow_links()?;
    let mut classes = Vec::new();
    for (split, root) in roots.iter().enumerate() {
        classes.push(walk.classes_of(split, root)?);
    }
    if let ([train, validation], [one, other]) = (&roots[..], &classes[..]) {
        same_classes(train, validation, one, other)?;
    }
    let notes = layout.note.into_iter().chain(walk.passed_over(path));
    Ok(Listing {
        class_names: classes[0].keys().cloned().collect(),
        is_split: roots.len() > 1,
        notes: notes.collect(),
        entries: entries(path, classes),
    })
}

/// The files of the splits' classes, in the order of their names.
fn entries(path: &Path, splits: Vec<BTreeMap<String, Vec<PathBuf>>>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (split, classes) in splits.into_iter().enumerate() {
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
                    validation: split == 1,
                });
            }
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// # Errors
/// A class that only one of the two splits has.
fn same_classes(
    train: &Path,
    validation: &Path,
    one: &BTreeMap<String, Vec<PathBuf>>,
    other: &BTreeMap<String, Vec<PathBuf>>,
) -> Result<(), DataError> {
    let only = |of: &BTreeMap<String, Vec<PathBuf>>, not: &BTreeMap<String, Vec<PathBuf>>| {
        of.keys()
            .filter(|name| !not.contains_key(*name))
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
    };
    let differing = [only(one, other), only(other, one)].concat();
    if differing.is_empty() {
        return Ok(());
    }
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let text = format!(
        "{}/ and {}/ need the same class folders; only one of them has {}",
        name(train),
        name(validation),
        differing.join(", ")
    );
    Err(problem(validation, text))
}

/// A folder of one class in one split.
struct Class {
    split: usize,
    name: String,
    path: PathBuf,
    files: Vec<PathBuf>,
}

/// Where a file or folder was met first.
struct Seen {
    path: PathBuf,
    /// None: it is not to be looked into.
    class: Option<usize>,
    /// Through a link, not at its own place.
    by_link: bool,
}

/// The class folders and their files. First everything that lies there itself, then what links lead
/// to.
#[derive(Default)]
struct Walk {
    classes: Vec<Class>,
    seen: HashMap<Place, Seen>,
    /// Folders where class folders lie that are none.
    left_out: HashSet<PathBuf>,
    /// Test splits, without links in their paths: no link may lead below them.
    tests: Vec<PathBuf>,
    /// Links, with the class in whose folder each lies.
    links: VecDeque<(Found, usize)>,
    /// Links to folders that lie where class folders do, with their split.
    class_links: Vec<(Found, usize)>,
    passed: PassedOver,
}

impl Walk {
    /// Before the first step. A link to one of `roots`, to the data folder or to a folder above it
    /// would lead to everything again, and more: these are not looked into.
    fn new(path: &Path, roots: &[PathBuf], layout: &Layout) -> Result<Self, DataError> {
        let fail = |error: std::io::Error| problem(path, format!("cannot be opened: {error}"));
        let whole = path.canonicalize().map_err(fail)?;
        let mut walk = Self::default();
        for folder in whole.ancestors().chain(roots.iter().map(PathBuf::as_path)) {
            // One that may not be looked at cannot be followed either.
            let Ok(metadata) = std::fs::metadata(folder) else {
                continue;
            };
            let seen = Seen {
                path: folder.to_owned(),
                class: None,
                by_link: false,
            };
            walk.seen.insert(entries::place(&metadata), seen);
        }
        let beside = layout.tests.iter().chain(&layout.beside);
        walk.left_out = beside.map(|found| found.path.clone()).collect();
        let tests = layout.tests.iter();
        walk.tests = tests
            .filter_map(|found| found.path.canonicalize().ok())
            .collect();
        Ok(walk)
    }

    /// All that lies in the class folders of a split itself.
    fn class_folders(&mut self, split: usize, root: &Path) -> Result<(), DataError> {
        let all = entries::read(root)?;
        for found in all {
            match found.kind {
                _ if is_leftover(&found) => self.passed.leftover(&found),
                // Its note is the layout's.
                _ if self.left_out.contains(&found.path) => {}
                Kind::Folder(place) if !found.is_link => {
                    let class = self.new_class(split, &found);
                    self.folder(&found.path, place, class, false)?;
                }
                Kind::Folder(_) => self.class_links.push((found, split)),
                Kind::Special => self.passed.special(),
                Kind::Broken(_) => self.passed.broken_link(),
                Kind::File(_) if found.is_image() => self.passed.outside_of_classes(),
                Kind::File(_) => self.passed.other_file(&found),
            }
        }
        Ok(())
    }

    fn new_class(&mut self, split: usize, found: &Found) -> usize {
        self.classes.push(Class {
            split,
            name: found.name.clone(),
            path: found.path.clone(),
            files: Vec::new(),
        });
        self.classes.len() - 1
    }

    /// Takes a folder of a class with all that lies in it.
    fn folder(
        &mut self,
        path: &Path,
        place: Place,
        class: usize,
        by_link: bool,
    ) -> Result<(), DataError> {
        if !self.is_first_time(path, place, class, by_link)? {
            return Ok(());
        }
        for found in entries::read(path)? {
            if is_leftover(&found) {
                self.passed.leftover(&found);
            } else if found.is_link {
                self.links.push_back((found, class));
            } else {
                self.take(&found, class, by_link)?;
            }
        }
        Ok(())
    }

    /// Takes what an entry of a class's folder leads to.
    fn take(&mut self, found: &Found, class: usize, by_link: bool) -> Result<(), DataError> {
        match &found.kind {
            Kind::Folder(place) => {
                self.refuse_split_in_class(found, class)?;
                self.folder(&found.path, *place, class, by_link)?;
            }
            Kind::File(_) if !found.is_image() => self.passed.other_file(found),
            Kind::File(place) => {
                if self.is_first_time(&found.path, *place, class, by_link)? {
                    self.classes[class].files.push(found.path.clone());
                }
            }
            Kind::Special => self.passed.special(),
            Kind::Broken(reason) if found.is_image() => {
                return Err(problem(
                    &found.path,
                    format!("is a link that leads to no file: {reason}"),
                ));
            }
            Kind::Broken(_) => self.passed.broken_link(),
        }
        Ok(())
    }

    /// Notes where this file or folder was met; false: it was met before.
    ///
    /// # Errors
    /// It lies in two classes, or two splits, and neither is its own place: nobody can say where it
    /// belongs.
    fn is_first_time(
        &mut self,
        path: &Path,
        place: Place,
        class: usize,
        by_link: bool,
    ) -> Result<bool, DataError> {
        let seen = Seen {
            path: path.to_owned(),
            class: Some(class),
            by_link,
        };
        let Some(first) = self.seen.get(&place) else {
            self.seen.insert(place, seen);
            return Ok(true);
        };
        let is_elsewhere = first.class.is_some_and(|first| first != class);
        if is_elsewhere && first.by_link == by_link {
            let text = format!(
                "is the same as {}: what is in two classes, or in two splits, teaches and measures nothing",
                first.path.display()
            );
            return Err(problem(path, text));
        }
        self.passed.repeated();
        Ok(false)
    }

    /// # Errors
    /// The folder is named like a test or validation split, but lies inside a class.
    fn refuse_split_in_class(&self, found: &Found, class: usize) -> Result<(), DataError> {
        if !matches!(part(&found.name), Some(Part::Validation | Part::Test)) {
            return Ok(());
        }
        let Class { name, path, .. } = &self.classes[class];
        let text = format!(
            "lies inside the class \"{name}\" and is a split by its name. Splits lie above the classes (train/{name}, val/{name}); \
             if \"{name}\" is a data set of its own, data.path must name it ({}); if \"{}\" is no split, give it another name",
            path.display(),
            found.name
        );
        Err(problem(&found.path, text))
    }

    /// What links lead to, unless it was met at its own place.
    fn follow_links(&mut self) -> Result<(), DataError> {
        for (found, split) in std::mem::take(&mut self.class_links) {
            let Kind::Folder(place) = found.kind else {
                continue;
            };
            let is_own = self.seen.get(&place).is_some_and(|seen| !seen.by_link);
            if is_own || self.leads_to_test_split(&found) {
                self.passed.repeated();
            } else {
                let class = self.new_class(split, &found);
                self.folder(&found.path, place, class, true)?;
            }
        }
        while let Some((found, class)) = self.links.pop_front() {
            if self.leads_to_test_split(&found) {
                self.passed.repeated();
            } else {
                self.take(&found, class, true)?;
            }
        }
        Ok(())
    }

    fn leads_to_test_split(&self, found: &Found) -> bool {
        let target = found.path.canonicalize();
        target.is_ok_and(|target| self.tests.iter().any(|test| target.starts_with(test)))
    }

    /// The classes of a split and their image files.
    fn classes_of(
        &mut self,
        split: usize,
        root: &Path,
    ) -> Result<BTreeMap<String, Vec<PathBuf>>, DataError> {
        let mut classes = BTreeMap::new();
        for class in self.classes.iter_mut().filter(|class| class.split == split) {
            classes.insert(class.name.clone(), std::mem::take(&mut class.files));
        }
        differ_by_more_than_case(root, &classes)?;
        let empty: Vec<String> = classes
            .iter()
            .filter(|(_, files)| files.is_empty())
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let passed = self.passed.text();
        let passed = passed.map_or_else(String::new, |text| format!(" (passed over: {text})"));
        let text = match (classes.len(), empty.as_slice()) {
            (0, _) => format!(
                "no class folders here: the images must lie in one folder for each class, named like the class{passed}"
            ),
            (_, [_, ..]) => format!(
                "no PNG, JPEG or WebP file in {} of its class folders: {}{passed}",
                empty.len(),
                empty.join(", ")
            ),
            (1, _) => alone(root, classes.keys().next().map_or("", String::as_str))?,
            (2..=MAX_CLASSES, _) => return Ok(classes),
            (count, _) => format!("{count} class folders; at most {MAX_CLASSES} are possible"),
        };
        Err(problem(root, text))
    }

    fn passed_over(&self, path: &Path) -> Option<String> {
        let text = self.passed.text()?;
        Some(format!(
            "{}: passed over {text}; what is read are .png, .jpg, .jpeg and .webp files in class folders",
            path.display()
        ))
    }
}

/// What is said of a class that is the only one: perhaps it is the data folder itself.
fn alone(root: &Path, name: &str) -> Result<String, DataError> {
    let folder = root.join(name);
    let inside = entries::read(&folder)?;
    let holds_folders = inside
        .iter()
        .any(|found| found.is_folder() && !is_leftover(found));
    let holds_images = inside
        .iter()
        .any(|found| !found.is_folder() && found.is_image());
    let perhaps = if holds_folders && !holds_images {
        format!(
            "; if it holds the class folders, data.path must name it: {}",
            folder.display()
        )
    } else {
        String::new()
    };
    Ok(format!(
        "one class folder alone (\"{name}\"): there must be at least two classes to tell apart{perhaps}"
    ))
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
