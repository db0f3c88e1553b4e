//! Decisions by name: the same names and values as in the table that describes a list.

use super::spaces::list;
use super::*;

const NUMBERS: [&[usize]; 4] = [&[0], &[1, 0, 2], &[5, 3, 1, 7, 2], &[2, 9, 4, 1, 1, 3, 8]];

#[track_caller]
fn assert_named_as_described(settings: &str, layers: usize) {
    let space = toml::from_str::<SpaceSettings>(settings)
        .unwrap()
        .build(IMAGE, 10);
    for numbers in NUMBERS {
        let decisions = list(space.as_ref(), layers, numbers);
        let named = named_decisions(space.as_ref(), layers, &decisions).unwrap();
        let pairs: Vec<(String, String)> = named
            .iter()
            .map(|named| {
                let text = match named.value() {
                    OptionValue::Boolean(bit) if named.name.contains(" skip ") => {
                        u8::from(*bit).to_string()
                    }
                    value => value.to_string(),
                };
                (named.name.clone(), text)
            })
            .collect();
        let mut described = space.describe(layers, &decisions);
        described.retain(|(_, value)| !value.is_empty());
        assert_eq!(pairs, described);
        let one_less = &decisions[..decisions.len() - 1];
        assert_eq!(named_decisions(space.as_ref(), layers, one_less), None);
        let one_more = [&decisions[..], &[Decision::Choice(0)]].concat();
        assert_eq!(named_decisions(space.as_ref(), layers, &one_more), None);
    }
}

#[test]
fn layers_skips_and_learning_rates_have_their_names() {
    let types = "layer_types = [\"conv\", \"max_pool\", \"lcn\"]\npool_size = [2, 3]\nlcn_window = [5, 9]\n";
    let settings = format!(
        "{types}filter_height = [1, 3]\nstride_width = [1, 2]\nskip_connections = true\nlearning_rates = [0.1, 0.01]\n"
    );
    assert_named_as_described(&settings, 4);
    assert_named_as_described("block = 2\nskip_connections = \"all\"\n", 6);
}

#[test]
fn the_nodes_of_a_cell_have_their_names() {
    assert_named_as_described("kind = \"cell\"\nbase = 3\n", 0);
    // What is not predicted has no name.
    assert_named_as_described("kind = \"cell\"\nbase = 2\nactivations = [\"tanh\"]\n", 0);
}

#[test]
fn named_decisions_have_the_users_names() {
    assert_named_as_described(
        "kind = \"choices\"\ndecision = [{ name = \"layer_op\", options = [\"conv\", 1, true] }, \
         { name = \"k\", options = [1, 2.5], when = { layer_op = \"conv\" } }, { name = \"z\", options = [0, 1] }]\n",
        0,
    );
}
