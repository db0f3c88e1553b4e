//! What is passed over in a folder of images, counted by kind, so that nobody wonders where a file
//! went. Must not open anything.

use super::entries::Found;
use std::collections::BTreeMap;

/// Files and folders that systems and programs leave behind; some hold thumbnails that look like
/// images. Names in lower case.
const LEFTOVERS: &[&str] = &[
    "@eadir",
    "@recycle",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "__macosx",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
];

/// How many entries were passed over, and why.
#[derive(Debug, Default)]
pub struct PassedOver(BTreeMap<String, usize>);

/// A name that stands for no class and no image: hidden, or a leftover.
pub fn is_leftover(found: &Found) -> bool {
    found.name.starts_with('.') || LEFTOVERS.contains(&found.name.to_lowercase().as_str())
}

impl PassedOver {
    fn add(&mut self, kind: impl Into<String>) {
        *self.0.entry(kind.into()).or_default() += 1;
    }

    /// What is hidden is named where everybody knows the name.
    pub fn leftover(&mut self, found: &Found) {
        let name = match found.name.as_str() {
            ".DS_Store" => ".DS_Store",
            name if name.starts_with('.') => "hidden files and folders",
            name => name,
        };
        let folders = if found.is_folder() && !name.starts_with("hidden") {
            " folders"
        } else {
            ""
        };
        self.add(format!("{name}{folders}"));
    }

    /// A file that is no image by its name.
    pub fn other_file(&mut self, found: &Found) {
        match found.path.extension() {
            Some(extension) => {
                self.add(format!(".{}", extension.to_string_lossy().to_lowercase()));
            }
            None => self.add("files without an ending"),
        }
    }

    pub fn outside_of_classes(&mut self) {
        self.add("images outside of the class folders");
    }

    pub fn special(&mut self) {
        self.add("pipes, sockets or devices");
    }

    pub fn broken_link(&mut self) {
        self.add("broken links");
    }

    /// A second way to a file or folder that is read, or is not to be read.
    pub fn repeated(&mut self) {
        self.add("second ways to a file or folder");
    }

    /// `.gif (3), .DS_Store (1)`, the most frequent first; None: nothing was passed over.
    pub fn text(&self) -> Option<String> {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let kinds: Vec<String> = kinds
            .into_iter()
            .map(|(kind, count)| format!("{kind} ({count})"))
            .collect();
        (!kinds.is_empty()).then(|| kinds.join(", "))
    }
}
