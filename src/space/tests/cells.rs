//! Recurrent cells: tokens, the canonical order of trees, sizes, JSON.

use super::*;
use proptest::prelude::*;

fn settings(base: usize) -> SpaceSettings {
    SpaceSettings {
        kind: SpaceKind::Cell,
        base,
        ..SpaceSettings::default()
    }
}

fn node(combination: Combination, activation: Activation) -> CellNode {
    CellNode {
        combination,
        activation,
    }
}

fn tree(space: &dyn Space, decisions: &[usize]) -> TreeCell {
    let decisions: Vec<_> = decisions
        .iter()
        .map(|&choice| Decision::Choice(choice))
        .collect();
    match space.build(0, &decisions).unwrap().network {
        Network::Cell(CellNetwork {
            cell: Cell::Tree(tree),
            ..
        }) => tree,
        other => panic!("not a tree: {other:?}"),
    }
}

#[test]
fn a_base_of_8_is_the_papers_space() {
    let space = settings(8).build(IMAGE, 10);
    let names: Vec<&str> = space
        .kinds()
        .iter()
        .map(|kind| kind.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["combination", "activation", "cell_index", "inject_index"]
    );
    let mut decisions = Vec::new();
    let mut kinds = Vec::new();
    while let Next::Choose { kind } = space.next(0, &decisions) {
        kinds.push(kind);
        decisions.push(Decision::Choice(space.kinds()[kind].options.len() - 1));
    }
    assert_eq!(kinds, [[0, 1].repeat(16), vec![2, 3]].concat());
    let described = space.describe(0, &decisions);
    assert_eq!(described[29], ("node 14 activation".into(), "relu".into()));
    assert_eq!(
        described[30],
        ("inject combination".into(), "elem_mult".into())
    );
    assert_eq!(
        described[32..],
        [
            ("cell index".into(), "14".into()),
            ("inject index".into(), "14".into())
        ]
    );
    // 8^15 ways for the nodes, 8 for the injection, 15² for the indices: the paper says 6e16.
    assert!((10_f64.powf(space.log10_size(0)) / 6.333_186_975_989_76e16 - 1.0).abs() < 1e-9);
}

#[test]
fn the_papers_example_is_what_its_tokens_say() {
    use {Activation::*, Combination::*};
    let space = settings(2).build(IMAGE, 10);
    let built = tree(space.as_ref(), &[0, 1, 1, 3, 1, 2, 0, 3, 1, 0]);
    let nodes = vec![
        node(Add, Tanh),
        node(ElemMult, Relu),
        node(ElemMult, Sigmoid),
    ];
    assert_eq!(
        built,
        TreeCell {
            nodes,
            inject: node(Add, Relu),
            cell_index: 1,
            inject_index: 0
        }
    );
    assert_eq!(
        (built.base(), built.children(1), built.children(2)),
        (2, None, Some((0, 1)))
    );
}

#[test]
fn nascell_is_in_canonical_order() {
    let TreeCell {
        nodes,
        inject,
        cell_index,
        inject_index,
    } = TreeCell::nascell();
    assert_eq!(
        TreeCell::new(nodes, inject, cell_index, inject_index).unwrap(),
        TreeCell::nascell()
    );
}

#[test]
fn a_list_of_one_entry_is_not_predicted() {
    let only = SpaceSettings {
        activations: vec![Activation::Sin],
        ..settings(2)
    };
    let space = only.build(IMAGE, 10);
    assert_eq!(space.kinds().len(), 3);
    let built = tree(space.as_ref(), &[0, 1, 0, 1, 2, 1]);
    assert!(
        built
            .nodes
            .iter()
            .all(|node| node.activation == Activation::Sin)
    );
    assert_eq!(built.inject, node(Combination::ElemMult, Activation::Sin));
    assert_eq!(10_f64.powf(space.log10_size(0)).round() as u64, 16 * 9);
}

#[test]
fn lists_that_do_not_fit_name_the_position() {
    let space = settings(2).build(IMAGE, 10);
    let position = |list: &[usize]| {
        let decisions: Vec<_> = list
            .iter()
            .map(|&choice| Decision::Choice(choice))
            .collect();
        space.build(0, &decisions).unwrap_err().position
    };
    assert_eq!(position(&[0; 9]), 10);
    assert_eq!(position(&[0; 11]), 11);
    assert_eq!(position(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0]), 2);
    assert_eq!(position(&[0, 0, 0, 0, 0, 0, 0, 0, 3, 0]), 9);
}

#[test]
fn sizes_are_those_of_the_language_model() {
    let model = Some(LanguageModel {
        vocabulary: 11,
        hidden: 3,
        layers: 2,
        shared_embeddings: false,
    });
    let lstm = CellNetwork {
        cell: Cell::named("lstm").unwrap(),
        model,
    };
    // Embedding 33, softmax 33 + 11, and in each of two layers four gates of two 3×3 matrices and a
    // bias.
    assert_eq!(
        lstm.size(),
        Some((77 + 2 * 4 * (18 + 3), 2 * (2 * 4 * 18 + 33)))
    );
    let shared = model.map(|model| LanguageModel {
        shared_embeddings: true,
        ..model
    });
    let tree = CellNetwork {
        cell: Cell::named("nascell").unwrap(),
        model: shared,
    };
    assert_eq!(
        tree.size(),
        Some((33 + 11 + 2 * 8 * 18, 2 * (2 * 8 * 18 + 33)))
    );
    assert_eq!(
        CellNetwork {
            model: None,
            ..lstm
        }
        .size(),
        None
    );
}

