//! The official binary format of CIFAR-10 and CIFAR-100: records of one or two label bytes and 3,072
//! bytes, the red, green and blue planes of a 32×32 image. Must not know how images are used.

use super::{DataError, Dataset};
use crate::space::ImageShape;
use std::path::{Path, PathBuf};

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const PIXELS: usize = 3 * 32 * 32;

/// One of the two data sets, as its binary version is published.
pub struct Format {
    /// Its name.
    name: &'static str,
    /// The folder that the archive unpacks to.
    folder: &'static str,
    classes: usize,
    /// Label bytes of a record; the last of them is the class.
    labels: usize,
    /// The files of the training set, as messages name them, and how each is known.
    training: &'static str,
    /// What follows where there is none of them.
    needed: &'static str,
    test: &'static str,
    /// The file with the names of the classes.
    names: &'static str,
}

/// Ten classes; the training set in numbered batches.
pub const CIFAR10: Format = Format {
    name: "CIFAR-10",
    folder: "cifar-10-batches-bin",
    classes: 10,
    labels: 1,
    training: "data_batch_*.bin",
    needed: "no data_batch_1.bin here, nor any other data_batch_*.bin",
    test: "test_batch.bin",
    names: "batches.meta.txt",
};

/// A hundred classes (the fine labels). Before its class a record has one of 20 superclasses (the
/// coarse labels), which nobody here asks for.
pub const CIFAR100: Format = Format {
    name: "CIFAR-100",
    folder: "cifar-100-binary",
    classes: 100,
    labels: 2,
    training: "train.bin",
    needed: "no train.bin here",
    test: "test.bin",
    names: "fine_label_names.txt",
};

/// CIFAR-10's classes as published, where `batches.meta.txt` is not there. CIFAR-100's are numbers
/// then.
const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

impl Format {
    /// Bytes of a record.
    const fn record(&self) -> usize {
        self.labels + PIXELS
    }

    /// The training set of a folder: of CIFAR-10 all batches, in the order of their numbers.
    ///
    /// # Errors
    /// Names the folder or file, and the byte offset of what is wrong.
    pub fn load(&self, path: &Path) -> Result<Dataset, DataError> {
        for folder in self.folders(path)? {
            let files = self.training_files(&folder)?;
            if !files.is_empty() {
                return self.read_all(&folder, &files);
            }
        }
        let text = format!(
            "{}: the binary version of {} is needed (not the Python one)",
            self.needed, self.name
        );
        Err(problem(path, text))
    }

