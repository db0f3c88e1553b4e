//! Reading settings: sources, strictness, round trips. What a user sees of it is in
//! tests/settings.rs.

mod declarations;

use super::*;
use crate::child::{EvaluatorKind, Goal, Schedule, StoppingRule};
use crate::data::{DataKind, Whitening, WhiteningOrder};
use crate::machine::DeviceUse;
use crate::space::{Allowed, DecisionSettings, LayerType, OptionValue, SkipConnections, SpaceKind};
use crate::strategy::StrategyName;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn read_with(text: &str, set: &[&str], environment: &[(&str, &str)]) -> Result<Settings, String> {
    let set: Vec<_> = set.iter().map(|argument| (*argument).to_owned()).collect();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_text(Path::new("s.toml"), text, &set, environment).map_err(|error| error.to_string())
}

fn read_text(text: &str) -> Result<Settings, String> {
    read_with(text, &[], &[])
}

fn set(argument: &str) -> Result<Settings, String> {
    read_with("", &[argument], &[])
}

/// Settings that have every key of any kind.
fn common() -> Settings {
    let mut settings = Settings::default();
    settings.run.dir = Some("elsewhere".into());
    settings.run.max_seconds = Some(60.0);
    let entry = crate::actors::EnqueueSettings::default();
    let list = vec![
        crate::space::Decision::Choice(1),
        crate::space::Decision::Skips(vec![]),
        crate::space::Decision::Skips(vec![1, 0]),
    ];
    settings.enqueue = vec![
        crate::actors::EnqueueSettings {
            architecture: Some("a.json".into()),
            ..entry.clone()
        },
        crate::actors::EnqueueSettings {
            name: Some("b".into()),
            decisions: Some(list),
            ..entry
        },
    ];
    settings.child.failed_reward = crate::child::FailedReward::Reward(0.5);
    settings.devices.lanes_per_device = Some(2);
    settings.restart.child_trainer.beyond = Some(crate::actors::Beyond::Isolate);
    settings.restart.controller.beyond = Some(crate::actors::Beyond::Stop);
    settings.restart.parameter_shard.beyond = Some(crate::actors::Beyond::Stop);
    settings.telemetry.listen = Some("off".into());
    settings
}

/// Every key of choices and of a table.
fn complete_choices() -> Settings {
    let mut settings = common();
    settings.space.kind = SpaceKind::Choices;
    let options = vec![OptionValue::Integer(1), OptionValue::Float(2.0)];
    let units = DecisionSettings {
        name: "units".into(),
        options: options.clone(),
        when: BTreeMap::new(),
    };
    let one = [("units".to_owned(), Allowed::One(OptionValue::Integer(1)))].into();
    let several = [("units".to_owned(), Allowed::Several(options.clone()))].into();
    let named = |name: &str, when| DecisionSettings {
        name: name.into(),
        options: options.clone(),
        when,
    };
    settings.space.decision = vec![units, named("one", one), named("several", several)];
    settings.child.evaluator = EvaluatorKind::Table;
    settings.child.table.path = "a \"table\".csv".into();
    settings.child.table.reward = vec!["accuracy".into()];
    settings.child.table.seconds = "seconds".into();
    settings.child.table.report = vec!["test".into()];
    settings
}

/// Every key of cells and of a text.
fn complete_cells() -> Settings {
    let mut settings = common();
    settings.space.kind = SpaceKind::Cell;
    settings.space.base = 4;
    settings.space.max_parameters = Some(1);
    settings.child = crate::child::ChildSettings::language_model();
    settings.child.failed_reward = crate::child::FailedReward::Skip;
    settings.child.max_seconds = Some(1.5);
    settings.child.hidden = Some(20);
    settings.data.kind = DataKind::Text;
    settings.data.path = Some("data".into());
    settings.data.train_size = Some(100);
    settings.data.validation_size = Some(10);
    settings.data.train_file = Some("a.txt".into());
    settings.data.validation_file = Some("b.txt".into());
    settings.data.vocabulary = Some(100);
    settings
}

/// Every key of convolutional networks and of images.
fn complete_conv() -> Settings {
    let mut settings = common();
    settings.space.layers_max = Some(12);
    settings.space.layer_types = vec![LayerType::Conv, LayerType::MaxPool, LayerType::Lcn];
    settings.space.pool_size = vec![2];
    settings.space.pool_stride = vec![1];
    settings.space.lcn_window = vec![5];
    settings.space.learning_rates = vec![0.1];
    settings.space.pool_after = vec![2];
    settings.space.block = 2;
    settings.space.widen = 40;
    settings.space.max_parameters = Some(1);
    settings.space.max_flops = Some(2);
    settings.early_stopping.rule = StoppingRule::Median;
    settings.early_stopping.warmup_epochs = 3;
    settings.data.kind = DataKind::ImageFolder;
    settings.data.path = Some("images".into());
    settings.data.size = Some(64);
    settings.data.upsample = 72;
    settings.data.whiten_order = Some(WhiteningOrder::Last);
    settings.child = crate::child::ChildSettings {
        failed_reward: settings.child.failed_reward,
        ..crate::child::ChildSettings::fast()
    };
    settings.data.flip = crate::data::Flip::Alternating;
    settings
}

