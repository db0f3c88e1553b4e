//! The declarations on the fields: what is read from them is what this program has always done, and
//! the files that are made from them are current.

use super::*;
use serde_json::{Value, json};

fn name_list(text: &str) -> BTreeSet<&str> {
    text.split_whitespace().collect()
}

fn all_names(has: impl Fn(&keys::Key) -> bool) -> BTreeSet<&'static str> {
    keys::all()
        .iter()
        .filter(|key| has(key))
        .map(|key| key.name.as_str())
        .collect()
}

#[test]
fn every_field_is_a_key_with_a_line_on_what_it_does() {
    let mut fields = serde_json::Map::new();
    let settings = serde_json::to_value(Settings::default()).unwrap();
    resolved::flatten("", settings, &mut fields);
    let fields: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(all_names(|_| true), fields);
    assert_eq!(keys::all().len(), fields.len(), "a key is there twice");
    for key in keys::all() {
        assert!(!key.doc().is_empty(), "{}", key.name);
        for condition in &key.conditions {
            let other = keys::find(&condition.key).unwrap();
            for value in &condition.values {
                let value = toml::Value::try_from(value).unwrap();
                let fits = match &other.kind {
                    kind::Kind::List(items) => items.fits(&value),
                    kind => kind.fits(&value),
                };
                assert!(fits, "{}: {condition:?}", key.name);
            }
        }
    }
}

#[test]
fn every_default_is_valid() {
    for key in keys::all() {
        let own = key.schema.as_object().unwrap().iter();
        let defaults = own.filter(|(keyword, _)| keyword.contains("default"));
        for (keyword, default) in defaults {
            let value = toml::Value::try_from(default).unwrap();
            assert!(key.kind.fits(&value), "{}: {keyword}", key.name);
            assert!(limits::hold(key.schema, default), "{}: {keyword}", key.name);
        }
    }
}

#[test]
fn what_a_running_search_takes_over_is_declared() {
    let live = name_list(
        "run.trials run.max_seconds run.confirm controller.replicas controller.children
         controller.learning_rate controller.baseline_decay controller.entropy_weight
         controller.entropy_half_life controller.ppo_epochs controller.ppo_clip
         controller.strategy data.augment data.flip data.upsample data.whiten telemetry.listen",
    );
    let is_expected = |key: &str| {
        let of_section = [
            "parameter_server.",
            "child.",
            "early_stopping.",
            "devices.",
            "restart.",
        ];
        let at_start = ["child.table.", "child.command."];
        live.contains(key)
            || of_section.iter().any(|section| key.starts_with(section))
                && !at_start.iter().any(|section| key.starts_with(section))
    };
    assert_eq!(
        all_names(|key| is_live(&key.name)),
        all_names(|key| is_expected(&key.name))
    );
}

/// The identities that the version before these declarations stored.
#[test]
fn a_runs_identity_stays() {
    let space = json!({
        "space.kind": "conv", "space.layers": 6, "space.layers_step": 0, "space.layers_every": 1600,
        "space.filter_height": [1, 3, 5, 7], "space.filter_width": [1, 3, 5, 7],
        "space.filters": [24, 36, 48, 64], "space.stride_height": [1], "space.stride_width": [1],
        "space.skip_connections": true, "space.base": 8,
        "space.combinations": ["add", "elem_mult"],
        "space.activations": ["identity", "tanh", "sigmoid", "relu"],
        "run.seed": 1, "controller.hidden": 35, "controller.layers": 2,
        "controller.init_scale": 0.08,
    });
    let with = |settings: &Settings, own: Value| {
        let mut expected = space.clone();
        for (key, value) in own.as_object().unwrap() {
            expected[key] = value.clone();
        }
        assert_eq!(settings.identity(), expected);
    };
    let trained = json!({
        "child.evaluator": "train", "child.reward_exponent": 3.0, "child.reward_window": 5,
        "data.kind": "builtin", "data.train_size": null, "data.validation_size": null,
        "data.whiten_order": null,
    });
    with(&Settings::default(), trained);
    let conv = json!({
        "child.evaluator": "train", "child.reward_exponent": 3.0, "child.reward_window": 5,
        "data.kind": "image-folder", "data.size": 64, "data.train_size": null,
        "data.validation_size": null, "space.layers_max": 12,
        "space.layer_types": ["conv", "max_pool", "lcn"], "space.pool_size": [2],
        "space.pool_stride": [1], "space.lcn_window": [5], "space.learning_rates": [0.1],
        "data.whiten_order": "last", "space.block": 2, "space.pool_after": [2], "space.widen": 40, "space.max_parameters": 1,
        "space.max_flops": 2,
    });
    with(&complete_conv(), conv);
    let cells = json!({
        "child.evaluator": "train", "child.reward_constant": 80.0, "child.reward_exponent": 2.0,
        "child.reward_window": 5, "data.kind": "text", "data.train_size": 100,
        "data.validation_size": 10, "space.kind": "cell", "space.base": 4,
        "space.max_parameters": 1,
    });
    with(&complete_cells(), cells);
    let command = json!({
        "child.evaluator": "command", "child.command.image": [3, 32, 32],
        "child.command.classes": 3,
    });
    with(&complete_command(), command);
    let choices = json!({
        "child.evaluator": "table", "child.table.reward": ["accuracy"], "space.kind": "choices",
        "space.decision": [
            { "name": "units", "options": [1, 2.0] },
            { "name": "one", "options": [1, 2.0], "when": { "units": 1 } },
            { "name": "several", "options": [1, 2.0], "when": { "units": [1, 2.0] } },
        ],
    });
    with(&complete_choices(), choices);
}

