//! `netwright export` and `netwright classify`, as a user runs them: from a search on images of our
//! own making to files that others read.

use super::common::{Search, database, netwright, refused, stdout, succeeds};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Writes a picture: `pixel` gives red, green, blue and alpha at (row, column).
fn write_png(
    path: &Path,
    (height, width): (u32, u32),
    color: png::ColorType,
    pixel: impl Fn(u32, u32) -> [u8; 4],
) {
    let mut bytes = Vec::new();
    for place in 0..height * width {
        let rgba = pixel(place / width, place % width);
        bytes.extend_from_slice(&rgba[..color.samples()]);
    }
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&bytes).unwrap();
}

/// The pixel of image `number` of a class, whose brighter half is left or right.
fn pixel(number: u32, is_right: bool, row: u32, column: u32) -> [u8; 4] {
    let noise = (row * 31 + column * 17 + number * 7) % 90;
    let bright = (column >= 6) == is_right;
    let value = (noise + if bright { 150 } else { 20 }) as u8;
    [value, value / 2 + 40, 255 - value, 255]
}

/// Two classes of 40 images of 12 x 12 pixels.
fn write_images(folder: &Path) {
    for (class, is_right) in [("left", false), ("right", true)] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..40 {
            let path = folder.join(class).join(format!("{number}.png"));
            write_png(&path, (12, 12), png::ColorType::Rgb, |row, column| {
                pixel(number, is_right, row, column)
            });
        }
    }
}

/// A folder with a finished search of two trials on such images, `run`.
fn searched() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("images"));
    let config = "[run]\nname = \"halves\"\ntrials = 2\nkeep_weights = 1\n[space]\nlayers = 2\nfilters = [4, 8]\nfilter_height = [3]\n\
                  filter_width = [3]\nstride_height = [2]\n[controller]\nchildren = 2\n[child]\nepochs = 4\nbatch_size = 8\n\
                  [telemetry]\nlisten = \"off\"\n[data]\nkind = \"image-folder\"\npath = \"images\"\nsize = 8\naugment = false\n";
    std::fs::write(folder.path().join("search.toml"), config).unwrap();
    succeeds(&mut at(
        folder.path(),
        &["search", "search.toml", "--run-dir", "run"],
    ));
    folder
}

fn at(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = netwright();
    command
        .current_dir(folder)
        .args(arguments)
        .env("XDG_CACHE_HOME", folder.join("cache"));
    command
}

/// The trial whose weights are kept, and the other one.
fn kept_and_other(run: &Path) -> (u64, u64) {
    let sql = "SELECT id FROM trials ORDER BY reward DESC, id LIMIT 1";
    let kept = database(run)
        .unwrap()
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    (kept, 3 - kept)
}

fn export(folder: &Path, trial: u64, format: &str, out: &str) -> Command {
    let trial = trial.to_string();
    at(folder, &["export", "run", &trial, "--format", format, out])
}

