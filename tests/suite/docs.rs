//! The documents name files that exist: links between them, and the source files in backticks.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// README, ARCHITECTURE, CONTRIBUTING and the pages of docs/.
fn documents() -> Vec<PathBuf> {
    let of = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .collect()
    };
    let root = Path::new(ROOT);
    let documents = [of(root), of(&root.join("docs"))].concat();
    assert!(documents.len() > 8, "{documents:?}");
    documents
}

/// The parts of a text between `open` and `close`.
fn between<'a>(text: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    text.split(open)
        .skip(1)
        .filter_map(move |rest| rest.split_once(close).map(|(part, _)| part))
}

/// The heading as the fragment that links to it.
fn fragment(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || " -_".contains(*character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_its_heading() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in between(&text, "](", ')').filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", document.display());
            if !heading.is_empty() {
                let target = std::fs::read_to_string(target).unwrap();
                let headings = target.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.map(fragment).any(|fragment| fragment == heading),
                    "{}: there is no heading for {link}",
                    document.display()
                );
            }
        }
    }
}

#[test]
fn every_file_in_backticks_exists() {
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let root = Path::new(ROOT);
        let text = std::fs::read_to_string(root.join(name)).unwrap();
        // Every second part stands in backticks.
        let files = text.split('`').skip(1).step_by(2).filter(|part| {
            let is_path = |part: &str| !part.contains([' ', '\n', '…', '*', 'N']);
            part.contains('/') && part.ends_with(".rs") && is_path(part)
        });
        let missing: Vec<&str> = files
            .filter(|file| !root.join("src").join(file).exists() && !root.join(file).exists())
            .collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
    }
}