#[test]
fn the_json_is_stable() {
    let json = |network: CellNetwork| {
        let architecture = Architecture {
            version: 1,
            network: Network::Cell(network),
        };
        let text = serde_json::to_string(&architecture).unwrap();
        assert_eq!(
            serde_json::from_str::<Architecture>(&text).unwrap(),
            architecture
        );
        text
    };
    let built = tree(
        settings(2).build(IMAGE, 10).as_ref(),
        &[0, 1, 1, 3, 1, 2, 0, 3, 1, 0],
    );
    assert_eq!(
        json(CellNetwork {
            cell: Cell::Tree(built),
            model: None
        }),
        "{\"version\":1,\"kind\":\"cell\",\"nodes\":[{\"combination\":\"add\",\"activation\":\"tanh\"},\
         {\"combination\":\"elem_mult\",\"activation\":\"relu\"},{\"combination\":\"elem_mult\",\"activation\":\"sigmoid\"}],\
         \"inject\":{\"combination\":\"add\",\"activation\":\"relu\"},\"cell_index\":1,\"inject_index\":0}"
    );
    let model = Some(LanguageModel {
        vocabulary: 10_000,
        hidden: 650,
        layers: 2,
        shared_embeddings: true,
    });
    assert_eq!(
        json(CellNetwork {
            cell: Cell::named("lstm").unwrap(),
            model
        }),
        "{\"version\":1,\"kind\":\"cell\",\"reference\":\"lstm\",\
         \"model\":{\"vocabulary\":10000,\"hidden\":650,\"layers\":2,\"shared_embeddings\":true}}"
    );
}

fn any_node() -> impl Strategy<Value = CellNode> {
    use {Activation::*, Combination::*};
    let combination = prop::sample::select(vec![Add, ElemMult, Max]);
    (
        combination,
        prop::sample::select(vec![Identity, Tanh, Sigmoid, Relu, Sin]),
    )
        .prop_map(|(combination, activation)| node(combination, activation))
}

fn any_tokens() -> impl Strategy<Value = TreeCell> {
    (2_usize..9).prop_flat_map(|base| {
        let nodes = 2 * base - 1;
        (
            prop::collection::vec(any_node(), nodes),
            any_node(),
            0..nodes,
            0..nodes,
        )
            .prop_map(|(nodes, inject, cell_index, inject_index)| TreeCell {
                nodes,
                inject,
                cell_index,
                inject_index,
            })
    })
}

fn canonical(tokens: &TreeCell) -> TreeCell {
    TreeCell::new(
        tokens.nodes.clone(),
        tokens.inject,
        tokens.cell_index,
        tokens.inject_index,
    )
    .unwrap()
}

/// The cell written down without order: what differs here differs as a graph.
fn graph(tree: &TreeCell, at: usize) -> String {
    let mut below: Vec<String> = tree
        .children(at)
        .map(|(a, b)| vec![graph(tree, a), graph(tree, b)])
        .unwrap_or_default();
    below.sort();
    format!(
        "{:?}{}{}({})",
        tree.nodes[at],
        at == tree.cell_index,
        at == tree.inject_index,
        below.join(",")
    )
}

/// Exchanges the two subtrees of a node, which have one shape.
fn exchange(tree: &TreeCell, at: usize) -> TreeCell {
    fn pairs(tree: &TreeCell, a: usize, b: usize, position: &mut [usize]) {
        (position[a], position[b]) = (b, a);
        if let (Some(a), Some(b)) = (tree.children(a), tree.children(b)) {
            pairs(tree, a.0, b.0, position);
            pairs(tree, a.1, b.1, position);
        }
    }
    let mut position: Vec<usize> = (0..tree.nodes.len()).collect();
    let (a, b) = tree.children(at).unwrap();
    pairs(tree, a, b, &mut position);
    let nodes = position.iter().map(|&from| tree.nodes[from]).collect();
    TreeCell {
        nodes,
        inject: tree.inject,
        cell_index: position[tree.cell_index],
        inject_index: position[tree.inject_index],
    }
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn exchanging_inputs_changes_nothing(tokens in any_tokens(), exchanges in prop::collection::vec(0_usize..7, 1..6)) {
        let mut other = tokens.clone();
        // A base of 2, 4 or 8 is a complete tree: all subtrees of a node have one shape.
        for at in exchanges.into_iter().filter(|_| tokens.base().is_power_of_two()) {
            other = exchange(&other, tokens.base() + at % (tokens.base() - 1));
        }
        prop_assert_eq!(canonical(&other), canonical(&tokens));
    }

    #[test]
    fn equal_data_is_the_same_graph_and_the_other_way(tokens in any_tokens(), change in any_node(), which in 0_usize..15) {
        let root = tokens.nodes.len() - 1;
        let mut changed = tokens.clone();
        changed.nodes[which % (root + 1)] = change;
        let same = graph(&changed, root) == graph(&tokens, root);
        prop_assert_eq!(graph(&canonical(&tokens), root), graph(&tokens, root));
        prop_assert_eq!(canonical(&changed) == canonical(&tokens), same);
    }
}
