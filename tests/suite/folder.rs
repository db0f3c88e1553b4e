//! A search on the user's own images, as a user runs it: files of our own making in one folder for
//! each class.

use super::common::{count, netwright, refused, succeeds, text, trials};
use std::path::Path;
use std::process::Command;

/// Two classes that differ in their brighter half: `count` images of 12 x 10 pixels each.
fn write_images(folder: &Path, numbers: std::ops::Range<usize>) {
    for (class, bright) in [("left", 0), ("right", 6)] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in numbers.clone() {
            let pixel = |index: usize| {
                let column = index / 3 % 12;
                let noise = (index * 31 + number * 17) % 90;
                (noise
                    + if (bright..bright + 6).contains(&column) {
                        150
                    } else {
                        20
                    }) as u8
            };
            let pixels: Vec<u8> = (0..12 * 10 * 3).map(pixel).collect();
            let file =
                std::fs::File::create(folder.join(class).join(format!("{number}.png"))).unwrap();
            let mut encoder = png::Encoder::new(file, 12, 10);
            encoder.set_color(png::ColorType::Rgb);
            encoder
                .write_header()
                .unwrap()
                .write_image_data(&pixels)
                .unwrap();
        }
    }
}

fn command(folder: &Path, run: &str) -> Command {
    let config = "[run]\nname = \"t\"\ntrials = 2\n[space]\nlayers = 2\nfilters = [4, 8]\nfilter_height = [3]\nfilter_width = [3]\n\
                  stride_height = [2]\n[controller]\nchildren = 2\n[child]\nepochs = 3\nbatch_size = 16\n[telemetry]\nlisten = \"off\"\n\
                  [data]\nkind = \"image-folder\"\npath = \"images\"\nsize = 8\naugment = false\n";
    std::fs::write(folder.join("search.toml"), config).unwrap();
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(["search", "search.toml", "--run-dir", run])
        .env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

#[test]
fn a_search_on_a_folder_learns_gives_the_same_numbers_again_and_notices_changed_images() {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("images"), 0..60);
    for run in ["one", "two"] {
        let printed = succeeds(&mut command(folder.path(), run));
        assert!(printed.contains("2 classes"), "{printed}");
    }
    let one = trials(&folder.path().join("one"));
    let two = trials(&folder.path().join("two"));
    assert_eq!(one, two, "decoded and from the cache");
    assert!(one.iter().all(|trial| trial.5.unwrap() > 0.8), "{one:?}");
    assert_eq!(
        std::fs::read_dir(folder.path().join("cache/netwright"))
            .unwrap()
            .count(),
        1
    );
    write_images(&folder.path().join("images"), 60..61);
    let message = refused(command(folder.path(), "one").args(["--set", "run.trials=4"]));
    assert!(message.contains("data content"), "{message}");
    assert_eq!(trials(&folder.path().join("one")), one);
}

#[test]
fn splits_are_no_classes_and_a_small_validation_set_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("images/Train"), 0..40);
    write_images(&folder.path().join("images/Test"), 40..50);
    // Whoever opened the test split would find a file that cannot be read.
    std::fs::write(folder.path().join("images/Test/left/torn.png"), "torn").unwrap();
    std::fs::write(folder.path().join("images/Train/left/.DS_Store"), "x").unwrap();
    let output = command(folder.path(), "run").output().unwrap();
    let all = text(&output);
    assert!(output.status.success(), "{all}");
    for words in [
        "2 classes",
        "images: \"Train\" is trained on and the validation set is held out from it; \"Test\" is never opened",
        "images: passed over .DS_Store (1); what is read are",
        "WARN the validation set has",
    ] {
        assert!(all.contains(words), "{words}: {all}");
    }
    // The run says of itself what it did.
    let run = folder.path().join("run");
    assert_eq!(count(&run, "SELECT count(*) FROM trials"), 2);
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("whiten_order = \"first\""), "{config}");
    // A changed epsilon is taken over by a run, another order of whitening is not.
    let changed = [
        "--set",
        "run.trials=4",
        "--set",
        "child.batch_norm_epsilon=0.001",
    ];
    succeeds(command(folder.path(), "run").args(changed));
    let message = refused(command(folder.path(), "run").args(["--set", "data.whiten_order=last"]));
    assert!(
        message.contains("data.whiten_order: \"first\" in the run, \"last\" now"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let is_refused = |words: &str| {
        let message = refused(&mut command(folder.path(), "run"));
        assert!(
            message.contains(words) && message.lines().count() == 1,
            "{words}: {message}"
        );
    };
    is_refused("error: images: no such folder; data.path must name the folder");
    write_images(&folder.path().join("images"), 0..20);
    std::fs::write(folder.path().join("images/left/7.png"), "no image").unwrap();
    is_refused("error: images/left/7.png: is no PNG, JPEG or WebP file");
    std::fs::remove_file(folder.path().join("images/left/7.png")).unwrap();
    for (from, to) in [("left", "train"), ("right", "test")] {
        let path = |name: &str| folder.path().join("images").join(name);
        std::fs::rename(path(from), path(to)).unwrap();
    }
    is_refused("error: images/train: holds images, and no class folders");
    for (from, to) in [("train", "left"), ("test", "right")] {
        let path = |name: &str| folder.path().join("images").join(name);
        std::fs::rename(path(from), path(to)).unwrap();
    }
    let few = ["left", "right"].map(|class| folder.path().join("images").join(class));
    for class in &few {
        for number in 2..20 {
            let _ = std::fs::remove_file(class.join(format!("{number}.png")));
        }
    }
    let message = refused(command(folder.path(), "run").args(["--set", "run.seed=1"]));
    assert!(
        message
            .contains("error: data: of 4 examples, the automatic split (a tenth for validation)"),
        "{message}"
    );
    std::fs::remove_dir_all(folder.path().join("images/left")).unwrap();
    is_refused("error: images: one class folder alone (\"right\")");
    assert!(!folder.path().join("run").exists());
}
