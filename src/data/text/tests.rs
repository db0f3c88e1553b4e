//! Texts written here, and the Penn Treebank where it is found.

use super::*;
use crate::data::DataKind;
use proptest::prelude::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn texts(train: &str, validation: &str) -> Self {
        Self::new(&[
            ("a.train.txt", train.as_bytes()),
            ("a.valid.txt", validation.as_bytes()),
            ("a.test.txt", &[0xff]),
        ])
    }

    fn settings(&self) -> DataSettings {
        DataSettings {
            kind: DataKind::Text,
            path: Some(self.0.path().to_str().unwrap().into()),
            ..DataSettings::default()
        }
    }

    fn load(&self) -> Result<Corpus, String> {
        self.with(|_| ())
    }

    fn with(&self, change: impl FnOnce(&mut DataSettings)) -> Result<Corpus, String> {
        let mut settings = self.settings();
        change(&mut settings);
        Corpus::load(&settings).map_err(|error| error.to_string())
    }
}

fn words(corpus: &Corpus, tokens: &[u32]) -> Vec<String> {
    tokens
        .iter()
        .map(|&token| corpus.vocabulary[token as usize].clone())
        .collect()
}

#[test]
fn the_end_of_a_line_is_a_word_and_frequent_words_come_first() {
    let corpus = Folder::texts(" b a b \n\nc b a\n", "a c").load().unwrap();
    assert_eq!(corpus.vocabulary, ["b", "<eos>", "a", "c"]);
    assert_eq!(
        words(&corpus, &corpus.train),
        ["b", "a", "b", "<eos>", "<eos>", "c", "b", "a", "<eos>"]
    );
    assert_eq!(words(&corpus, &corpus.validation), ["a", "c", "<eos>"]);
    assert_eq!(corpus.end, 1);
}

#[test]
fn a_limit_keeps_the_most_frequent_words_and_the_rest_is_unknown() {
    let folder = Folder::texts("c b a b a d e\n", "a zebra d c");
    let corpus = folder
        .with(|settings| settings.vocabulary = Some(5))
        .unwrap();
    // b and a stand twice, c, d, e and <eos> once: of the ties c came first.
    assert_eq!(corpus.vocabulary, ["b", "a", "c", "<eos>", "<unk>"]);
    assert_eq!(
        words(&corpus, &corpus.validation),
        ["a", "<unk>", "<unk>", "c", "<eos>"]
    );
    let all = folder
        .with(|settings| settings.vocabulary = Some(6))
        .unwrap_err();
    assert!(all.contains("zebra"), "six words are all of them: {all}");
    // <unk> in the text has its place whatever its rank.
    let corpus = Folder::texts("a a a b b c <unk>\n", "c")
        .with(|settings| settings.vocabulary = Some(4))
        .unwrap();
    assert_eq!(corpus.vocabulary, ["a", "b", "<unk>", "<eos>"]);
}

