//! Folders of images as a user has them: what is read, what is refused and how, and what stays when
//! files are added.

mod decoding;
mod links;
mod splits;

use super::*;
use crate::data::{DataSettings, Split};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// An image of one colour but for its first pixel, as PNG.
fn png(side: usize, colour: [u8; 3], first: u8) -> Vec<u8> {
    let mut pixels = colour.repeat(side * side);
    pixels[0] = first;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side as u32, side as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&pixels)
        .unwrap();
    file
}

fn put(folder: &Path, name: &str, content: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Two classes of `count` images each.
fn folder(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), 0..count);
    folder
}

fn add(folder: &Path, numbers: std::ops::Range<usize>) {
    for number in numbers {
        for (class, colour) in [("cats", [200, 10, 20]), ("dogs", [10, 200, number as u8])] {
            put(
                folder,
                &format!("{class}/{number:03}.png"),
                &png(8, colour, number as u8),
            );
        }
    }
}

fn message(folder: &Path) -> String {
    load_with(folder, 8, None)
        .unwrap_err()
        .to_string()
        .replace(folder.to_str().unwrap(), "DIR")
}

/// from PIL import Image; Image.new("RGB", (16, 16), (200, 40, 90)).save("a.jpg", quality=90)
const JPEG: &str = "\
ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d\
0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d141414141414141414141414\
1414141414141414141414141414141414141414141414141414141414141414141414141414ffc00011080010001003012200021101031101ffc400\
1f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d010203000411051221\
31410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a53545556\
5758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6\
c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405\
060708090a0bffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f015\
6272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a828384\
85868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9ea\
f2f3f4f5f6f7f8f9faffda000c03010002110311003f00f24a28a2b23fb2cfffd9";

fn jpeg() -> Vec<u8> {
    (0..JPEG.len() / 2)
        .map(|place| u8::from_str_radix(&JPEG[2 * place..2 * place + 2], 16).unwrap())
        .collect()
}

#[test]
fn each_format_is_read_whatever_the_files_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut webp = Vec::new();
    image_webp::WebPEncoder::new(&mut webp)
        .encode(&[9, 8, 7].repeat(64), 8, 8, image_webp::ColorType::Rgb8)
        .unwrap();
    let mut grey = Vec::new();
    let mut encoder = png::Encoder::new(&mut grey, 8, 8);
    encoder.set_color(png::ColorType::GrayscaleAlpha);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&[100, 255].repeat(64))
        .unwrap();
    put(folder.path(), "b/exact.PNG", &png(8, [1, 2, 3], 77));
    put(folder.path(), "b/deeper/named.jpg", &webp);
    put(folder.path(), "a/photo.jpeg", &jpeg());
    put(folder.path(), "a/grey.png", &grey);
    put(folder.path(), "a/notes.txt", b"no image");
    put(folder.path(), ".hidden/x.png", b"");
    let set = load_with(folder.path(), 8, None).unwrap();
    assert_eq!(
        (set.class_names.as_slice(), set.labels.as_slice()),
        (
            ["a".to_owned(), "b".to_owned()].as_slice(),
            [0, 0, 1, 1].as_slice()
        )
    );
    assert!(
        set.image(0).iter().all(|value| *value == 100),
        "grey on three channels"
    );
    for (plane, value) in set.image(1).chunks(64).zip([200_i32, 40, 90]) {
        assert!(
            plane
                .iter()
                .all(|pixel| (i32::from(*pixel) - value).abs() <= 3),
            "{plane:?}"
        );
    }
    assert_eq!(
        [set.image(2)[0], set.image(2)[64], set.image(2)[191]],
        [9, 8, 7]
    );
    assert_eq!(
        [
            set.image(3)[0],
            set.image(3)[1],
            set.image(3)[64],
            set.image(3)[128]
        ],
        [77, 1, 2, 3],
        "planes, byte by byte"
    );
}

#[test]
fn decoded_images_are_kept_until_a_file_changes() {
    let folder = folder(3);
    let cache = tempfile::tempdir().unwrap();
    let load = || load_with(folder.path(), 8, Some(cache.path())).unwrap();
    let first = load();
    let file = cache::file(cache.path(), folder.path(), 8);
    assert_eq!(
        std::fs::read_dir(cache.path()).unwrap().count(),
        1,
        "no partial file is left"
    );
    // Other images under the same key: whoever sees them has not decoded.
    let HeldOut::ByContent { hashes, .. } = &first.held_out else {
        panic!()
    };
    let key = key(&listing::list(folder.path()).unwrap(), hashes, 8);
    cache::write(&file, &key, &vec![5; first.images.len()]).unwrap();
    assert!(load().images.iter().all(|byte| *byte == 5));
    put(folder.path(), "cats/001.png", &png(8, [0, 0, 255], 1));
    let changed = load();
    assert_eq!(changed.images.len(), first.images.len());
    assert_ne!(changed.images, first.images);
    assert_ne!(changed.content, first.content);
    // A damaged cache is no cache.
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(load(), changed);
    // Where none can be written, images are decoded.
    assert_eq!(
        load_with(folder.path(), 8, Some(&PathBuf::from("/dev/null/none"))).unwrap(),
        changed
    );
}

