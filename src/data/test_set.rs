//! The test set of each kind of data: whether there is one shows from names alone, and it is read
//! only to score a finished network. Must not know what is scored, nor choose anything.

use super::text::Corpus;
use super::{DataError, DataKind, DataSettings, Dataset, builtin, cifar, folder, text};
use std::path::{Path, PathBuf};

/// A test set that is there, and has not been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestData {
    /// Images drawn by this program, none of which is trained on or held out.
    Drawn,
    /// CIFAR-10's `test_batch.bin`.
    Cifar10(PathBuf),
    /// CIFAR-100's `test.bin`.
    Cifar100(PathBuf),
    /// A folder of class folders.
    Folder(PathBuf),
    Text(PathBuf),
}

/// The test set that belongs to these data; None: there is none.
///
/// # Errors
/// Several could be meant, or the one that is named is not there.
pub fn test_set(settings: &DataSettings) -> Result<Option<TestData>, DataError> {
    let path = settings.path.as_deref().map(Path::new);
    Ok(match (settings.kind, path) {
        (DataKind::Builtin, _) => Some(TestData::Drawn),
        (DataKind::Cifar10, Some(path)) => cifar::CIFAR10.test_file(path)?.map(TestData::Cifar10),
        (DataKind::Cifar100, Some(path)) => {
            cifar::CIFAR100.test_file(path)?.map(TestData::Cifar100)
        }
        (DataKind::ImageFolder, Some(path)) => folder::test_folder(path)?.map(TestData::Folder),
        (DataKind::Text, _) => text::test_file(settings)?.map(TestData::Text),
        (DataKind::Cifar10 | DataKind::Cifar100 | DataKind::ImageFolder, None) => None,
    })
}

/// Why these data have no test set, where they have none.
pub fn without_test_set(settings: &DataSettings) -> String {
    let path = settings.path.as_deref().unwrap_or("data.path");
    match settings.kind {
        DataKind::Builtin => "the built-in images always have one".into(),
        DataKind::Cifar10 => format!("{path} holds no {}", cifar::CIFAR10.test_name()),
        DataKind::Cifar100 => format!("{path} holds no {}", cifar::CIFAR100.test_name()),
        DataKind::ImageFolder => {
            format!("{path} holds no folder that is a test split by its name, such as test/")
        }
        DataKind::Text => {
            format!("{path} holds no test.txt (nor *.test.txt), and data.test_file names none")
        }
    }
}

impl TestData {
    /// What it is, in a few words.
    pub fn description(&self) -> String {
        match self {
            Self::Drawn => format!("{} images of its own, drawn", builtin::TEST_IMAGES),
            Self::Cifar10(path) | Self::Cifar100(path) | Self::Folder(path) | Self::Text(path) => {
                path.display().to_string()
            }
        }
    }

    /// Reads its images, with the training set's labels. Decodes them in the caller's rayon pool.
    ///
    /// # Errors
    /// Names what cannot be read; or a class that the training set does not have.
    pub fn images(
        &self,
        settings: &DataSettings,
        seed: u64,
        class_names: &[String],
    ) -> Result<Dataset, DataError> {
        match self {
            Self::Drawn => Ok(builtin::draw_test(seed)),
            Self::Cifar10(path) => cifar::CIFAR10.load_test(path),
            Self::Cifar100(path) => cifar::CIFAR100.load_test(path),
            Self::Folder(path) => folder::load_test(path, settings.side(), class_names),
            Self::Text(path) => Err(DataError::File {
                path: path.clone(),
                problem: "is a text, and no images".into(),
            }),
        }
    }

    /// Reads its tokens, as numbers of the corpus's vocabulary.
    ///
    /// # Errors
    /// Names file and line that cannot be read, or tokens that the vocabulary has no place for.
    pub fn text(&self, settings: &DataSettings, corpus: &Corpus) -> Result<Vec<u32>, DataError> {
        match self {
            Self::Text(path) => corpus.read(path, settings.unit),
            other => Err(DataError::Data(format!(
                "the test set ({}) holds no text",
                other.description()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(kind: DataKind, path: Option<&Path>) -> DataSettings {
        DataSettings {
            kind,
            path: path.map(|path| path.display().to_string()),
            ..DataSettings::default()
        }
    }

    #[test]
    fn a_test_set_is_found_by_its_name_and_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let found = |kind| test_set(&settings(kind, Some(root))).unwrap();
        std::fs::create_dir_all(root.join("train/cat")).unwrap();
        std::fs::create_dir_all(root.join("train/dog")).unwrap();
        for kind in [DataKind::Cifar10, DataKind::ImageFolder, DataKind::Text] {
            assert_eq!(found(kind), None, "{kind:?}");
            let reason = without_test_set(&settings(kind, Some(root)));
            assert!(reason.contains("holds no"), "{reason}");
        }
        assert_eq!(found(DataKind::Builtin), Some(TestData::Drawn));
        // Nothing in them could be read.
        let names = ["test_batch.bin", "ptb.test.txt"].map(|name| root.join(name));
        for name in &names {
            std::fs::write(name, [0xff; 3]).unwrap();
        }
        std::fs::create_dir(root.join("test")).unwrap();
        let [batch, text] = names;
        assert_eq!(found(DataKind::Cifar10), Some(TestData::Cifar10(batch)));
        assert_eq!(found(DataKind::Text), Some(TestData::Text(text)));
        let split = Some(TestData::Folder(root.join("test")));
        assert_eq!(found(DataKind::ImageFolder), split);
        std::fs::create_dir(root.join("eval")).unwrap();
        let error = test_set(&settings(DataKind::ImageFolder, Some(root))).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("\"eval\", \"test\" are all test splits"),
            "{error}"
        );
    }

    #[test]
    fn a_text_that_is_named_must_be_there() {
        let named = DataSettings {
            test_file: Some("no-such.txt".into()),
            ..settings(DataKind::Text, Some(Path::new("/")))
        };
        let error = test_set(&named).unwrap_err().to_string();
        assert_eq!(error, "/no-such.txt: no such file; data.test_file names it");
    }
}