#[test]
fn words_outside_the_vocabulary_are_counted_and_the_first_is_shown() {
    let error = Folder::texts("a b\n", "a b\nb new a\nnew old\n")
        .load()
        .unwrap_err();
    for part in [
        "a.valid.txt",
        "3 of 10 tokens",
        "(2 different)",
        "\"new\"",
        "line 2",
        "data.vocabulary",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let corpus = Folder::texts("a <unk>\n", "a new\n").load().unwrap();
    assert_eq!(words(&corpus, &corpus.validation), ["a", "<unk>", "<eos>"]);
}

#[test]
fn characters_have_one_space_between_words() {
    let corpus = Folder::texts(" ab  \u{e4}\r\n", "b a")
        .with(|settings| settings.unit = Unit::Char)
        .unwrap();
    assert_eq!(
        words(&corpus, &corpus.train),
        ["a", "b", " ", "\u{e4}", "<eos>"]
    );
    assert_eq!(words(&corpus, &corpus.validation), ["b", " ", "a", "<eos>"]);
}

#[test]
fn broken_files_are_named_with_their_line() {
    let missing = Folder::new(&[("train.txt", b"a\n")]).load().unwrap_err();
    assert!(
        missing.contains("valid.txt") && missing.contains("data.validation_file"),
        "{missing}"
    );
    let nowhere = Folder::texts("a", "a")
        .with(|settings| settings.path = Some("/nowhere".into()))
        .unwrap_err();
    assert!(nowhere.starts_with("/nowhere: "), "{nowhere}");
    let named = Folder::texts("a", "a")
        .with(|settings| settings.train_file = Some("b.txt".into()))
        .unwrap_err();
    assert!(named.contains("b.txt: no such file"), "{named}");
    let several = Folder::new(&[
        ("a.train.txt", b"a"),
        ("train.txt", b"a"),
        ("valid.txt", b"a"),
    ])
    .load()
    .unwrap_err();
    assert!(
        several.contains("a.train.txt and train.txt: data.train_file"),
        "{several}"
    );
    let empty = Folder::texts("a\n", " \n \n").load().unwrap_err();
    assert!(empty.contains("a.valid.txt: is empty"), "{empty}");
    let invalid = Folder::new(&[("train.txt", b"a\nb \xff\n"), ("valid.txt", b"a")])
        .load()
        .unwrap_err();
    assert!(
        invalid.contains("train.txt: line 2: byte 4") && invalid.contains("UTF-8"),
        "{invalid}"
    );
}

#[test]
fn files_are_found_by_their_usual_names_or_taken_as_named() {
    for (train, validation) in [
        ("train.txt", "valid.txt"),
        ("ptb.train.txt", "ptb.valid.txt"),
        ("wiki.train.tokens", "wiki.valid.tokens"),
    ] {
        assert!(
            Folder::new(&[(train, b"a"), (validation, b"a"), ("x.test.txt", b"")])
                .load()
                .is_ok()
        );
    }
    let folder = Folder::new(&[("one", b"a b"), ("two", b"b")]);
    let corpus = folder
        .with(|settings| {
            (settings.train_file, settings.validation_file) =
                (Some("one".into()), Some("two".into()));
        })
        .unwrap();
    assert_eq!((corpus.train.len(), corpus.validation.len()), (3, 2));
    let path = folder.0.path().join("one").to_str().unwrap().to_owned();
    let both = |settings: &mut DataSettings| {
        settings.path = None;
        (settings.train_file, settings.validation_file) = (Some(path.clone()), Some(path.clone()));
    };
    assert_eq!(folder.with(both).unwrap().validation.len(), 3);
}

#[test]
fn a_slice_keeps_the_vocabulary_and_too_large_a_slice_is_refused() {
    let folder = Folder::texts("a b c d\n", "d c\n");
    let whole = folder.load().unwrap();
    let slice = folder
        .with(|settings| (settings.train_size, settings.validation_size) = (Some(2), Some(1)))
        .unwrap();
    assert_eq!(
        (slice.train.as_slice(), slice.validation.as_slice()),
        (&whole.train[..2], &whole.validation[..1])
    );
    assert_eq!(slice.vocabulary, whole.vocabulary);
    assert_ne!(slice.content, whole.content);
    let error = folder
        .with(|settings| settings.validation_size = Some(4))
        .unwrap_err();
    assert!(
        error.starts_with("data.validation_size: 4") && error.contains('3'),
        "{error}"
    );
}

#[test]
fn the_fingerprint_is_that_of_unit_words_and_texts() {
    let content = |unit, words: &[&str], train: &[u32], validation: &[u32]| {
        Corpus::new(
            unit,
            words.iter().map(|&word| word.to_owned()).collect(),
            train.to_vec(),
            validation.to_vec(),
        )
        .content
    };
    // p = struct.pack; hashlib.sha256(b"\0" + p("<Q", 1) + b"a" + p("<Q", 5) + b"<eos>" + p("<QII",
    // 2, 0, 1) + p("<QI", 1, 1)).hexdigest()
    let expected = "b750753dbabe1866444da72b4acefe23a11e6bd08d60eabdd03ee6d5b1fc3462";
    assert_eq!(
        content(Unit::Word, &["a", "<eos>"], &[0, 1], &[1]),
        expected
    );
    assert_ne!(
        content(Unit::Char, &["a", "<eos>"], &[0, 1], &[1]),
        expected
    );
    assert_ne!(
        content(Unit::Word, &["a", "<eos>"], &[0], &[1, 1]),
        expected
    );
    assert_ne!(
        content(Unit::Word, &["a<", "eos>"], &[0, 1], &[1]),
        expected
    );
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn every_word_is_its_own_number(lines in proptest::collection::vec(proptest::collection::vec("[a-d]{1,2}", 0..6), 1..8)) {
        let text: String = lines.iter().map(|line| line.join(" ") + "\n").collect();
        prop_assume!(!text.trim().is_empty());
        let corpus = Folder::texts(&text, &text).load().unwrap();
        let expected: Vec<String> = lines.iter().flat_map(|line| line.iter().cloned().chain([END.to_owned()])).collect();
        prop_assert_eq!(words(&corpus, &corpus.train), expected);
        prop_assert_eq!(corpus.train, corpus.validation);
    }
}

#[test]
fn the_penn_treebank_has_its_known_sizes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/ptb");
    if !folder.is_dir() {
        eprintln!("skipped: no Penn Treebank at {}", folder.display());
        return;
    }
    let settings = DataSettings {
        kind: DataKind::Text,
        path: Some(folder.to_str().unwrap().into()),
        ..DataSettings::default()
    };
    let corpus = Corpus::load(&settings).unwrap();
    assert_eq!(
        (
            corpus.vocabulary.len(),
            corpus.train.len(),
            corpus.validation.len()
        ),
        (10_000, 929_589, 73_760)
    );
    let characters = Corpus::load(&DataSettings {
        unit: Unit::Char,
        ..settings
    })
    .unwrap();
    assert_eq!(
        (characters.vocabulary.len(), characters.train.len()),
        (50, 5_017_482)
    );
}
