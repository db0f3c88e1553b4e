//! CIFAR-10's official binary format: records of one label byte and 3,072 bytes, the red, green and
//! blue planes of a 32×32 image. Must not know how images are used.

use super::{DataError, Dataset};
use crate::space::ImageShape;
use std::path::{Path, PathBuf};

const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 32,
    width: 32,
};
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;
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

/// All `data_batch_*.bin` of a folder, in the order of their numbers.
///
/// # Errors
/// Names the folder or file, and the byte offset of what is wrong.
pub fn load(path: &Path) -> Result<Dataset, DataError> {
    for folder in folders(path)? {
        let batches = batches(&folder)?;
        if !batches.is_empty() {
            return read_all(&folder, &batches);
        }
    }
    let text = "no data_batch_1.bin here, nor any other data_batch_*.bin: the binary version of CIFAR-10 is needed (not the Python one)";
    Err(problem(path, text))
}

/// Where the test set lies, `test_batch.bin`; None: it is not there.
///
/// # Errors
/// There is no such folder.
pub fn test_file(path: &Path) -> Result<Option<PathBuf>, DataError> {
    let files = folders(path)?.into_iter();
    let mut files = files.map(|folder| folder.join("test_batch.bin"));
    Ok(files.find(|file| file.is_file()))
}

/// The test set: for the report on a finished network, never for the search.
///
/// # Errors
/// As for the training set.
pub fn load_test(file: &Path) -> Result<Dataset, DataError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    read_all(folder, &[file.to_owned()])
}

fn problem(path: &Path, problem: impl Into<String>) -> DataError {
    DataError::File {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

/// Where the files may lie: the folder itself, or the one that the archive unpacks to inside it.
fn folders(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Err(problem(
            path,
            "no such folder; data.path must name the folder of CIFAR-10's data_batch_*.bin files",
        ));
    }
    let folders = [path.to_owned(), path.join("cifar-10-batches-bin")];
    Ok(folders
        .into_iter()
        .filter(|folder| folder.is_dir())
        .collect())
}

fn batches(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(|error| problem(folder, error.to_string()))?;
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("data_batch_")?
            .strip_suffix(".bin")?
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

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read_all(folder: &Path, files: &[PathBuf]) -> Result<Dataset, DataError> {
    let mut images = Vec::new();
    let mut labels = Vec::new();
    // Records of each file.
    let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let first = labels.len();
        read(file, &mut images, &mut labels)?;
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
        class_names(folder)?,
        images,
        labels,
        false,
    ))
}

/// `batches.meta.txt` where it is there, else the ten names as published.
fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let path = folder.join("batches.meta.txt");
    if !path.exists() {
        return Ok(CLASSES.map(str::to_owned).to_vec());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| problem(&path, error.to_string()))?;
    let names: Vec<String> = text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() == CLASSES.len() {
        return Ok(names);
    }
    Err(problem(
        &path,
        format!(
            "{} class names; CIFAR-10 has {}",
            names.len(),
            CLASSES.len()
        ),
    ))
}

fn read(path: &Path, images: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<(), DataError> {
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
    let (records, rest) = bytes.as_chunks::<RECORD>();
    for (number, record) in records.iter().enumerate() {
        if usize::from(record[0]) >= CLASSES.len() {
            let offset = number * RECORD;
            let label = record[0];
            return Err(problem(
                path,
                format!(
                    "byte {offset}: label {label}, CIFAR-10's are 0 to 9; is this a file of CIFAR-10's binary version?"
                ),
            ));
        }
    }
    if !rest.is_empty() {
        let offset = records.len() * RECORD;
        let length = rest.len();
        return Err(problem(
            path,
            format!(
                "byte {offset}: the last record has {length} of {RECORD} bytes; the file is truncated"
            ),
        ));
    }
    for record in records {
        labels.push(record[0]);
        images.extend_from_slice(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            load_test(&test_file(folder.path()).unwrap().unwrap())
                .unwrap()
                .labels,
            [5]
        );
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
            load_test(&test_file(folder.path()).unwrap().unwrap())
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
}