#[test]
fn a_key_that_does_not_apply_is_refused_with_its_default_too() {
    let cells = "[space]\nkind = \"cell\"\n[data]\nkind = \"text\"\npath = \"x\"\n";
    let choices = "[[space.decision]]\nname = \"a\"\noptions = [1, 2]\n[space]\nkind = \"choices\"\n\
                   [child]\nevaluator = \"table\"\ntable = { path = \"t\", reward = [\"r\"] }\n";
    for (text, set, reason) in [
        ("", "space.base=8", "space.kind = \"cell\" alone"),
        ("", "child.clip_norm=5.0", "space.kind = \"cell\" alone"),
        ("", "child.table.path=", "child.evaluator = \"table\" alone"),
        (
            "",
            "child.command.classes=10",
            "child.evaluator = \"command\" alone",
        ),
        (
            "",
            "child.schedule_after=6",
            "child.schedule = \"decay\" alone",
        ),
        (
            "",
            "child.schedule_steps=[0.5]",
            "child.schedule = \"steps\" alone",
        ),
        (
            "",
            "child.schedule_factor=0.1",
            "has no effect with child.schedule = \"constant\": set child.schedule = \"steps\" or \"decay\"",
        ),
        (
            "controller.strategy = \"evolution\"",
            "controller.learning_rate=0.01",
            "has no effect with controller.strategy = \"evolution\"",
        ),
        (
            "controller.strategy = \"random\"",
            "parameter_server.accumulate=2",
            "has no effect with controller.strategy = \"random\"",
        ),
        (
            "controller.strategy = \"reinforce\"",
            "controller.ppo_clip=0.3",
            "\"auto\" or \"ppo\" or \"guided\"",
        ),
        (
            "space.kind = \"cell\"\ndata = { kind = \"text\", path = \"x\" }\nchild.hidden = 8",
            "child.parameters=9000",
            "has no effect beside child.hidden: leave one of them out",
        ),
        ("", "data.unit=word", "data.kind = \"text\" alone"),
        (
            "",
            "data.path=images",
            "has no effect with data.kind = \"builtin\"",
        ),
        (
            "",
            "space.pool_size=[2, 3]",
            "\"max_pool\" or \"avg_pool\" in space.layer_types alone",
        ),
        (
            "space.learning_rates = [0.1, 0.2]",
            "child.learning_rate=0.1",
            "beside space.learning_rates",
        ),
        (
            choices,
            "child.reward_exponent=2",
            "child.evaluator = \"train\" alone",
        ),
        (cells, "space.layers=6", "space.kind = \"conv\" alone"),
        (
            cells,
            "data.augment=true",
            "has no effect with data.kind = \"text\"",
        ),
        (cells, "child.recipe=fast", "space.kind = \"conv\" alone"),
        (
            cells,
            "child.label_smoothing=0.1",
            "space.kind = \"conv\" alone",
        ),
        (
            choices,
            "child.recipe=fast",
            "child.evaluator = \"train\" alone",
        ),
        (
            "data.augment = false",
            "data.flip=alternating",
            "data.augment = true alone",
        ),
        (
            "",
            "child.schedule_warm_up=0.1",
            "child.schedule = \"triangular\" alone",
        ),
        (
            choices,
            "space.max_flops=9",
            "has no effect with space.kind = \"choices\"",
        ),
        (
            choices,
            "child.epochs=50",
            "child.evaluator = \"train\" alone",
        ),
        (
            choices,
            "data.kind=builtin",
            "child.evaluator = \"train\" alone",
        ),
    ] {
        read_text(text).unwrap();
        let error = read_with(text, &[set], &[]).unwrap_err();
        assert!(
            error.starts_with("--set: ") && error.contains(reason),
            "{set}: {error}"
        );
    }
}