/// Every key of convolutional networks and of a program.
fn complete_command() -> Settings {
    let mut settings = common();
    settings.child.evaluator = EvaluatorKind::Command;
    settings.child.command.argv = vec!["sh".into(), "train.sh".into()];
    settings.child.command.classes = 3;
    settings.child.max_seconds = Some(3.5);
    settings.early_stopping.rule = StoppingRule::Asha;
    settings.early_stopping.goal = Goal::Min;
    settings.early_stopping.reduction_factor = 3;
    settings
}

#[test]
fn every_word_of_the_table_is_a_value() {
    for key in keys::all() {
        let kind::Kind::OneOf(words) = &key.kind else {
            continue;
        };
        for word in words {
            let mut sources = [sources::set(&[format!("{}={word}", key.name)])];
            sources.iter_mut().for_each(check::check);
            merge::merge(&sources).unwrap_or_else(|error| panic!("{} = {word}: {error}", key.name));
        }
    }
}

#[test]
fn later_sources_win() {
    let file = "[child]\nepochs = 1\nbatch_size = 10\nmomentum = 0.5";
    let environment = [
        ("NETWRIGHT__CHILD__EPOCHS", "2"),
        ("NETWRIGHT__CHILD__BATCH_SIZE", "20"),
        ("OTHER", "x"),
        ("NETWRIGHT_LOG", "y"),
    ];
    let settings = read_with(file, &["child.epochs=3", "child.epochs=4"], &environment).unwrap();
    assert_eq!(
        (
            settings.child.epochs,
            settings.child.batch_size,
            settings.child.momentum
        ),
        (4, 20, 0.5)
    );
    // Lists are replaced, not mixed; nested tables keep their other keys.
    let file = "[space]\nfilters = [1, 2, 3]\n[child]\nevaluator = \"table\"\n[child.table]\npath = \"a.csv\"\nreward = [\"r\"]";
    let settings = read_with(
        file,
        &["space.filters=[36]"],
        &[("NETWRIGHT__CHILD__TABLE__PATH", "b.csv")],
    )
    .unwrap();
    assert_eq!(settings.space.filters, [36]);
    assert_eq!(
        (
            settings.child.table.path.as_str(),
            settings.child.table.reward.as_slice()
        ),
        ("b.csv", ["r".to_owned()].as_slice())
    );
}

#[test]
fn a_recipe_sets_defaults_that_single_keys_override() {
    let fast = set("child.recipe=fast").unwrap();
    assert_eq!(fast.child, crate::child::ChildSettings::fast());
    assert_eq!(fast.child.schedule, Schedule::Triangular);
    assert_eq!(fast.data.flip, crate::data::Flip::Alternating);
    let text = "[child]\nschedule = \"cosine\"\nlabel_smoothing = 0.0\n[data]\nflip = \"random\"\n";
    let own = read_with(text, &["child.recipe=fast"], &[]).unwrap();
    let expected = crate::child::ChildSettings {
        schedule: Schedule::Cosine,
        label_smoothing: 0.0,
        ..crate::child::ChildSettings::fast()
    };
    assert_eq!(own.child, expected);
    assert_eq!(own.data.flip, crate::data::Flip::Random);
    assert_eq!(read_text(&own.to_toml()).unwrap(), own);
    // What stands in a file of before means what it meant.
    assert_eq!(set("child.recipe=paper").unwrap(), Settings::default());
}

