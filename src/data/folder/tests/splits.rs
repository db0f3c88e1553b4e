//! Folders that are split, or look so: what is trained on, what stays closed, and what is refused.

use super::{add, message, png, put};
use crate::data::folder::{listing, load_test, load_with, test_folder};
use crate::data::{DataSettings, HeldOut, Split};
use std::path::Path;

/// Puts `count` different images into a folder.
fn fill(folder: &Path, name: &str, count: usize) {
    for number in 0..count {
        let mix = |sum: u32, byte: u8| sum.wrapping_mul(16_777_619) ^ u32::from(byte);
        let [red, green, ..] = name.bytes().fold(7, mix).to_le_bytes();
        put(
            folder,
            &format!("{name}/{number:02}.png"),
            &png(8, [red, green, 30], number as u8),
        );
    }
}

/// A folder with these folders of three images each.
fn folder(names: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names.split_whitespace() {
        fill(folder.path(), name, 3);
    }
    folder
}

/// Classes, images for training and for validation (None: drawn from the others), and the notes.
fn read(folder: &Path) -> (Vec<String>, usize, Option<usize>, Vec<String>) {
    let set = load_with(folder, 8, None).unwrap();
    let HeldOut::ByContent { validation, .. } = &set.held_out else {
        panic!()
    };
    let held_out = validation
        .as_ref()
        .map(|sides| sides.iter().filter(|side| **side).count());
    let notes = set.notes.iter();
    let notes = notes.map(|note| note.replace(folder.to_str().unwrap(), "DIR"));
    (
        set.class_names,
        set.labels.len() - held_out.unwrap_or(0),
        held_out,
        notes.collect(),
    )
}

#[test]
fn splits_are_known_by_their_usual_names_and_test_images_stay_closed() {
    for (train, validation, test) in [
        ("train", None, Some("test")),
        ("Train", Some("VAL"), Some("Test")),
        ("training", Some("validation"), None),
        ("train", Some("valid"), None),
        ("train", Some("val"), Some("testing")),
        ("training_set", None, Some("test_set")),
        ("train2017", Some("val2017"), None),
        ("train", None, None),
    ] {
        let names = [Some(train), validation, test];
        let folders: Vec<String> = names
            .into_iter()
            .flatten()
            .flat_map(|split| ["cats", "dogs"].map(|class| format!("{split}/{class}")))
            .collect();
        let folder = folder(&folders.join(" "));
        if let Some(test) = test {
            // Whoever opened it would find out.
            put(folder.path(), &format!("{test}/cats/torn.png"), b"torn");
        }
        let (classes, trained, held_out, notes) = read(folder.path());
        assert_eq!((classes, trained), (vec!["cats".into(), "dogs".into()], 6));
        assert_eq!(held_out, validation.map(|_| 6));
        let [note] = &notes[..] else {
            panic!("{notes:?}")
        };
        assert!(
            note.contains(&format!("\"{train}\" is trained on")),
            "{note}"
        );
        let said = |name: Option<&str>, words: &str| {
            name.is_none_or(|name| note.contains(&format!("\"{name}\" is {words}")))
        };
        assert!(
            said(validation, "for validation") && said(test, "never opened"),
            "{note}"
        );
    }
}

#[test]
fn each_split_has_its_own_number_of_images() {
    let folder = folder("");
    add(&folder.path().join("train"), 0..7);
    add(&folder.path().join("valid"), 7..9);
    add(&folder.path().join("test"), 9..30);
    let (_, trained, held_out, _) = read(folder.path());
    assert_eq!((trained, held_out), (14, Some(4)));
    // A number of one's own takes part of a split, never images of the other one.
    let set = load_with(folder.path(), 8, None).unwrap();
    let split = |validation| {
        let settings = DataSettings {
            validation_size: validation,
            ..DataSettings::default()
        };
        Split::of(&settings, &set, 1)
    };
    let some = split(Some(3)).unwrap();
    assert_eq!((some.train.len(), some.validation.len()), (14, 3));
    assert!(some.validation.iter().all(|index| *index >= 14));
    assert_eq!(
        split(Some(5)).unwrap_err().to_string(),
        "data.validation_size: 5 images cannot be had: of the 18 images, 4 are there for this part"
    );
}

