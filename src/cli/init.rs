//! `netwright init`: writes a commented config file to start from, and beside it the JSON Schema by
//! which editors complete and check it; or an architecture of the literature. The files of config/
//! are in the binary: no checkout is needed.

use super::Failure;
use crate::settings;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct InitArgs {
    /// Which search: quickstart, cifar10, cifar10-v1, -v2, -v3 (the paper's spaces), ptb,
    /// ptb-paper, choices, command or command-choices; or which architecture: chain, all-skip,
    /// vgg-like, resnet-20, densenet-40, nascell, lstm or gru
    #[arg(default_value = "quickstart")]
    pub search: String,
    /// The file to write; - for standard output. Left out: netwright.toml, or NAME.json for an
    /// architecture
    pub file: Option<PathBuf>,
}

/// A config file, and the other file that it names.
struct Template {
    name: &'static str,
    config: &'static str,
    companion: Option<Companion>,
}

/// A table that rewards are read from, or a script that trains children.
struct Companion {
    /// As `config` names it.
    path: &'static str,
    text: &'static str,
}

/// Beside the config, so that editors find it without a network; Taplo takes the path of its
/// `#:schema` line relative to the config.
const SCHEMA: &str = "netwright.schema.json";

const TEMPLATES: &[Template] = &[
    Template {
        name: "quickstart",
        config: include_str!("../../config/quickstart.toml"),
        companion: None,
    },
    Template {
        name: "cifar10",
        config: include_str!("../../config/cifar10.toml"),
        companion: None,
    },
    Template {
        name: "cifar10-v1",
        config: include_str!("../../config/cifar10-v1.toml"),
        companion: None,
    },
    Template {
        name: "cifar10-v2",
        config: include_str!("../../config/cifar10-v2.toml"),
        companion: None,
    },
    Template {
        name: "cifar10-v3",
        config: include_str!("../../config/cifar10-v3.toml"),
        companion: None,
    },
    Template {
        name: "ptb",
        config: include_str!("../../config/ptb.toml"),
        companion: None,
    },
    Template {
        name: "ptb-paper",
        config: include_str!("../../config/ptb-paper.toml"),
        companion: None,
    },
    Template {
        name: "choices",
        config: include_str!("../../config/choices.toml"),
        companion: Some(Companion {
            path: "config/choices.csv",
            text: include_str!("../../config/choices.csv"),
        }),
    },
    Template {
        name: "command",
        config: include_str!("../../config/command.toml"),
        companion: Some(Companion {
            path: "config/command.py",
            text: include_str!("../../config/command.py"),
        }),
    },
    Template {
        name: "command-choices",
        config: include_str!("../../config/command-choices.toml"),
        companion: Some(Companion {
            path: "config/command-choices.py",
            text: include_str!("../../config/command-choices.py"),
        }),
    },
];

/// Architectures, as `[[enqueue]]`, `compare-architectures` and `retrain` read them: name and JSON.
const ARCHITECTURES: &[(&str, &str)] = &[
    (
        "chain",
        include_str!("../../config/architectures/chain.json"),
    ),
    (
        "all-skip",
        include_str!("../../config/architectures/all-skip.json"),
    ),
    (
        "vgg-like",
        include_str!("../../config/architectures/vgg-like.json"),
    ),
    (
        "resnet-20",
        include_str!("../../config/architectures/resnet-20.json"),
    ),
    (
        "densenet-40",
        include_str!("../../config/architectures/densenet-40.json"),
    ),
    (
        "nascell",
        include_str!("../../config/architectures/nascell.json"),
    ),
    ("lstm", include_str!("../../config/architectures/lstm.json")),
    ("gru", include_str!("../../config/architectures/gru.json")),
];

pub fn run(args: InitArgs) -> Result<(), Failure> {
    let name = args.search.as_str();
    if let Some((name, json)) = ARCHITECTURES.iter().find(|(known, _)| *known == name) {
        return architecture(name, json, args.file);
    }
    let Some(template) = TEMPLATES.iter().find(|template| template.name == name) else {
        let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        let architectures: Vec<_> = ARCHITECTURES.iter().map(|(name, _)| *name).collect();
        return Err(Failure::Input(format!(
            "there is no search {name:?} to start from; there are {}; and the architectures {}",
            names.join(", "),
            architectures.join(", ")
        )));
    };
    let file = args.file.unwrap_or_else(|| PathBuf::from("netwright.toml"));
    if file == Path::new("-") {
        to_stdout(template)
    } else {
        search(template, &file)
    }
}

/// Writes the JSON of an architecture.
fn architecture(name: &str, json: &str, file: Option<PathBuf>) -> Result<(), Failure> {
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.json")));
    if file == Path::new("-") {
        return super::print(json);
    }
    let here = file.display();
    write(&file, json)?;
    note!("wrote {here}");
    note!("next: netwright show {here}; netwright compare-architectures CONFIG {here}");
    Ok(())
}

/// Writes a config and what belongs to it.
fn search(template: &Template, file: &Path) -> Result<(), Failure> {
    let here = file.display();
    if file.exists() {
        return Err(exists(file));
    }
    let schema = file.with_file_name(SCHEMA);
    let for_editors = |config: &str| format!("#:schema ./{SCHEMA}\n{config}");
    if let Some(companion) = &template.companion {
        let path = file.with_extension(Path::new(companion.path).extension().unwrap_or_default());
        write(&path, companion.text)?;
        let config = config_for(template.config, companion, &path);
        write(file, &for_editors(&config))?;
        note!("wrote {here} and {}", path.display());
    } else {
        write(file, &for_editors(template.config))?;
        note!("wrote {here}");
    }
    write_schema(&schema)?;
    note!("next: netwright check {here}; netwright search {here}");
    Ok(())
}

/// A schema that is there already stays: an earlier `init` wrote it, perhaps of another version.
fn write_schema(path: &Path) -> Result<(), Failure> {
    let text = format!("{:#}\n", settings::schema());
    if !path.exists() {
        write(path, &text)?;
        note!("wrote {}, by which editors complete it", path.display());
    } else if std::fs::read_to_string(path).is_ok_and(|old| old != text) {
        let path = path.display();
        note!("{path} is not this version's: netwright schema > {path} renews it");
    }
    Ok(())
}

fn to_stdout(template: &Template) -> Result<(), Failure> {
    if template.companion.is_some() {
        return Err(Failure::Input(format!(
            "{} needs another file beside it: name a file to write",
            template.name
        )));
    }
    super::print(template.config)
}

/// The config with the path that the companion is written to, as a TOML string.
fn config_for(config: &str, companion: &Companion, path: &Path) -> String {
    let quoted = |path: &str| toml::Value::String(path.to_owned()).to_string();
    let path = path.to_string_lossy();
    // The comments name it too, without quotes.
    config
        .replace(&quoted(companion.path), &quoted(&path))
        .replace(companion.path, &path)
}

fn exists(path: &Path) -> Failure {
    Failure::Input(format!(
        "{}: exists already; name another file, or move it away",
        path.display()
    ))
}

/// Writes a new file; an existing one is never touched.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        std::io::ErrorKind::NotFound => {
            Failure::Input(format!("{}: its folder does not exist", path.display()))
        }
        _ => Failure::Failed(format!("{}: {error}", path.display())),
    };
    let mut file = std::fs::File::create_new(path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)
}
