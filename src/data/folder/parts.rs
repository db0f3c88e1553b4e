//! Names that people give to the splits of a data set. Must not look into any folder.

/// What a split is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Train,
    Validation,
    Test,
}

/// `Evaluation` stands for what is looked at in the end: nobody is harmed where it is not opened.
const NAMES: &[(Part, &[&str])] = &[
    (Part::Train, &["train", "training", "trn"]),
    (
        Part::Validation,
        &["val", "valid", "validation", "validate", "dev"],
    ),
    (
        Part::Test,
        &["test", "tests", "testing", "tst", "eval", "evaluation"],
    ),
];

/// Words that add nothing: `training_set`, `train-images`, `seg_train`.
const FILLERS: &[&str] = &[
    "set", "sets", "data", "dataset", "split", "folder", "dir", "image", "images", "img", "imgs",
    "seg",
];

/// The split that a folder's name speaks of, in any case; None: it is another name. Numbers do not
/// count (`train2017`), nor do words like "set".
pub fn part(folder: &str) -> Option<Part> {
    let lower = folder.to_lowercase();
    let words: Vec<&str> = lower
        .split(|character: char| !character.is_alphabetic())
        .filter(|word| !word.is_empty() && !FILLERS.contains(word))
        .collect();
    let [word] = words[..] else { return None };
    let is = |name: &str| {
        word.strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || FILLERS.contains(&rest))
    };
    NAMES
        .iter()
        .find(|(_, names)| names.iter().any(|name| is(name)))
        .map(|(part, _)| *part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_go_by_many_names_and_classes_by_others() {
        for (part_of, names) in [
            (
                Part::Train,
                "train Train TRAIN training Training_Set train2017 trainset seg_train train-images",
            ),
            (
                Part::Validation,
                "val VAL Valid validation val_2017 validation_set dev ValidationData",
            ),
            (
                Part::Test,
                "test Test testing test_set testset seg_test TestImages evaluation",
            ),
        ] {
            for name in names.split(' ') {
                assert_eq!(part(name), Some(part_of), "{name}");
            }
        }
        for name in "trainer trains testify valley device cats train_station 2017 set values test_a"
            .split(' ')
            .chain(["", "trainvaltest", "Ausbildung"])
        {
            assert_eq!(part(name), None, "{name}");
        }
    }
}