#[test]
fn what_a_key_may_be_is_found() {
    for (text, keys) in [
        ("filters = []", ["filters"].as_slice()),
        (
            "filter_height = [3, 4]\nstride_width = [0]",
            &["filter_height", "stride_width"],
        ),
        ("layers = 0\nlayers_every = 0", &["layers", "layers_every"]),
        ("layer_types = []", &["layer_types"]),
        ("layer_types = [\"conv\", \"conv\"]", &["layer_types"]),
        (
            "layer_types = [\"max_pool\", \"lcn\"]\npool_size = [1]\npool_stride = [0]\nlcn_window = [4]",
            &["pool_size", "pool_stride", "lcn_window"],
        ),
        ("layer_types = [\"max_pool\"]\nwiden = 4", &["widen"]),
        ("learning_rates = [0.1, -0.1]", &["learning_rates"]),
        ("learning_rates = [0.1, 0.1]", &["learning_rates"]),
        (
            "max_parameters = 0\nmax_flops = 0",
            &["max_parameters", "max_flops"],
        ),
        ("base = 1", &["base"]),
    ] {
        let error = read_text(&format!("[space]\n{text}")).unwrap_err();
        assert_eq!(
            error.matches("s.toml:").count(),
            keys.len(),
            "{text}: {error}"
        );
        for key in keys {
            assert!(
                error.contains(&format!(": space.{key} = ")),
                "{text}: {error}"
            );
        }
    }
    let cell = "kind = \"cell\"\nbase = 65\ncombinations = []\nactivations = [\"sin\", \"sin\"]";
    let error = read_text(&format!(
        "[space]\n{cell}\n[data]\nkind = \"text\"\npath = \"x\""
    ))
    .unwrap_err();
    for valid in [
        "must be 2 to 64 leaves, for example 8",
        "must list one or more different combinations: \"add\"",
        "must list one or more different activations: \"identity\"",
    ] {
        assert!(error.contains(valid), "{error}");
    }
    let error = read_text("restart.parameter_shard.freeze_seconds = 0").unwrap_err();
    assert!(
        error.ends_with("must be 1 second or more, for example 600"),
        "{error}"
    );
}

/// The keywords that `limits` reads mean what they mean in JSON Schema.
#[test]
fn limits_are_those_of_the_json_schema() {
    let numbers = [
        -1.0, 0.0, 0.25, 1.0, 2.0, 3.0, 4.0, 64.0, 65.0, 1000.0, 1001.0, 1e13,
    ];
    let mut values: Vec<Value> = vec!["".into(), "text".into(), json!([])];
    for number in numbers {
        values.push(json!(number));
        values.push(json!([number]));
        values.push(json!([number, number]));
        values.push(json!([number, 5.0, 7.0]));
    }
    let whole: Vec<Value> = (-1..70).map(Value::from).collect();
    values.extend(whole.iter().map(|number| json!([number, 3])));
    values.extend(whole);
    let mut compared = 0;
    for key in keys::all() {
        let validator = jsonschema::draft7::new(key.schema).unwrap();
        for value in &values {
            if key.kind.fits(&toml::Value::try_from(value).unwrap()) {
                let holds = limits::hold(key.schema, value);
                assert_eq!(holds, validator.is_valid(value), "{} = {value}", key.name);
                compared += 1;
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn the_schema_accepts_the_shipped_configs_and_refuses_what_check_refuses() {
    let validator = jsonschema::draft7::new(schema()).unwrap();
    let of = |text: &str| -> Value {
        let table: toml::Table = text.parse().unwrap();
        serde_json::to_value(table).unwrap()
    };
    let mut configs = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("config")).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let config = of(&std::fs::read_to_string(&path).unwrap());
            let errors: Vec<String> = validator
                .iter_errors(&config)
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            configs += 1;
        }
    }
    assert!(configs >= 10, "{configs}");
    for settings in [
        complete_choices(),
        complete_cells(),
        complete_conv(),
        complete_command(),
    ] {
        assert!(validator.is_valid(&of(&settings.to_toml())));
    }
    for text in [
        "run.seed = -1",
        "run.sed = 1",
        "run.name = 3",
        "child.momentum = 1.0",
        "child.failed_reward = \"none\"",
        "space.filters = [24, 24]",
        "space.filter_width = [2]",
        "space.skip_connections = \"some\"",
        "devices.use = \"cpu\"",
        "enqueue = [{ file = \"a.json\" }]",
    ] {
        assert!(!validator.is_valid(&of(text)), "{text}");
        assert!(read_text(text).is_err(), "{text}");
    }
}

#[test]
fn the_reference_is_current() {
    let committed = include_str!("../../../docs/configuration.md");
    assert!(
        committed == reference(),
        "netwright schema --markdown > docs/configuration.md writes it again"
    );
}