/// What `netwright classify` says of each image.
fn classified(folder: &Path, images: &[&str]) -> Vec<Value> {
    let mut command = at(folder, &["classify", "model"]);
    let printed = succeeds(command.args(images).arg("--json"));
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn a_trained_network_is_taken_home_and_classifies_image_files() {
    let folder = searched();
    let path = folder.path();
    let (kept, _) = kept_and_other(&path.join("run"));
    let printed = succeeds(&mut export(path, kept, "torch", "model"));
    assert!(
        printed.contains("weights: those kept after epoch 4: validation accuracy ")
            && printed.contains(
                "model: config.json, model.safetensors, model.py, README.md, architecture.svg"
            ),
        "{printed}"
    );
    let card = std::fs::read_to_string(path.join("model/README.md")).unwrap();
    assert!(card.contains(&format!("# halves, trial {kept}")), "{card}");

    let images: Vec<String> = ["left", "right"]
        .into_iter()
        .flat_map(|class| (0..40).map(move |number| format!("images/{class}/{number}.png")))
        .collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let answers = classified(path, &images);
    let right = answers.iter().filter(|answer| {
        let class = answer["class"].as_str().unwrap();
        let shares = &answer["probabilities"];
        let sum = shares["left"].as_f64().unwrap() + shares["right"].as_f64().unwrap();
        assert!((sum - 1.0).abs() < 1e-9, "{answer}");
        answer["image"].as_str().unwrap().contains(class)
    });
    assert!(right.count() >= 72, "{answers:?}");
    let line = succeeds(&mut at(path, &["classify", "model", images[0]]));
    assert!(
        line.starts_with("images/left/0.png: ") && line.contains('%'),
        "{line}"
    );
}

#[test]
fn files_of_other_sizes_and_with_transparency_are_read_as_for_training() {
    let folder = searched();
    let path = folder.path();
    let (kept, _) = kept_and_other(&path.join("run"));
    succeeds(&mut export(path, kept, "torch", "model"));
    let plain = |row, column| pixel(3, true, row, column);
    let write = |name: &str, size, color, pixel: &dyn Fn(u32, u32) -> [u8; 4]| {
        write_png(&path.join(name), size, color, pixel);
    };
    let rgb = png::ColorType::Rgb;
    let rgba = png::ColorType::Rgba;
    write("plain.png", (12, 12), rgb, &plain);
    write("opaque.png", (12, 12), rgba, &plain);
    // The middle square is the same picture.
    write(
        "wide.png",
        (12, 32),
        rgb,
        &|row, column| match column.checked_sub(10) {
            Some(column) if column < 12 => plain(row, column),
            _ => [255, 0, 0, 255],
        },
    );
    // Half transparent, and the same laid over black.
    let clear = |row: u32, column: u32| {
        let [red, green, blue, _] = plain(row, column);
        [red, green, blue, if row < 6 { 100 } else { 255 }]
    };
    write("clear.png", (12, 12), rgba, &clear);
    write("over_black.png", (12, 12), rgb, &|row, column| {
        let [red, green, blue, alpha] = clear(row, column);
        let over = |value: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
        [over(red), over(green), over(blue), 255]
    });
    let images = [
        "plain.png",
        "opaque.png",
        "wide.png",
        "clear.png",
        "over_black.png",
    ];
    let answers = classified(path, &images);
    assert_eq!(answers[0]["logits"], answers[1]["logits"], "opaque");
    assert_eq!(answers[0]["logits"], answers[2]["logits"], "the middle");
    assert_eq!(answers[3]["logits"], answers[4]["logits"], "over black");
    assert_ne!(answers[0]["logits"], answers[3]["logits"]);
}

#[test]
fn onnx_and_json_are_files_and_nothing_is_overwritten() {
    let folder = searched();
    let path = folder.path();
    let (kept, other) = kept_and_other(&path.join("run"));
    let printed = succeeds(&mut export(path, kept, "onnx", "m.onnx"));
    assert!(
        printed
            .contains("m.onnx: ONNX, opset 18: image uint8 [batch, 3, 8, 8] → logits [batch, 2]"),
        "{printed}"
    );
    // The architecture comes back into a search.
    succeeds(&mut export(path, other, "json", "plain.json"));
    let given: Value =
        serde_json::from_str(&std::fs::read_to_string(path.join("plain.json")).unwrap()).unwrap();
    let shown = succeeds(&mut at(
        path,
        &["show", "run", &other.to_string(), "--json"],
    ));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(given, shown["architecture"]);
    let enqueue = "enqueue=[{ architecture = 'plain.json' }]";
    succeeds(&mut at(path, &["check", "search.toml", "--set", enqueue]));

    for (format, out) in [("onnx", "m.onnx"), ("json", "m.onnx"), ("torch", "images")] {
        let before = std::fs::metadata(path.join(out))
            .unwrap()
            .modified()
            .unwrap();
        let message = refused(&mut export(path, kept, format, out));
        let expected = format!(
            "error: {out}: is there already, and is not overwritten; name another, or remove it first\n"
        );
        assert_eq!(message, expected);
        let after = std::fs::metadata(path.join(out))
            .unwrap()
            .modified()
            .unwrap();
        assert_eq!(before, after);
    }
    let message = refused(&mut export(path, kept, "onnx", "nowhere/m.onnx"));
    assert_eq!(
        message,
        "error: nowhere/m.onnx: the folder that it is to be in is not there\n"
    );
    let left_over = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"));
    assert_eq!(left_over.count(), 0);
}

#[test]
fn what_cannot_be_exported_or_classified_is_said_in_one_line() {
    let folder = searched();
    let path = folder.path();
    let (kept, other) = kept_and_other(&path.join("run"));
    let message = refused(&mut export(path, other, "torch", "model"));
    assert_eq!(
        message,
        format!(
            "error: run: the weights of trial {other} are not kept; they are kept of trials {kept} (run.keep_weights: of how many of \
             the best). --format json needs none\n"
        )
    );
    let message = refused(&mut export(path, 9, "onnx", "m.onnx"));
    assert_eq!(message, "error: run: no trial 9; its trials are 1 to 2\n");
    let message = refused(&mut at(path, &["classify", "model", "images/left/0.png"]));
    assert_eq!(
        message,
        "error: model: no config.json here; `netwright export RUN TRIAL --format torch FOLDER` writes such a folder\n"
    );
    succeeds(&mut export(path, kept, "torch", "model"));
    for (image, message) in [
        ("absent.png", "error: absent.png: no such file\n"),
        (
            "search.toml",
            "error: search.toml: is no PNG, JPEG or WebP file\n",
        ),
    ] {
        let images = ["classify", "model", "images/left/0.png", image];
        assert_eq!(refused(&mut at(path, &images)), message);
    }
    // Weights of a file that was cut.
    let weights = path.join("model/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() - 4]).unwrap();
    let message = refused(&mut at(path, &["classify", "model", "images/left/0.png"]));
    assert!(
        message
            .starts_with("error: model/model.safetensors: is no safetensors file, or is damaged"),
        "{message}"
    );
}

#[test]
fn a_list_of_choices_has_no_weights_but_an_architecture() {
    let search = Search::new(2, "");
    succeeds(&mut search.command("run"));
    let folder = search.folder.path();
    let message = refused(&mut export(folder, 1, "onnx", "m.onnx"));
    assert_eq!(
        message,
        "error: run: trial 1 is a list of choices, no network of this program's: it has no weights here; --format json writes its \
         architecture\n"
    );
    succeeds(&mut export(folder, 1, "json", "a.json"));
    let text = std::fs::read_to_string(folder.join("a.json")).unwrap();
    assert!(text.contains("\"kind\": \"choices\""), "{text}");
}

#[test]
fn a_reused_trial_has_the_weights_of_the_trial_that_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let config = "[run]\nname = \"t\"\ntrials = 3\nreuse = true\n[space]\nlayers = 1\nfilters = [2, 4]\nfilter_height = [1]\n\
                  filter_width = [1]\nstride_height = [4]\nstride_width = [4]\n[controller]\nchildren = 1\n[child]\nepochs = 1\n\
                  [data]\nkind = \"builtin\"\ntrain_size = 32\nvalidation_size = 32\naugment = false\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(path.join("search.toml"), config).unwrap();
    succeeds(&mut at(
        path,
        &["search", "search.toml", "--run-dir", "run"],
    ));
    // Three trials of two networks.
    let sql = "SELECT id, reused_from FROM trials WHERE reused_from IS NOT NULL LIMIT 1";
    let (trial, source): (u64, u64) = database(&path.join("run"))
        .unwrap()
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let printed = succeeds(&mut export(path, trial, "onnx", "m.onnx"));
    let expected = format!(
        "weights: those kept of trial {source}, which has the same network, after epoch 1:"
    );
    assert!(printed.contains(&expected), "{printed}");
    let shown = succeeds(&mut at(path, &["show", "run", &trial.to_string()]));
    let file = format!("run/weights/trial-{source}.safetensors");
    assert!(shown.contains(&file), "{shown}");
}

#[test]
fn a_cell_goes_home_as_one_step_with_its_vocabulary_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, lines) in [("toy.train.txt", 120), ("toy.valid.txt", 20)] {
        let mut text = String::new();
        for line in 0..lines {
            let subject = ["cats", "dogs", "owls"][line % 3];
            writeln!(text, "{subject} see <unk> and {subject} sleep").unwrap();
        }
        std::fs::write(path.join(name), text).unwrap();
    }
    let config = "[run]\nname = \"toy\"\ntrials = 1\n[space]\nkind = \"cell\"\nbase = 3\n[controller]\nchildren = 1\n\
                  [child]\nepochs = 1\nhidden = 6\nlayers = 2\nsteps = 8\nbatch_size = 5\n[data]\nkind = \"text\"\npath = \".\"\n\
                  [devices]\nuse = [\"cpu\"]\n[telemetry]\nlisten = \"off\"\n";
    std::fs::write(path.join("search.toml"), config).unwrap();
    succeeds(&mut at(
        path,
        &["search", "search.toml", "--run-dir", "run"],
    ));
    let printed = succeeds(&mut export(path, 1, "onnx", "m.onnx"));
    assert!(
        printed.contains("validation perplexity")
            && printed.contains("m.vocabulary.json: the tokens, in the order of the logits"),
        "{printed}"
    );
    let words: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(path.join("m.vocabulary.json")).unwrap())
            .unwrap();
    assert!(
        words.len() == 8 && words.contains(&"<eos>".to_owned()),
        "{words:?}"
    );
    succeeds(&mut export(path, 1, "torch", "model"));
    let message = refused(&mut at(path, &["classify", "model", "x.png"]));
    assert_eq!(
        message,
        "error: model: holds a language model, which classifies nothing; `python model.py` there samples a text from it\n"
    );
    // Its vocabulary is there already, and belongs to another model perhaps.
    std::fs::remove_file(path.join("m.onnx")).unwrap();
    let output = export(path, 1, "onnx", "m.onnx").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    assert!(!path.join("m.onnx").exists());
}