#[test]
fn text_keys_take_the_text_and_others_one_toml_value() {
    assert_eq!(set("run.name=3").unwrap().run.name, "3");
    assert_eq!(set("run.name='a b'").unwrap().run.name, "a b");
    assert_eq!(set("run.name=\"a=b\"").unwrap().run.name, "a=b");
    assert_eq!(set("run.name=\"a").unwrap().run.name, "\"a");
    assert_eq!(
        set("controller.strategy=random")
            .unwrap()
            .controller
            .strategy,
        StrategyName::RANDOM.into()
    );
    assert_eq!(
        set("space.skip_connections=all")
            .unwrap()
            .space
            .skip_connections,
        SkipConnections::All
    );
    assert_eq!(
        set("space.skip_connections=\"all\"")
            .unwrap()
            .space
            .skip_connections,
        SkipConnections::All
    );
    assert_eq!(
        set("space.skip_connections=false")
            .unwrap()
            .space
            .skip_connections,
        SkipConnections::None
    );
    assert_eq!(
        set("devices.use=auto").unwrap().devices.use_,
        DeviceUse::Auto
    );
    assert_eq!(
        set("devices.use=[\"cpu\"]").unwrap().devices.use_,
        DeviceUse::Listed(vec!["cpu".into()])
    );
    assert_eq!(set("run.seed=0x10").unwrap().run.seed, 16);
    assert_eq!(
        set("run.max_seconds=60").unwrap().run.max_seconds,
        Some(60.0)
    );
    assert_eq!(
        set("child.learning_rate=1e-2").unwrap().child.learning_rate,
        0.01
    );
    let decisions = "space.decision=[{ name = \"a\", options = [1, 2.0, \"x\", true] }]";
    let expected = [
        OptionValue::Integer(1),
        OptionValue::Float(2.0),
        OptionValue::Text("x".into()),
        OptionValue::Boolean(true),
    ];
    assert_eq!(
        read_with("", &["space.kind=choices", decisions], &[])
            .unwrap()
            .space
            .decision[0]
            .options,
        expected
    );
}

#[test]
fn nothing_is_converted_in_silence() {
    for (text, key) in [
        ("run.seed = 1.5", "run.seed"),
        ("run.seed = \"1\"", "run.seed"),
        ("run.seed = -1", "run.seed"),
        ("run.seed = true", "run.seed"),
        ("run.seed = 9223372036854775808", "run.seed"),
        ("controller.synchronous = \"yes\"", "controller.synchronous"),
        ("controller.synchronous = 1", "controller.synchronous"),
        ("child.momentum = \"0.9\"", "child.momentum"),
        ("child.learning_rate = nan", "child.learning_rate"),
        ("child.learning_rate = inf", "child.learning_rate"),
        ("run.name = 3", "run.name"),
        ("run.name = 2026-01-01", "run.name"),
        ("space.filters = 36", "space.filters"),
        ("space.filters = [36.0]", "space.filters"),
        (
            "space.skip_connections = \"some\"",
            "space.skip_connections",
        ),
        ("space.kind = \"tree\"", "space.kind"),
        ("child.evaluator = \"Train\"", "child.evaluator"),
        ("devices.use = \"cpu\"", "devices.use"),
        ("child.epochs.x = 1", "child.epochs"),
        ("space.decision = [1]", "space.decision"),
    ] {
        let error = read_text(&format!("\n{text}")).unwrap_err();
        assert!(
            error.starts_with(&format!("s.toml:2: {key} = ")) && error.contains("must be"),
            "{text}: {error}"
        );
    }
    for argument in [
        "run.seed=1.5",
        "run.seed=1 2",
        "run.seed=1\nx = 2",
        "controller.synchronous=yes",
        "child.epochs=",
        "child.epochs=three",
    ] {
        let error = set(argument).unwrap_err();
        assert!(
            error.starts_with("--set: ") && error.contains("must be"),
            "{argument}: {error}"
        );
    }
}