#[test]
fn an_image_stays_on_its_side_of_the_split_when_others_are_added() {
    let folder = folder(100);
    let names = |size: Option<usize>| {
        let set = load_with(folder.path(), 8, None).unwrap();
        let listing = listing::list(folder.path()).unwrap();
        let settings = DataSettings {
            validation_size: size,
            ..DataSettings::default()
        };
        let split = Split::of(&settings, &set, 5).unwrap();
        let name = |index: &u32| listing.entries[*index as usize].name.clone();
        let parts: [BTreeSet<String>; 2] = [
            split.train.iter().map(name).collect(),
            split.validation.iter().map(name).collect(),
        ];
        assert_eq!(parts[0].intersection(&parts[1]).count(), 0);
        parts
    };
    let free = names(None);
    let fixed = names(Some(30));
    assert!(
        (8..40).contains(&free[1].len()) && free[0].len() + free[1].len() == 200,
        "{}",
        free[1].len()
    );
    assert_eq!((fixed[0].len(), fixed[1].len()), (170, 30));
    add(folder.path(), 100..150);
    let more = names(None);
    let most = names(Some(30));
    assert!(free[0].is_subset(&more[0]) && free[1].is_subset(&more[1]));
    // A fixed number gives way to those that are before it, and only to them.
    assert!(
        most[1]
            .iter()
            .filter(|name| name.as_str() < "cats/100")
            .all(|name| fixed[1].contains(name) || name.starts_with("dogs/1"))
    );
}

#[test]
fn a_folder_that_is_split_keeps_its_sides() {
    let folder = tempfile::tempdir().unwrap();
    add(&folder.path().join("train"), 0..6);
    add(&folder.path().join("val"), 6..9);
    let set = load_with(folder.path(), 8, None).unwrap();
    let split = |train, validation| {
        Split::of(
            &DataSettings {
                train_size: train,
                validation_size: validation,
                ..DataSettings::default()
            },
            &set,
            1,
        )
    };
    let whole = split(None, None).unwrap();
    assert_eq!(
        (whole.train, whole.validation),
        ((0..12).collect(), (12..18).collect())
    );
    let part = split(Some(5), Some(2)).unwrap();
    assert!(part.train.len() == 5 && part.train.iter().all(|index| *index < 12));
    assert!(part.validation.len() == 2 && part.validation.iter().all(|index| *index >= 12));
    let error = split(None, Some(7)).unwrap_err().to_string();
    assert_eq!(
        error,
        "data.validation_size: 7 images cannot be had: of the 18 images, 6 are there for this part"
    );
    put(folder.path(), "val/birds/1.png", &png(8, [0; 3], 0));
    assert_eq!(
        message(folder.path()),
        "DIR/val: train/ and val/ need the same class folders; only one of them has \"birds\""
    );
}

#[test]
fn what_is_wrong_is_named_with_the_folder_or_the_file() {
    let at = |change: &dyn Fn(&Path)| {
        let folder = folder(2);
        change(folder.path());
        message(folder.path())
    };
    assert!(
        message(Path::new("/no/such")).starts_with(
            "DIR: no such folder; data.path must name the folder that holds one folder"
        )
    );
    assert_eq!(
        message(tempfile::tempdir().unwrap().path()),
        "DIR: no class folders here: the images must lie in one folder for each class, named like the class"
    );
    assert_eq!(
        at(&|path| std::fs::remove_dir_all(path.join("dogs")).unwrap()),
        "DIR: one class folder alone (\"cats\"): there must be at least two classes to tell apart"
    );
    assert_eq!(
        at(&|path| {
            put(path, "birds/list.txt", b"");
            put(path, "apes/.x.png", b"");
        }),
        "DIR: no PNG, JPEG or WebP file in 2 of its class folders: \"apes\", \"birds\" (passed over: .txt (1), hidden files and folders (1))"
    );
    assert_eq!(
        at(&|path| put(path, "Cats/1.png", &png(8, [0; 3], 0))),
        "DIR: the class folders \"Cats\" and \"cats\" differ by case alone; are they one class?"
    );
    assert_eq!(
        at(&|path| put(path, "cats/000.png", b"")),
        "DIR/cats/000.png: the file is empty"
    );
    assert_eq!(
        at(&|path| {
            put(path, "cats/000.png", b"GIF89a");
            put(path, "dogs/001.png", &png(8, [0; 3], 0)[..50]);
        }),
        "DIR/cats/000.png: is no PNG, JPEG or WebP file; 2 of the 4 images in DIR cannot be read: cats/000.png, dogs/001.png"
    );
    let torn = at(&|path| put(path, "dogs/001.png", &png(64, [0; 3], 0)[..60]));
    assert!(
        torn.starts_with("DIR/dogs/001.png: is a damaged PNG file: "),
        "{torn}"
    );
    let torn = at(&|path| put(path, "dogs/001.png", &jpeg()[..300]));
    assert!(
        torn.starts_with("DIR/dogs/001.png: is a damaged JPEG file: "),
        "{torn}"
    );
}