#[test]
fn a_class_may_be_called_train_where_it_holds_images_beside_other_classes() {
    let coco = folder("bus car train truck");
    let (classes, trained, held_out, notes) = read(coco.path());
    assert_eq!(classes, ["bus", "car", "train", "truck"]);
    assert_eq!((trained, held_out, notes), (12, None, vec![]));
    let split = folder("train/bus train/train val/bus val/train");
    let (classes, trained, held_out, _) = read(split.path());
    assert_eq!((trained, held_out), (6, Some(6)));
    assert_eq!(classes, ["bus", "train"]);
}

#[test]
fn a_test_split_beside_class_folders_is_no_class_and_stays_closed() {
    for test in ["test/cats", "Test", "test_set/unknown/deeper"] {
        let folder = folder(&format!("cats dogs {test}"));
        let name = test.split('/').next().unwrap();
        put(folder.path(), &format!("{name}/torn.png"), b"torn");
        let (classes, trained, _, notes) = read(folder.path());
        assert_eq!((classes, trained), (vec!["cats".into(), "dogs".into()], 6));
        let note =
            format!("DIR: \"{name}\" is taken for a test split by its name, and never opened");
        assert_eq!(notes, [note]);
    }
}

#[test]
fn folders_beside_splits_are_passed_over_and_named() {
    let folder = folder("train/cats train/dogs val/cats val/dogs raw");
    put(folder.path(), "labels/all.csv", b"a,b");
    let (_, trained, held_out, notes) = read(folder.path());
    assert_eq!((trained, held_out), (6, Some(6)));
    assert_eq!(
        notes,
        [
            "DIR: \"train\" is trained on, \"val\" is for validation; passed over beside them: \"labels\", \"raw\""
        ]
    );
}

#[test]
fn what_looks_like_splits_and_cannot_be_read_as_such_is_refused() {
    let right = "a data folder holds one folder for each class, or train/ and val/ that hold one folder for each class";
    let no_classes = "holds images, and no class folders: by its name it is a split of the data, which holds one folder for each class";
    for (names, expected) in [
        ("train test", format!("DIR/train: {no_classes}")),
        ("train val bus", format!("DIR/train: {no_classes}")),
        ("train test bus car", format!("DIR/train: {no_classes}")),
        ("train/cats train/dogs val", format!("DIR/val: {no_classes}")),
        (
            "test/cats test/dogs",
            format!("DIR: holds nothing but \"test\", a test split by its name, which is never opened; {right}"),
        ),
        (
            "val/cats val/dogs test/cats test/dogs",
            "DIR: holds \"val\", a validation split by its name, and no training split: the folders of the classes to train on must \
             lie in train/"
                .into(),
        ),
        (
            "cats dogs val/cats val/dogs",
            "DIR: holds \"val\", a validation split by its name, and no training split: the folders of the classes to train on must \
             lie in train/"
                .into(),
        ),
        (
            "Train/cats Train/dogs training/cats training/dogs",
            format!("DIR: \"Train\", \"training\" are all training splits by their names, and one is needed; {right}"),
        ),
        (
            "train/cats train/dogs val/cats val/dogs valid/cats valid/dogs",
            "DIR: \"val\", \"valid\" are all validation splits by their names, and one is needed".into(),
        ),
        (
            "cats dogs train/cats train/dogs",
            format!("DIR: \"train\" is a training split by its name, and \"cats\", which holds images, lies beside it: {right}"),
        ),
        (
            "cats train/cats train/dogs val/cats val/dogs",
            format!("DIR: \"train\" is a training split by its name, and \"cats\", which holds images, lies beside it: {right}"),
        ),
        (
            "train/cats train/dogs val/birds val/cats",
            "DIR/val: train/ and val/ need the same class folders; only one of them has \"dogs\", \"birds\"".into(),
        ),
        (
            "train/train/cats train/train/dogs train/test/cats train/test/dogs",
            "DIR/train: is a split by its name, and holds \"train\", \"test\", splits by their names: data.path must name the folder \
             right above the splits, and these hold one folder for each class"
                .into(),
        ),
    ] {
        assert_eq!(message(folder(names).path()), expected, "{names}");
    }
}

