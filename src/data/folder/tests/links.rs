//! Links, pipes and files that nobody may read: each file counts once, nothing hangs, and what is
//! missing is named.

use super::{folder, message, png, put};
use crate::data::folder::load_with;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Names and labels of what is read, and the notes.
fn read(folder: &Path) -> (Vec<String>, String) {
    let set = load_with(folder, 8, None).unwrap();
    let listing = crate::data::folder::listing::list(folder).unwrap();
    let names = listing.entries.iter().zip(&set.labels);
    let names = names.map(|(entry, label)| format!("{} {label}", entry.name));
    let notes = set.notes.join("\n");
    (
        names.collect(),
        notes.replace(folder.to_str().unwrap(), "DIR"),
    )
}

const ONCE: [&str; 4] = [
    "cats/000.png 0",
    "cats/001.png 0",
    "dogs/000.png 1",
    "dogs/001.png 1",
];

#[test]
fn loops_and_second_ways_to_a_file_count_nothing_twice() {
    type Change = fn(&Path);
    let changes: [(&str, Change, usize); 9] = [
        (
            "to itself",
            |dir| symlink(".", dir.join("cats/loop")).unwrap(),
            1,
        ),
        (
            "to above",
            |dir| symlink("..", dir.join("cats/loop")).unwrap(),
            1,
        ),
        (
            "to the root",
            |dir| symlink("/", dir.join("cats/loop")).unwrap(),
            1,
        ),
        (
            "two that lead to each other's class",
            |dir| {
                symlink("../dogs", dir.join("cats/loop")).unwrap();
                symlink("../cats", dir.join("dogs/loop")).unwrap();
            },
            2,
        ),
        (
            "to a class",
            |dir| symlink("cats", dir.join("kitties")).unwrap(),
            1,
        ),
        (
            "to an image, before and behind it",
            |dir| {
                symlink("000.png", dir.join("cats/!.png")).unwrap();
                symlink("000.png", dir.join("cats/zzz.png")).unwrap();
            },
            2,
        ),
        (
            "to an image of another class",
            |dir| symlink("../dogs/000.png", dir.join("cats/!.png")).unwrap(),
            1,
        ),
        (
            "another name in the same class",
            |dir| std::fs::hard_link(dir.join("cats/000.png"), dir.join("cats/zzz.png")).unwrap(),
            1,
        ),
        (
            "through a folder outside",
            |dir| {
                symlink(dir.join("cats"), dir.parent().unwrap().join("back")).unwrap();
                symlink("../../back", dir.join("cats/loop")).unwrap();
            },
            1,
        ),
    ];
    for (what, change, count) in changes {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("data");
        super::add(&dir, 0..2);
        change(&dir);
        let (names, notes) = read(&dir);
        assert_eq!(names, ONCE, "{what}");
        let said = format!("passed over second ways to a file or folder ({count})");
        assert!(notes.contains(&said), "{what}: {notes}");
    }
}

#[test]
fn what_links_lead_to_outside_is_read() {
    let outer = tempfile::tempdir().unwrap();
    let pool = outer.path().join("pool");
    for number in 0..4 {
        put(
            &pool,
            &format!("{number}.png"),
            &png(8, [number; 3], number),
        );
    }
    put(&pool, "birds/x.png", &png(8, [9; 3], 9));
    let dir = outer.path().join("data");
    super::add(&dir, 0..2);
    symlink(pool.join("birds"), dir.join("birds")).unwrap();
    symlink(pool.join("1.png"), dir.join("cats/a.png")).unwrap();
    std::fs::create_dir(outer.path().join("more")).unwrap();
    symlink(pool.join("2.png"), outer.path().join("more/b.png")).unwrap();
    symlink("../../more", dir.join("dogs/more")).unwrap();
    let (names, notes) = read(&dir);
    assert_eq!(
        names,
        [
            "birds/x.png 0",
            "cats/000.png 1",
            "cats/001.png 1",
            "cats/a.png 1",
            "dogs/000.png 2",
            "dogs/001.png 2",
            "dogs/more/b.png 2"
        ]
    );
    assert_eq!(notes, "");
    // The data folder may be a link itself.
    symlink("data", outer.path().join("link")).unwrap();
    assert_eq!(read(&outer.path().join("link")).0, names);
}

