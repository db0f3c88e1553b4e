//! Conditions between named decisions: what is decided, how much there is, and every condition that
//! cannot work.

use super::*;
use proptest::prelude::*;

fn settings(text: &str) -> SpaceSettings {
    let text: String = text
        .lines()
        .map(|line| format!("[[decision]]\n{}\n", line.trim().replace("; ", "\n")))
        .collect();
    toml::from_str(&format!("kind = \"choices\"\n{text}")).unwrap()
}

fn space(text: &str) -> Box<dyn Space> {
    let settings = settings(text);
    assert_eq!(settings.problems(), vec![]);
    settings.build(IMAGE, 10)
}

/// Every list of a space of named decisions.
fn all(space: &dyn Space) -> Vec<Vec<Decision>> {
    let mut whole = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(list) = open.pop() {
        match space.next(0, &list) {
            Next::Choose { kind } => {
                let longer = |option| {
                    list.iter()
                        .cloned()
                        .chain([Decision::Choice(option)])
                        .collect()
                };
                open.extend((0..space.kinds()[kind].options.len()).map(longer));
            }
            _ => whole.push(list),
        }
    }
    whole
}

const NESTED: &str = "name = 'op'; options = ['conv', 'pool', 'none']
    name = 'kernel'; options = [1, 3, 5]; when = { op = 'conv' }
    name = 'dilate'; options = [true, false]; when = { kernel = [3, 5], op = ['conv'] }
    name = 'pooling'; options = ['max', 'mean']; when = { op = 'pool' }
    name = 'bias'; options = [false]; when = { dilate = true }
    name = 'rate'; options = [0.1, 0.2]";

#[test]
fn a_decision_exists_only_where_its_condition_holds() {
    let space = space(NESTED);
    let values = |options: &[usize]| {
        let list: Vec<Decision> = options
            .iter()
            .map(|option| Decision::Choice(*option))
            .collect();
        serde_json::to_value(
            space
                .build(0, &list)
                .map_err(|error| error.to_string())
                .unwrap(),
        )
        .unwrap()["values"]
            .to_string()
    };
    assert_eq!(values(&[2, 0]), "{\"op\":\"none\",\"rate\":0.1}");
    assert_eq!(
        values(&[1, 1, 0]),
        "{\"op\":\"pool\",\"pooling\":\"mean\",\"rate\":0.1}"
    );
    assert_eq!(
        values(&[0, 0, 1]),
        "{\"kernel\":1,\"op\":\"conv\",\"rate\":0.2}"
    );
    assert_eq!(
        values(&[0, 2, 0, 1]),
        "{\"bias\":false,\"dilate\":true,\"kernel\":5,\"op\":\"conv\",\"rate\":0.2}"
    );
    let problem = |options: &[usize]| {
        let list: Vec<Decision> = options
            .iter()
            .map(|option| Decision::Choice(*option))
            .collect();
        space.build(0, &list).unwrap_err().to_string()
    };
    assert_eq!(
        problem(&[1, 2, 0]),
        "decision 2: pooling must be the number of an option (0 for max, 1 for mean), not 2"
    );
    assert_eq!(
        problem(&[2]),
        "decision 2: the list ends here, and rate is not decided"
    );
    assert_eq!(
        problem(&[2, 0, 1]),
        "decision 3: everything is decided before this decision"
    );
}

#[test]
fn the_size_is_how_many_lists_there_are() {
    let space = space(NESTED);
    // conv: kernel 1, or 2 kernels × 2; pool: 2; none: 1; each with 2 rates.
    assert_eq!(all(space.as_ref()).len(), (1 + 4 + 2 + 1) * 2);
    assert!((10_f64.powf(space.log10_size(0)) - 16.0).abs() < 1e-9);
}

#[test]
fn every_list_has_the_same_columns_and_empty_texts_where_nothing_is_decided() {
    let space = space(NESTED);
    let described = space.describe(0, &[Decision::Choice(2), Decision::Choice(1)]);
    let named: Vec<(&str, &str)> = described
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            ("bias", ""),
            ("op", "none"),
            ("kernel", ""),
            ("dilate", ""),
            ("pooling", ""),
            ("rate", "0.2")
        ]
    );
}

#[test]
fn a_decision_comes_after_those_that_its_condition_names() {
    let space = space(
        "name = 'depth'; options = [1, 2]; when = { deep = true }\nname = 'width'; options = [3, 4]\nname = 'deep'; options = [true, false]",
    );
    let names: Vec<&str> = space
        .kinds()
        .iter()
        .map(|kind| kind.name.as_str())
        .collect();
    assert_eq!(names, ["width", "deep", "depth"]);
}