    /// Where the test set lies; None: it is not there.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn test_file(&self, path: &Path) -> Result<Option<PathBuf>, DataError> {
        let files = self.folders(path)?.into_iter();
        let mut files = files.map(|folder| folder.join(self.test));
        Ok(files.find(|file| file.is_file()))
    }

    /// The name of the file that holds the test set.
    pub const fn test_name(&self) -> &'static str {
        self.test
    }

    /// The test set: for the report on a finished network, never for the search.
    ///
    /// # Errors
    /// As for the training set.
    pub fn load_test(&self, file: &Path) -> Result<Dataset, DataError> {
        let folder = file.parent().unwrap_or(Path::new("."));
        self.read_all(folder, &[file.to_owned()])
    }

    /// Where the files may lie: the folder itself, or the one that the archive unpacks to inside it.
    fn folders(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        if !path.is_dir() {
            let text = format!(
                "no such folder; data.path must name the folder of {}'s {}{}",
                self.name,
                self.training,
                if self.training.contains('*') {
                    " files"
                } else {
                    ""
                }
            );
            return Err(problem(path, text));
        }
        let folders = [path.to_owned(), path.join(self.folder)];
        Ok(folders
            .into_iter()
            .filter(|folder| folder.is_dir())
            .collect())
    }

    fn training_files(&self, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
        let Some((before, behind)) = self.training.split_once('*') else {
            let file = folder.join(self.training);
            return Ok(Some(file)
                .filter(|file| file.symlink_metadata().is_ok())
                .into_iter()
                .collect());
        };
        let entries =
            std::fs::read_dir(folder).map_err(|error| problem(folder, error.to_string()))?;
        let number = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix(before)?
                .strip_suffix(behind)?
                .parse::<u32>()
                .ok()
        };
        let mut found: Vec<(u32, PathBuf)> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter_map(|path| Some((number(&path)?, path)))
            .collect();
        found.sort();
        if let Some(pair) = found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let text = format!(
                "has the number of {} too: their images would count twice, so one of the two must go",
                name(&pair[0].1)
            );
            return Err(problem(&pair[1].1, text));
        }
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }

    fn read_all(&self, folder: &Path, files: &[PathBuf]) -> Result<Dataset, DataError> {
        let mut images = Vec::new();
        let mut labels = Vec::new();
        // Records of each file.
        let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let first = labels.len();
            self.read(file, &mut images, &mut labels)?;
            let part = first..labels.len();
            let is_twin = |other: &std::ops::Range<usize>| {
                let of = |part: &std::ops::Range<usize>| {
                    (
                        &labels[part.clone()],
                        &images[part.start * PIXELS..part.end * PIXELS],
                    )
                };
                of(other) == of(&part)
            };
            if let Some(twin) = parts[..number].iter().position(is_twin) {
                let text = format!(
                    "holds the same images as {}: they would count twice, so one of the two must go",
                    name(&files[twin])
                );
                return Err(problem(file, text));
            }
            parts.push(part);
        }
        Ok(Dataset::new(
            SHAPE,
            self.class_names(folder)?,
            images,
            labels,
            false,
        ))
    }

    /// Those of the file that is published beside the images, where it is there.
    fn class_names(&self, folder: &Path) -> Result<Vec<String>, DataError> {
        let path = folder.join(self.names);
        if !path.exists() {
            return Ok(if self.classes == CLASSES.len() {
                CLASSES.map(str::to_owned).to_vec()
            } else {
                (0..self.classes).map(|class| class.to_string()).collect()
            });
        }
        let text =
            std::fs::read_to_string(&path).map_err(|error| problem(&path, error.to_string()))?;
        let names: Vec<String> = text
            .trim_start_matches('\u{feff}')
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        if names.len() == self.classes {
            return Ok(names);
        }
        Err(problem(
            &path,
            format!(
                "{} class names; {} has {}",
                names.len(),
                self.name,
                self.classes
            ),
        ))
    }

    fn read(
        &self,
        path: &Path,
        images: &mut Vec<u8>,
        labels: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
        if !is_file {
            // A pipe would never end.
            return Err(problem(
                path,
                "is no regular file, or a link that leads nowhere",
            ));
        }
        let bytes = std::fs::read(path).map_err(|error| problem(path, error.to_string()))?;
        if bytes.is_empty() {
            return Err(problem(path, "byte 0: the file is empty"));
        }
        let records = bytes.chunks_exact(self.record());
        let rest = records.remainder().len();
        let class = self.labels - 1;
        for (number, record) in records.clone().enumerate() {
            let label = record[class];
            if usize::from(label) >= self.classes {
                let offset = number * self.record() + class;
                let text = format!(
                    "byte {offset}: label {label}, {name}'s are 0 to {}; is this a file of {name}'s binary version?",
                    self.classes - 1,
                    name = self.name
                );
                return Err(problem(path, text));
            }
        }
        if rest > 0 {
            let text = format!(
                "byte {}: the last record has {rest} of {} bytes; the file is truncated",
                records.len() * self.record(),
                self.record()
            );
            return Err(problem(path, text));
        }
        for record in records {
            labels.push(record[class]);
            images.extend_from_slice(&record[self.labels..]);
        }
        Ok(())
    }
}