#[test]
fn a_file_that_belongs_to_two_classes_is_refused() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("data");
    super::add(&dir, 0..2);
    put(outer.path(), "pool/1.png", &png(8, [1; 3], 1));
    let why = "what is in two classes, or in two splits, teaches and measures nothing";
    symlink("../../pool/1.png", dir.join("cats/a.png")).unwrap();
    symlink("../../pool/1.png", dir.join("dogs/a.png")).unwrap();
    assert_eq!(
        message(&dir),
        format!("DIR/dogs/a.png: is the same as DIR/cats/a.png: {why}")
    );
    std::fs::remove_file(dir.join("cats/a.png")).unwrap();
    std::fs::hard_link(dir.join("cats/000.png"), dir.join("dogs/zzz.png")).unwrap();
    assert_eq!(
        message(&dir),
        format!("DIR/dogs/zzz.png: is the same as DIR/cats/000.png: {why}")
    );
}

#[test]
fn no_link_leads_into_a_test_split() {
    let outer = folder(0);
    let dir = outer.path();
    super::add(&dir.join("train"), 0..2);
    put(dir, "test/cats/t.png", &png(8, [3; 3], 3));
    symlink("../../test", dir.join("train/cats/more")).unwrap();
    symlink("../../test/cats", dir.join("train/cats/most")).unwrap();
    symlink("../../test/cats/t.png", dir.join("train/cats/t.png")).unwrap();
    let (names, notes) = read(dir);
    assert_eq!(names, ONCE.map(|name| format!("train/{name}")));
    assert!(
        notes.contains("passed over second ways to a file or folder (3)"),
        "{notes}"
    );
}

#[test]
fn links_that_lead_nowhere_are_refused_where_an_image_is_missing() {
    let data = folder(2);
    let dir = data.path();
    symlink("b", dir.join("cats/a")).unwrap();
    symlink("a", dir.join("cats/b")).unwrap();
    symlink("/no/such", dir.join("gone")).unwrap();
    let (names, notes) = read(dir);
    assert_eq!(names, ONCE);
    assert!(notes.contains("passed over broken links (3)"), "{notes}");
    symlink("/no/such.png", dir.join("dogs/x.png")).unwrap();
    assert_eq!(
        message(dir),
        "DIR/dogs/x.png: is a link that leads to no file: No such file or directory (os error 2)"
    );
}

#[test]
fn pipes_sockets_and_devices_are_no_images_and_nothing_waits_for_them() {
    let data = folder(2);
    let dir = data.path();
    let made = std::process::Command::new("mkfifo")
        .arg(dir.join("cats/pipe.png"))
        .status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("cats/socket.png")).unwrap();
    symlink("/dev/zero", dir.join("dogs/zero.png")).unwrap();
    symlink("pipe.png", dir.join("cats/to-pipe.png")).unwrap();
    let (names, notes) = read(dir);
    assert_eq!(names, ONCE);
    assert!(
        notes.contains("passed over pipes, sockets or devices (4)"),
        "{notes}"
    );
}

#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let data = folder(2);
    let dir = data.path();
    let forbid = |name: &str, mode: u32| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.join(name), permissions).unwrap();
    };
    forbid("cats/000.png", 0);
    if std::fs::read(dir.join("cats/000.png")).is_ok() {
        // Root may read everything.
        return;
    }
    assert_eq!(
        message(dir),
        "DIR/cats/000.png: cannot be read: Permission denied (os error 13)"
    );
    forbid("dogs", 0);
    let refused = message(dir);
    forbid("dogs", 0o755);
    assert_eq!(
        refused,
        "DIR/dogs: cannot be opened: Permission denied (os error 13)"
    );
}

#[test]
fn a_data_path_that_is_no_folder_is_said() {
    let data = folder(0);
    let file = data.path().join("photos.zip");
    std::fs::write(&file, b"PK").unwrap();
    assert_eq!(
        message(&file),
        "DIR: is a file; data.path must name the folder that holds one folder of images for each class (an archive must be unpacked)"
    );
}