#[test]
fn every_unknown_key_is_named_with_its_source() {
    let file = "[child]\nepoch = 1\n[trainer]\nx = 1\ny = { z = 2 }\n[empty]\n";
    let environment = [("NETWRIGHT__CONTROLLER__REPLICA", "nonsense")];
    let error = read_with(
        file,
        &["space.filter=[1]", "child=3", "nothing"],
        &environment,
    )
    .unwrap_err();
    for part in [
        "8 problems",
        "s.toml:2: unknown key child.epoch; the nearest valid key is child.epochs",
        "s.toml:4: unknown key trainer.x;",
        "s.toml:5: unknown key trainer.y.z;",
        "s.toml:6: unknown key empty;",
        "environment variable NETWRIGHT__CONTROLLER__REPLICA: unknown key controller.replica; the nearest valid key is controller.replicas",
        "--set: unknown key space.filter; the nearest valid key is space.filters",
        "--set: child is a section; its keys are child.evaluator, child.recipe, child.epochs",
        "--set: nothing: must be KEY=VALUE",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn decisions_are_checked_one_by_one() {
    let head = "[space]\nkind = \"choices\"\n[[space.decision]]\nname = \"a\"\noptions = [1, 2]\n";
    let error = read_text(&format!(
        "{head}[[space.decision]]\nnam = \"b\"\noptions = [1, nan]\n"
    ))
    .unwrap_err();
    for part in [
        "s.toml:7: unknown key space.decision[2].nam;",
        "nearest valid key is space.decision[2].name",
        "options holds nan",
        "name must be there",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    assert_eq!(read_text(head).unwrap().space.decision.len(), 1);
}

#[test]
fn a_syntax_error_has_its_place() {
    let error = read_text("[run]\nseed = = 3\n").unwrap_err();
    assert!(error.starts_with("s.toml:2:8: not valid TOML: "), "{error}");
    let error = read_text("[run]\nseed = 3\nseed = 4\n").unwrap_err();
    assert!(
        error.starts_with("s.toml:3:1: not valid TOML: ") && error.contains("duplicate"),
        "{error}"
    );
}

#[test]
fn impossible_values_are_all_found_and_placed() {
    let file = "[controller]\nreplicas = 0\nchildren = 8\n[child]\nmomentum = 1.0\nschedule_steps = [0.5, 0.5]\nschedule = \"steps\"";
    let error = read_with(
        file,
        &["parameter_server.shards=0"],
        &[("NETWRIGHT__CHILD__LEARNING_RATE", "0")],
    )
    .unwrap_err();
    for part in [
        "5 problems",
        "s.toml:2: controller.replicas = 0: must be 1",
        "s.toml:5: child.momentum = 1.0: must be from 0 to below 1",
        "s.toml:6: child.schedule_steps = [0.5, 0.5]: must be ascending",
        "environment variable NETWRIGHT__CHILD__LEARNING_RATE: child.learning_rate = 0: must be above 0",
        "--set: parameter_server.shards = 0: must be 1",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let error = read_text("[data]\nkind = \"cifar10\"").unwrap_err();
    assert!(
        error.starts_with("s.toml: data.path: ") && error.contains("needs it"),
        "{error}"
    );
}

#[test]
fn the_run_directory_has_three_sources() {
    let mut settings = Settings::default();
    assert_eq!(settings.run_dir(None), Path::new("runs/search"));
    settings.run.dir = Some("elsewhere".into());
    assert_eq!(settings.run_dir(None), Path::new("elsewhere"));
    assert_eq!(settings.run_dir(Some(Path::new("here"))), Path::new("here"));
}

prop_compose! {
    fn sections()(
        seed in 0..=i64::MAX.unsigned_abs(),
        name in "[^/\\x00]{1,12}".prop_filter("a folder's name", |name| name != "." && name != ".."),
        numbers in prop::array::uniform4(f64::MIN_POSITIVE..1.0),
        trials in 1..1_000_000_000_u64,
        list in prop::collection::vec(1..32_usize, 1..5),
        optional in prop::option::of(1..100_usize),
        large in prop::option::of(f64::MIN_POSITIVE..1e300),
        skips in prop::sample::select(vec![SkipConnections::None, SkipConnections::Predicted, SkipConnections::All]),
        schedule in prop::sample::select(vec![Schedule::Constant, Schedule::Cosine, Schedule::Steps]),
        flag: bool,
    ) -> Settings {
        let mut settings = Settings::default();
        (settings.run.seed, settings.run.name, settings.run.trials, settings.run.max_seconds) = (seed, name, trials, large);
        (settings.controller.learning_rate, settings.controller.synchronous) = (Some(numbers[0]), flag);
        (settings.child.momentum, settings.child.schedule) = (numbers[2], schedule);
        // Where rates are decided for each network, this one has no effect and is refused.
        settings.child.learning_rate = if flag { settings.child.learning_rate } else { numbers[1] };
        if schedule == Schedule::Steps {
            settings.child.schedule_steps = vec![numbers[3]];
        }
        settings.space.skip_connections = skips;
        settings.space.learning_rates = if flag { vec![numbers[0], 2.0] } else { vec![] };
        (settings.space.layers, settings.space.block, settings.space.widen) = (if flag { 12 } else { 6 }, if flag { 3 } else { 1 }, trials as usize % 50);
        settings.space.pool_after = if flag { vec![4, 7] } else { vec![] };
        settings.space.max_parameters = flag.then_some(trials);
        if flag {
            settings.space.layer_types = vec![LayerType::BatchNorm, LayerType::AvgPool, LayerType::Conv];
            settings.space.pool_size = vec![3, 2];
        }
        settings.space.filters = list.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        settings.data.validation_size = optional;
        settings.data.whiten = if flag { Whitening::Channel } else { Whitening::Image };
        settings.devices.lanes_per_device = optional;
        settings
    }
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn resolved_settings_read_back_as_they_were(settings in sections()) {
        let text = settings.to_toml();
        prop_assert_eq!(read_text(&text).unwrap(), settings, "{}", text);
    }

    #[test]
    fn no_text_makes_reading_panic(text in "(?s).{0,80}", argument in "[a-z.]{0,10}=?.{0,12}") {
        let _ = read_with(&text, &[&argument], &[("NETWRIGHT__CHILD__EPOCHS", &text)]);
    }
}

#[test]
fn complete_settings_read_back_as_they_were() {
    for settings in [
        complete_choices(),
        complete_cells(),
        complete_conv(),
        complete_command(),
    ] {
        assert_eq!(read_text(&settings.to_toml()).unwrap(), settings);
    }
}
