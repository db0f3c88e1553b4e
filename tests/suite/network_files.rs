//! Architectures as files: those that ship with the binary, how a file is shown, and how several are
//! compared under one recipe.

use super::common::{netwright, refused, succeeds};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

fn at(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = netwright();
    command.current_dir(folder).args(arguments);
    command
}

/// A search of small images of our own, and its recipe.
fn write_config(folder: &Path) {
    let config = "[telemetry]\nlisten = \"off\"\n[run]\nname = \"t\"\ntrials = 2\n[space]\nlayers = 2\nfilters = [4, 8]\n[controller]\nchildren = 2\n\
                  [child]\nepochs = 1\n[data]\nkind = \"builtin\"\ntrain_size = 64\nvalidation_size = 32\naugment = false\n\
                  [devices]\nuse = [\"cpu\"]\n";
    std::fs::write(folder.join("netwright.toml"), config).unwrap();
}

/// Published sizes: He et al. 2016 (0.27M), Huang et al. 2017 (1.0M).
#[test]
fn the_binary_gives_networks_of_the_literature_and_shows_their_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, parameters, last) in [
        ("chain", 27_106, "end  pool and classify"),
        ("all-skip", 0, "1, 2, 3, 4, 5"),
        ("vgg-like", 0, "max pool 2×2, stride 2×2"),
        ("resnet-20", 269_722, "add, ReLU"),
        ("densenet-40", 1_019_722, "ReLU"),
    ] {
        let file = format!("{name}.json");
        succeeds(&mut at(path, &["init", name]));
        let text = std::fs::read_to_string(path.join(&file)).unwrap();
        assert_eq!(text, succeeds(&mut at(path, &["init", name, "-"])));
        // What is shown has the layers' numbers of the file: it is in canonical order.
        let shown = succeeds(&mut at(path, &["show", &file, "--json"]));
        let [file_json, shown_json]: [Value; 2] =
            [&text, &shown].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(shown_json, file_json, "{name}");
        let shown = succeeds(&mut at(path, &["show", &file]));
        assert!(shown.contains(last), "{name}: {shown}");
        if parameters > 0 {
            assert!(
                shown.starts_with(&format!("parameters  {parameters}\n")),
                "{name}: {shown}"
            );
        }
        let drawn = succeeds(&mut at(path, &["show", &file, "--format", "svg"]));
        assert!(drawn.starts_with("<svg"), "{drawn}");
    }
    for (name, string) in [
        ("lstm", "lstm\n"),
        ("gru", "gru\n"),
        (
            "nascell",
            "add tanh; add relu; add sigmoid; elem_mult relu; ",
        ),
    ] {
        succeeds(&mut at(path, &["init", name, "cell.json"]));
        let shown = succeeds(&mut at(path, &["show", "cell.json", "--format", "string"]));
        let tokens = shown.split("; ").count();
        assert!(
            shown == string || (name == "nascell" && tokens == 17),
            "{name}: {shown}"
        );
        std::fs::remove_file(path.join("cell.json")).unwrap();
    }
    let message = refused(&mut at(path, &["init", "resnet-20"]));
    assert!(
        message.contains("resnet-20.json: exists already"),
        "{message}"
    );
    let message = refused(&mut at(path, &["init", "resnet-21"]));
    assert!(
        message.contains("and the architectures chain, all-skip, vgg-like, resnet-20, densenet-40, nascell, lstm, gru"),
        "{message}"
    );
}

#[test]
fn networks_of_files_are_trained_by_one_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write_config(path);
    succeeds(&mut at(path, &["init", "chain"]));
    // Two convolutions and the sum of the second and the image, for whatever images there are.
    let conv = |filters: usize, input: usize| json!({ "filter_height": 3, "filter_width": 3, "filters": filters, "stride_height": 2, "stride_width": 2, "inputs": [input] });
    let layers = [
        conv(6, 0),
        conv(4, 1),
        json!({ "type": "add", "inputs": [0, 2] }),
    ];
    let small = json!({ "version": 1, "kind": "conv", "layers": layers, "output": [3] });
    std::fs::write(path.join("small.json"), small.to_string()).unwrap();
    // netwright.toml is the recipe that is meant where none is named.
    let compare = ["compare-architectures", "chain.json", "small.json"];
    let rows = succeeds(at(path, &compare).arg("--json"));
    let rows: Vec<Value> = serde_json::from_str(&rows).unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        let name = row["name"].as_str().unwrap();
        let parameters = if name == "chain" {
            27_106
        } else {
            6 * 3 * 9 + 12 + 4 * 6 * 9 + 8 + 10 * 5
        };
        assert_eq!(row["parameters"], parameters, "{row}");
        assert!(row["flops"].as_u64().unwrap() > 0, "{row}");
        assert!(row["seconds_per_example"].as_f64().unwrap() > 0.0, "{row}");
        assert!(
            (0.0..=1.0).contains(&row["metric"].as_f64().unwrap()),
            "{row}"
        );
        assert!(row.get("cell").is_none() && row["error"].is_null(), "{row}");
    }
    let table = succeeds(&mut at(
        path,
        &["compare-architectures", "netwright.toml", "small.json"],
    ));
    for part in [
        "network",
        "parameters",
        "FLOPs",
        "per image",
        "validation",
        "small",
        " ms",
    ] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
}

#[test]
fn what_cannot_be_compared_or_shown_is_refused_in_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refusal = |arguments: &[&str], part: &str| {
        let message = refused(&mut at(path, arguments));
        assert!(
            message.contains(part) && message.lines().count() == 1,
            "{arguments:?}: {part} is not in {message}"
        );
    };
    refusal(
        &["compare-architectures", "chain.json"],
        "no config: name the one whose recipe trains them, as in `netwright compare-architectures CONFIG A.json B.json`; netwright.toml, which stands for it, is not here",
    );
    write_config(path);
    refusal(
        &["compare-architectures", "chain.json"],
        "chain.json: there is no such file",
    );
    refusal(
        &["compare-architectures", "netwright.toml", "other.toml"],
        "other.toml: a second config",
    );
    refusal(
        &["compare-architectures"],
        "compare-architectures trains the networks of files: name some (`netwright init resnet-20` writes one)",
    );
    succeeds(&mut at(path, &["init", "lstm"]));
    refusal(
        &["compare-architectures", "lstm.json"],
        "lstm.json: it is of kind \"cell\", and space.kind is \"conv\"",
    );
    refusal(
        &["show", "."],
        ".: is a folder: name a trial of this run too, such as `netwright show . 1`",
    );
    refusal(&["show", "none.json"], "none.json: there is no such file");
    let sum = json!({ "version": 1, "kind": "conv", "image": { "channels": 3, "height": 8, "width": 8 }, "classes": 2,
                      "layers": [{ "type": "add", "inputs": [0] }], "output": [1] });
    std::fs::write(path.join("sum.json"), sum.to_string()).unwrap();
    refusal(
        &["show", "sum.json"],
        "sum.json: layer 1: inputs = [0]: a layer of type add needs two or more",
    );
}