#[test]
fn splits_below_classes_or_below_another_folder_are_refused() {
    for (names, place, class, split) in [
        (
            "cats/train cats/test dogs/train dogs/test",
            "cats/test",
            "cats",
            "test",
        ),
        (
            "cats/2020/train cats/2020/Val dogs",
            "cats/2020/Val",
            "cats",
            "Val",
        ),
        (
            "cats cats/validation dogs",
            "cats/validation",
            "cats",
            "validation",
        ),
        (
            "photos/train/cats photos/train/dogs photos/test/cats photos/test/dogs",
            "photos/test",
            "photos",
            "test",
        ),
        (
            "train/cats/train train/cats/test train/dogs",
            "train/cats/test",
            "cats",
            "test",
        ),
    ] {
        let above = if names.starts_with("train/") {
            "train/"
        } else {
            ""
        };
        assert_eq!(
            message(folder(names).path()),
            format!(
                "DIR/{place}: lies inside the class \"{class}\" and is a split by its name. Splits lie above the classes (train/{class}, \
                 val/{class}); if \"{class}\" is a data set of its own, data.path must name it (DIR/{above}{class}); if \"{split}\" is no split, give \
                 it another name"
            ),
            "{names}"
        );
    }
    // A folder named like the training split is a part of its class like any other.
    let kinds = folder("vehicles/car vehicles/train animals");
    assert_eq!(read(kinds.path()).1, 9);
    assert_eq!(
        message(folder("photos/cats photos/dogs").path()),
        "DIR: one class folder alone (\"photos\"): there must be at least two classes to tell apart; if it holds the class folders, \
         data.path must name it: DIR/photos"
    );
}

#[test]
fn an_empty_split_is_refused() {
    let folder = folder("train/cats train/dogs");
    std::fs::create_dir(folder.path().join("val")).unwrap();
    assert_eq!(
        message(folder.path()),
        "DIR/val: is empty: by its name it is a split of the data, which holds one folder for each class"
    );
    std::fs::create_dir(folder.path().join("val/cats")).unwrap();
    std::fs::create_dir(folder.path().join("val/dogs")).unwrap();
    assert_eq!(
        message(folder.path()),
        "DIR/val: no PNG, JPEG or WebP file in 2 of its class folders: \"cats\", \"dogs\""
    );
}

#[test]
fn validation_images_that_are_trained_on_too_are_said() {
    let folder = folder("train/cats train/dogs val/dogs");
    std::fs::create_dir_all(folder.path().join("val/cats")).unwrap();
    for file in ["00.png", "01.png"] {
        let copy = |split: &str| folder.path().join(split).join("cats").join(file);
        std::fs::copy(copy("train"), copy("val")).unwrap();
    }
    let (_, _, _, notes) = read(folder.path());
    assert_eq!(
        notes[1],
        "DIR: 2 of the 5 validation images are training images too, byte for byte: accuracies will be too high"
    );
}

#[test]
fn what_is_passed_over_is_counted_by_kind() {
    let folder = folder("cats dogs cats/@eaDir dogs/@eaDir");
    for name in [
        "cats/a.gif",
        "cats/b.GIF",
        "dogs/c.gif",
        "cats/scan.bmp",
        "cats/scan.tiff",
        "cats/x.jfif",
        "cats/.DS_Store",
        ".DS_Store",
        "Thumbs.db",
        "dogs/README",
        "cats/._01.png",
        "loose.png",
    ] {
        put(folder.path(), name, b"x");
    }
    let (_, trained, _, notes) = read(folder.path());
    assert_eq!(trained, 6);
    assert_eq!(
        notes,
        [
            "DIR: passed over .gif (3), .DS_Store (2), @eaDir folders (2), .bmp (1), .jfif (1), .tiff (1), Thumbs.db (1), files without \
             an ending (1), hidden files and folders (1), images outside of the class folders (1); what is read are .png, .jpg, .jpeg and \
             .webp files in class folders"
        ]
    );
    let listing = listing::list(folder.path()).unwrap();
    assert!(
        listing
            .entries
            .iter()
            .all(|entry| entry.name.ends_with(".png"))
    );
}

#[test]
fn a_test_split_has_the_labels_of_the_training_classes_whatever_classes_it_lacks() {
    let folder = folder("train/cat train/dog train/owl test/dog test/owl");
    let test = test_folder(folder.path()).unwrap().unwrap();
    assert_eq!(test, folder.path().join("test"));
    let names = load_with(folder.path(), 8, None).unwrap().class_names;
    let set = load_test(&test, 8, &names).unwrap();
    assert_eq!(
        (set.labels, set.class_names),
        (vec![1, 1, 1, 2, 2, 2], names.clone())
    );
    fill(folder.path(), "test/eel", 1);
    let error = load_test(&test, 8, &names).unwrap_err().to_string();
    assert!(
        error.ends_with("test: has a class \"eel\" that the training images do not have; theirs are cat, dog, owl"),
        "{error}"
    );
}