fn problem(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::File {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: usize = CIFAR10.record();

    fn load(path: &Path) -> Result<Dataset, DataError> {
        CIFAR10.load(path)
    }

    fn load_test(path: &Path) -> Result<Dataset, DataError> {
        CIFAR10.load_test(&CIFAR10.test_file(path)?.expect("a test set"))
    }

    fn record(label: u8, fill: u8) -> Vec<u8> {
        let mut record = vec![fill; RECORD];
        record[0] = label;
        record
    }

    #[test]
    fn records_come_in_the_order_of_the_batches_numbers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data_batch_10.bin"), record(7, 3)).unwrap();
        std::fs::write(
            folder.path().join("data_batch_2.bin"),
            [record(1, 1), record(9, 2)].concat(),
        )
        .unwrap();
        std::fs::write(folder.path().join("test_batch.bin"), record(5, 5)).unwrap();
        let set = load(folder.path()).unwrap();
        assert_eq!(set.labels, [1, 9, 7]);
        assert_eq!(
            [set.image(0)[0], set.image(1)[3071], set.image(2)[1024]],
            [1, 2, 3]
        );
        assert_eq!(set.class_names[9], "truck");
        assert_eq!(load_test(folder.path()).unwrap().labels, [5]);
    }

    #[test]
    fn the_archives_own_folder_is_found_and_the_test_set_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&inner).unwrap();
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no data_batch_1.bin")
        );
        std::fs::write(inner.join("data_batch_1.bin"), record(3, 0)).unwrap();
        std::fs::write(inner.join("test_batch.bin"), "broken").unwrap();
        assert_eq!(load(folder.path()).unwrap().labels, [3]);
        assert!(
            load_test(folder.path())
                .unwrap_err()
                .to_string()
                .contains("byte 0")
        );
        std::fs::write(
            inner.join("batches.meta.txt"),
            "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n",
        )
        .unwrap();
        assert_eq!(load(folder.path()).unwrap().class_names[9], "j");
        std::fs::write(inner.join("batches.meta.txt"), "a\nb\n").unwrap();
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .contains("2 class names")
        );
        // Files that lie directly in the folder come first.
        std::fs::write(folder.path().join("data_batch_4.bin"), record(8, 0)).unwrap();
        assert_eq!(load(folder.path()).unwrap().labels, [8]);
    }

    #[test]
    fn no_image_counts_twice() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, label: u8| {
            std::fs::write(folder.path().join(name), record(label, 0)).unwrap();
        };
        let message = || {
            let text = load(folder.path()).unwrap_err().to_string();
            text.replace(folder.path().to_str().unwrap(), "DIR")
        };
        put("data_batch_1.bin", 1);
        put("data_batch_01.bin", 2);
        assert_eq!(
            message(),
            "DIR/data_batch_1.bin: has the number of data_batch_01.bin too: their images would count twice, so one of the two must go"
        );
        std::fs::remove_file(folder.path().join("data_batch_01.bin")).unwrap();
        put("data_batch_2.bin", 2);
        put("data_batch_3.bin", 1);
        assert_eq!(
            message(),
            "DIR/data_batch_3.bin: holds the same images as data_batch_1.bin: they would count twice, so one of the two must go"
        );
        put("data_batch_3.bin", 3);
        assert_eq!(load(folder.path()).unwrap().labels, [1, 2, 3]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_class_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data_batch_1.bin"), record(1, 0)).unwrap();
        let names = "\u{feff}a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n";
        std::fs::write(folder.path().join("batches.meta.txt"), names).unwrap();
        assert_eq!(load(folder.path()).unwrap().class_names[0], "a");
    }

    #[test]
    fn what_is_wrong_is_named_with_file_and_offset() {
        let folder = tempfile::tempdir().unwrap();
        let message = |bytes: &[u8]| {
            std::fs::write(folder.path().join("data_batch_1.bin"), bytes).unwrap();
            load(folder.path()).unwrap_err().to_string()
        };
        let mut truncated = [record(1, 0), record(2, 0)].concat();
        truncated.truncate(RECORD + 100);
        assert!(message(&truncated).contains(&format!(
            "data_batch_1.bin: byte {RECORD}: the last record has 100"
        )));
        assert!(
            message(&[record(1, 0), record(10, 0)].concat())
                .contains(&format!("byte {RECORD}: label 10"))
        );
        assert!(message(&[]).contains("byte 0: the file is empty"));
        assert!(message(b"not a batch at all").contains("byte 0"));
        std::fs::remove_file(folder.path().join("data_batch_1.bin")).unwrap();
        assert!(
            load(folder.path())
                .unwrap_err()
                .to_string()
                .contains("no data_batch_1.bin")
        );
        assert!(
            load(&folder.path().join("absent"))
                .unwrap_err()
                .to_string()
                .contains("no such folder")
        );
    }

    /// A record of CIFAR-100: superclass, class, pixels.
    fn fine(coarse: u8, label: u8, fill: u8) -> Vec<u8> {
        [vec![coarse, label], vec![fill; PIXELS]].concat()
    }

    #[test]
    fn a_hundred_classes_are_the_fine_labels() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("cifar-100-binary");
        std::fs::create_dir(&inner).unwrap();
        let message = || CIFAR100.load(folder.path()).unwrap_err().to_string();
        assert!(
            message().contains("no train.bin here: the binary version of CIFAR-100 is needed"),
            "{}",
            message()
        );
        let put = |name: &str, bytes: &[u8]| std::fs::write(inner.join(name), bytes).unwrap();
        put("train.bin", &[fine(19, 99, 1), fine(3, 0, 2)].concat());
        put("test.bin", &fine(4, 7, 9));
        let set = CIFAR100.load(folder.path()).unwrap();
        assert_eq!(
            (set.labels.as_slice(), set.class_names.len()),
            (&[99, 0][..], 100)
        );
        assert_eq!([set.image(0)[0], set.image(1)[3071]], [1, 2]);
        assert_eq!(set.class_names[99], "99");
        let test = CIFAR100.test_file(folder.path()).unwrap().unwrap();
        assert_eq!(CIFAR100.load_test(&test).unwrap().labels, [7]);
        let names: Vec<String> = (0..100).map(|class| format!("class {class}")).collect();
        put("fine_label_names.txt", names.join("\n").as_bytes());
        assert_eq!(
            CIFAR100.load(folder.path()).unwrap().class_names[99],
            "class 99"
        );

        put("fine_label_names.txt", b"one\ntwo\n");
        assert!(message().contains("2 class names; CIFAR-100 has 100"));
        put("train.bin", &[fine(0, 1, 0), fine(0, 100, 0)].concat());
        assert!(message().contains("byte 3075: label 100, CIFAR-100's are 0 to 99"));
        put("train.bin", &fine(0, 1, 0)[..3073]);
        assert!(message().contains("byte 0: the last record has 3073 of 3074 bytes"));
        // A set of the other kind is none of this one.
        std::fs::remove_file(inner.join("train.bin")).unwrap();
        put("data_batch_1.bin", &record(1, 0));
        assert!(message().contains("no train.bin here"));
    }
}