#[test]
fn conditions_that_cannot_work_are_named() {
    let problem = |text: &str| {
        let problems = settings(text).problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        format!("{}: {}", problems[0].0, problems[0].1)
    };
    let op = "name = 'op'; options = ['conv', 'pool']\n";
    assert_eq!(
        problem(&format!(
            "{op}name = 'k'; options = [1, 2]; when = {{ opp = 'conv' }}"
        )),
        "decision[2].when: no decision is named \"opp\"; the nearest is \"op\""
    );
    assert_eq!(
        problem(&format!(
            "{op}name = 'k'; options = [1, 2]; when = {{ op = 'cnv' }}"
        )),
        "decision[2].when: \"op\" has no option \"cnv\"; its options are \"conv\", \"pool\""
    );
    assert_eq!(
        problem("name = 'a'; options = [1, 2.0]\nname = 'k'; options = [1, 2]; when = { a = 2 }"),
        "decision[2].when: \"a\" has no option 2; its options are 1, 2.0"
    );
    assert_eq!(
        problem(&format!(
            "{op}name = 'k'; options = [1, 2]; when = {{ op = [] }}"
        )),
        "decision[2].when: no option of \"op\" is listed, so this can never hold: list one or more"
    );
    assert_eq!(
        problem("name = 'a'; options = [1, 2]; when = { a = 1 }"),
        "decision[1].when: \"a\" cannot be its own condition: name another decision"
    );
    assert_eq!(
        problem(&format!(
            "{op}name = 'a'; options = [1, 2]; when = {{ b = 1 }}\nname = 'b'; options = [1, 2]; when = {{ c = 1 }}\nname = 'c'; options = [1, 2]; when = {{ b = 2, op = 'conv' }}"
        )),
        "decision[3].when: the conditions go in a circle, \"b\" needs \"c\" needs \"b\": none of these could be decided first"
    );
    assert_eq!(
        problem(&format!(
            "{op}name = 'a'; options = [1, 2]; when = {{ op = 'conv' }}\nname = 'b'; options = [1, 2]; when = {{ a = 1, op = 'pool' }}"
        )),
        "decision[3].when: can never hold, so \"b\" would never be decided: no option of \"op\" satisfies this and the conditions of \
         the decisions that it names"
    );
    assert_eq!(
        problem(&format!(
            "{op}name = 'a'; options = [1, 2]; when = {{ op = 'conv' }}\nname = 'b'; options = [1, 2]; when = {{ a = 1, op = ['conv', 'pool'] }}"
        )),
        "decision[3].when: op = \"pool\" can never hold here together with the rest of the condition and the conditions of the \
         decisions that it names: leave \"pool\" out"
    );
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    /// Random conditions on earlier decisions: either refused, or counted exactly.
    #[test]
    fn random_spaces_are_counted_exactly(
        sizes in prop::collection::vec(1_usize..4, 2..8),
        conditions in prop::collection::vec((0_usize..8, 0_usize..8, 1_usize..8), 0..7),
    ) {
        let mut decisions: Vec<DecisionSettings> = sizes.iter().enumerate().map(|(position, size)| DecisionSettings {
            name: format!("d{position}"),
            options: (0..*size as i64).map(OptionValue::Integer).collect(),
            when: Default::default(),
        }).collect();
        for (one, other, bits) in conditions {
            let later = one.max(other) % sizes.len();
            let earlier = one.min(other) % sizes.len();
            let chosen = decisions[earlier].options.iter().enumerate().filter(|(position, _)| bits >> position & 1 == 1);
            let allowed: Vec<OptionValue> = chosen.map(|(_, option)| option.clone()).collect();
            if earlier < later && !allowed.is_empty() {
                decisions[later].when.insert(format!("d{earlier}"), Allowed::Several(allowed));
            }
        }
        let settings = SpaceSettings { kind: SpaceKind::Choices, decision: decisions, ..SpaceSettings::default() };
        prop_assume!(settings.problems().is_empty());
        let space = settings.build(IMAGE, 10);
        let lists = all(space.as_ref());
        prop_assert!((10_f64.powf(space.log10_size(0)) - lists.len() as f64).abs() < 1e-6 * lists.len() as f64);
        // Nothing is unreachable: every decision, and every option of it, is in some list.
        for (name, option) in settings.decision.iter().flat_map(|decision| decision.options.iter().map(|option| (&decision.name, option))) {
            let there = |list: &Vec<Decision>| {
                let Network::Choices(network) = space.build(0, list).unwrap().network else { return false };
                network.values.get(name) == Some(option)
            };
            prop_assert!(lists.iter().any(there), "{name} = {option}");
        }
        let architectures: std::collections::BTreeSet<String> =
            lists.iter().map(|list| serde_json::to_string(&space.build(0, list).unwrap()).unwrap()).collect();
        prop_assert_eq!(architectures.len(), lists.len());
    }
}
