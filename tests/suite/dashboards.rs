//! The shipped dashboards, rules and provisioning, read as files: everything that Grafana would
//! silently show as an empty panel. What only a real Prometheus can tell is in `monitoring.rs`.

use netwright::child::RewardScale;
use netwright::telemetry::{Metrics, gpu_families};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Panel types of Grafana 11 (its core plugins).
const PANELS: &[&str] = &[
    "row",
    "timeseries",
    "stat",
    "gauge",
    "bargauge",
    "barchart",
    "piechart",
    "heatmap",
    "histogram",
    "table",
    "text",
    "state-timeline",
    "status-history",
    "trend",
    "xychart",
    "logs",
    "alertlist",
    "dashlist",
    "news",
    "nodeGraph",
    "candlestick",
    "canvas",
    "flamegraph",
    "geomap",
];

/// Units of Grafana 11 (@grafana/data, valueFormats/categories.ts) that the dashboard may use.
const UNITS: &[&str] = &[
    "none",
    "short",
    "percent",
    "percentunit",
    "sci",
    "bool",
    "string",
    "s",
    "ms",
    "µs",
    "ns",
    "m",
    "h",
    "d",
    "dtdurations",
    "dtdurationms",
    "hertz",
    "bytes",
    "decbytes",
    "kbytes",
    "mbytes",
    "gbytes",
    "binBps",
    "Bps",
    "bits",
    "ops",
    "cps",
    "reqps",
    "rps",
    "wps",
    "iops",
    "watt",
    "kwatt",
    "mwatt",
    "volt",
    "amp",
    "joule",
    "celsius",
    "kelvin",
    "fahrenheit",
    "rotrpm",
    "rothz",
    "dateTimeAsIso",
    "dateTimeFromNow",
];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

pub fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("grafana/netwright.json")).unwrap())
        .unwrap()
}

/// (panel's title, expression) of every query.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let panels = dashboard["panels"].as_array().unwrap();
    let queries = |panel: &Value| panel["targets"].as_array().cloned().unwrap_or_default();
    panels
        .iter()
        .flat_map(|panel| {
            queries(panel)
                .into_iter()
                .map(|target| (text(&panel["title"]), text(&target["expr"])))
        })
        .collect()
}

/// The names that recording rules give.
pub fn recorded() -> Vec<String> {
    let text = std::fs::read_to_string(folder().join("rules/recording.yml")).unwrap();
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("- record: ").map(str::to_owned))
        .collect()
}

/// Every series name that Prometheus can store for a search: the registry's, with the suffixes of
/// histograms, and those of recording rules.
fn known() -> BTreeSet<String> {
    let metrics = Metrics::new("t", RewardScale::Any).unwrap();
    metrics.lane("cpu-0", "cpu");
    let mut names: BTreeSet<String> = recorded()
        .into_iter()
        .chain(gpu_families().map(|name| format!("netwright_{name}")))
        .collect();
    for line in metrics.text().unwrap().lines() {
        let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        if kind == "histogram" {
            names.extend(["bucket", "sum", "count"].map(|suffix| format!("{name}_{suffix}")));
        } else {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The series that an expression of PromQL names: identifiers that are no function, no keyword and
/// no label.
fn series(expression: &str) -> Vec<String> {
    let mut names = Vec::new();
    let characters: Vec<char> = expression.chars().collect();
    let mut at = 0;
    let mut labels_follow = false;
    while at < characters.len() {
        let skip_to = |close: char| {
            characters[at..]
                .iter()
                .position(|character| *character == close)
                .map_or(characters.len(), |found| at + found + 1)
        };
        match characters[at] {
            '{' => at = skip_to('}'),
            '[' => at = skip_to(']'),
            '"' => {
                at += 1 + characters[at + 1..]
                    .iter()
                    .position(|character| *character == '"')
                    .map_or(characters.len(), |found| found + 1);
            }
            '(' if labels_follow => (at, labels_follow) = (skip_to(')'), false),
            character
                if character.is_ascii_alphabetic() || character == '_' || character == ':' =>
            {
                let word = |character: &&char| {
                    character.is_ascii_alphanumeric() || **character == '_' || **character == ':'
                };
                let name: String = characters[at..].iter().take_while(word).collect();
                at += name.len();
                let next = characters[at..]
                    .iter()
                    .find(|character| !character.is_whitespace());
                labels_follow = matches!(
                    name.as_str(),
                    "by" | "without" | "on" | "ignoring" | "group_left" | "group_right"
                );
                let keyword = labels_follow
                    || matches!(
                        name.as_str(),
                        "and" | "or" | "unless" | "bool" | "offset" | "Inf" | "NaN"
                    );
                if !keyword
                    && next != Some(&'(')
                    && !["sum", "avg", "max", "min", "count"].contains(&name.as_str())
                {
                    names.push(name);
                }
            }
            character if character.is_ascii_digit() => {
                at += characters[at..]
                    .iter()
                    .take_while(|character| character.is_ascii_alphanumeric() || **character == '.')
                    .count();
            }
            _ => at += 1,
        }
    }
    names
}

/// Every `datasource` and `unit` in a dashboard, wherever it stands.
fn walk(value: &Value, key: &str, found: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, inner)| {
            if name == key {
                found(inner);
            }
            walk(inner, key, found);
        }),
        Value::Array(array) => array.iter().for_each(|inner| walk(inner, key, found)),
        _ => {}
    }
}

/// Everything that is wrong with a dashboard.
fn problems(dashboard: &Value, known: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    let uid = dashboard["uid"].as_str().unwrap_or_default();
    if uid.is_empty() || uid.len() > 40 {
        problems.push(format!(
            "uid {uid:?}: stable, 1 to 40 characters, or every import makes another dashboard"
        ));
    }
    if dashboard["title"].as_str().unwrap_or_default().is_empty() {
        problems.push("no title".into());
    }
    if dashboard["schemaVersion"].as_u64().unwrap_or_default() < 39 {
        problems.push("schemaVersion is older than Grafana 11's".into());
    }
    let variables = dashboard["templating"]["list"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if !variables.iter().any(|variable| {
        variable["name"] == "datasource"
            && variable["type"] == "datasource"
            && variable["query"] == "prometheus"
    }) {
        problems.push("no template variable `datasource` of Prometheus".into());
    }
    walk(dashboard, "datasource", &mut |source| {
        if source["type"] != "prometheus" || source["uid"] != "${datasource}" {
            problems.push(format!("data source {source} is not ${{datasource}}"));
        }
    });
    walk(dashboard, "unit", &mut |unit| {
        if !unit.as_str().is_some_and(|unit| UNITS.contains(&unit)) {
            problems.push(format!("{unit} is no unit of Grafana"));
        }
    });
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    let mut ids = BTreeSet::new();
    for (index, panel) in panels.iter().enumerate() {
        let title = panel["title"].as_str().unwrap_or_default();
        if title.is_empty() {
            problems.push(format!("panel {index} has no title"));
        }
        let id = panel["id"].as_u64();
        if id.is_none_or(|id| id == 0 || !ids.insert(id)) {
            problems.push(format!(
                "{title}: its id {id:?} is missing or another panel's"
            ));
        }
        panel_problems(panel, title, &variables, known, &mut problems);
        for other in &panels[..index] {
            if overlap(&panel["gridPos"], &other["gridPos"]) {
                problems.push(format!("{title} lies over {}", other["title"]));
            }
        }
    }
    problems
}

fn panel_problems(
    panel: &Value,
    title: &str,
    variables: &[Value],
    known: &BTreeSet<String>,
    problems: &mut Vec<String>,
) {
    let kind = panel["type"].as_str().unwrap_or_default();
    if !PANELS.contains(&kind) {
        problems.push(format!("{title}: {kind:?} is no panel of Grafana"));
    }
    if kind == "row" {
        return;
    }
    if panel["datasource"].is_null() {
        problems.push(format!("{title}: no data source"));
    }
    let targets = panel["targets"].as_array().cloned().unwrap_or_default();
    if targets.is_empty() {
        problems.push(format!("{title}: no query"));
    }
    let mut references = BTreeSet::new();
    for target in &targets {
        let expression = target["expr"].as_str().unwrap_or_default();
        if expression.trim().is_empty() {
            problems.push(format!("{title}: an empty expression"));
        }
        if target["datasource"].is_null() || !references.insert(target["refId"].to_string()) {
            problems.push(format!(
                "{title}: a query without a data source or a refId of its own"
            ));
        }
        for name in series(expression)
            .iter()
            .filter(|name| !known.contains(*name))
        {
            problems.push(format!("{title}: there is no metric {name}"));
        }
        for variable in expression.split('$').skip(1) {
            let name: String = variable
                .chars()
                .take_while(|character| character.is_ascii_alphanumeric() || *character == '_')
                .collect();
            if name != "__rate_interval"
                && !variables
                    .iter()
                    .any(|variable| variable["name"] == name.as_str())
            {
                problems.push(format!("{title}: there is no variable ${name}"));
            }
        }
    }
    let position = |key: &str| panel["gridPos"][key].as_u64();
    let fits = matches!((position("x"), position("w"), position("h"), position("y")), (Some(x), Some(w), Some(h), Some(_)) if w > 0 && h > 0 && x + w <= 24);
    if !fits {
        problems.push(format!(
            "{title}: gridPos {} is beyond the 24 columns",
            panel["gridPos"]
        ));
    }
}

fn overlap(one: &Value, other: &Value) -> bool {
    let apart = |start: &str, length: &str| {
        let range = |position: &Value| {
            (
                position[start].as_u64().unwrap_or(0),
                position[start].as_u64().unwrap_or(0) + position[length].as_u64().unwrap_or(0),
            )
        };
        let ((from, to), (other_from, other_to)) = (range(one), range(other));
        to <= other_from || other_to <= from
    };
    !apart("x", "w") && !apart("y", "h")
}

#[test]
fn the_dashboard_is_sound_and_has_its_rows() {
    let dashboard = dashboard();
    let problems = problems(&dashboard, &known());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let rows: Vec<_> = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].clone())
        .collect();
    assert_eq!(
        rows,
        [
            "Search",
            "Throughput",
            "Devices",
            "Parameter server",
            "Health"
        ]
    );
    assert!(
        dashboard["panels"]
            .as_array()
            .unwrap()
            .iter()
            .any(|panel| panel["type"] == "heatmap")
    );
}

#[test]
fn a_planted_typo_of_each_kind_is_found() {
    let sound = dashboard();
    let known = known();
    let heatmap = sound["panels"]
        .as_array()
        .unwrap()
        .iter()
        .position(|panel| panel["type"] == "heatmap")
        .unwrap();
    let heatmap_unit = format!("/panels/{heatmap}/options/yAxis/unit");
    let damages: &[(&str, Value, &str)] = &[
        ("/uid", "".into(), "uid"),
        ("/title", "".into(), "no title"),
        ("/schemaVersion", 16.into(), "schemaVersion"),
        (
            "/templating/list/0/name",
            "source".into(),
            "no template variable `datasource`",
        ),
        (
            "/templating/list/1/datasource/uid",
            "P1809F7CD0C75ACF3".into(),
            "is not ${datasource}",
        ),
        (
            "/templating/list/1/name",
            "instanze".into(),
            "there is no variable $instance",
        ),
        (
            "/panels/1/datasource/uid",
            "prometheus".into(),
            "is not ${datasource}",
        ),
        ("/panels/1/datasource", Value::Null, "no data source"),
        (
            "/panels/2/targets/0/datasource/uid",
            "${source}".into(),
            "is not ${datasource}",
        ),
        (
            "/panels/2/targets/0/datasource/type",
            "loki".into(),
            "is not ${datasource}",
        ),
        ("/panels/5/targets/1/refId", "A".into(), "refId"),
        ("/panels/5/type", "timeserie".into(), "no panel of Grafana"),
        (
            "/panels/5/fieldConfig/defaults/unit",
            "percentunits".into(),
            "no unit of Grafana",
        ),
        (&heatmap_unit, "second".into(), "no unit of Grafana"),
        (
            "/panels/5/id",
            sound["panels"][4]["id"].clone(),
            "another panel's",
        ),
        ("/panels/5/title", "".into(), "has no title"),
        (
            "/panels/5/gridPos/y",
            sound["panels"][4]["gridPos"]["y"].clone(),
            "lies over",
        ),
        ("/panels/5/gridPos/w", 25.into(), "beyond the 24 columns"),
        (
            "/panels/5/targets/0/expr",
            " ".into(),
            "an empty expression",
        ),
        ("/panels/5/targets", Value::Array(Vec::new()), "no query"),
        (
            "/panels/5/targets/0/expr",
            "rate(netwright_rewards_sum[5m])".into(),
            "no metric netwright_rewards_sum",
        ),
        (
            "/panels/5/targets/0/expr",
            "sum by (le) (netwright_reward)".into(),
            "no metric netwright_reward",
        ),
        (
            "/panels/5/targets/0/expr",
            "up and on (job) process_resident_memory{a=\"b\"}".into(),
            "no metric process_resident_memory",
        ),
    ];
    for (pointer, value, expected) in damages {
        let mut damaged = sound.clone();
        *damaged
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        let found = problems(&damaged, &known);
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{pointer} = {value}: found only {found:?}"
        );
    }
}

#[test]
fn the_series_of_an_expression_are_found_among_functions_labels_and_numbers() {
    let expression = "histogram_quantile(0.99, sum by (instance, le) (rate(a_bucket{x=~\"b|c\"}[5m]))) / on (job) group_left (device) d:e and 1e9 > f";
    assert_eq!(series(expression), ["a_bucket", "d:e", "f"]);
}

/// Every metric that a rule names exists. (promtool checks the rules' syntax, in `monitoring.rs`.)
#[test]
fn rules_name_metrics_that_exist() {
    let known = known();
    for file in [
        "rules/recording.yml",
        "rules/alerts.yml",
        "rules/alerts_test.yml",
    ] {
        let text = std::fs::read_to_string(folder().join(file)).unwrap();
        let word = |character: char| {
            character.is_ascii_alphanumeric() || character == '_' || character == ':'
        };
        let names = text
            .split(|character| !word(character))
            .filter(|name| name.contains("netwright_"))
            .map(|name| name.trim_end_matches(':'));
        let unknown: Vec<_> = names.filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn what_compose_mounts_and_provisioning_names_is_there() {
    let compose = std::fs::read_to_string(folder().join("compose.yaml")).unwrap();
    let mounted: Vec<&str> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split(':').next())
        .collect();
    assert!(mounted.len() >= 4, "{mounted:?}");
    for path in mounted {
        assert!(folder().join(path).exists(), "{path}");
    }
    // Containers must reach a search that listens on loopback.
    assert_eq!(
        compose.matches("network_mode: host").count(),
        compose.matches("image: ").count()
    );
    let provider =
        std::fs::read_to_string(folder().join("grafana/provisioning/dashboards/netwright.yml"))
            .unwrap();
    let path = provider
        .lines()
        .find_map(|line| line.trim().strip_prefix("path: "))
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert!(
        compose.contains(&format!(":{path}/netwright.json:ro")),
        "{path}"
    );
    let source =
        std::fs::read_to_string(folder().join("grafana/provisioning/datasources/prometheus.yml"))
            .unwrap();
    assert!(
        source.contains("http://127.0.0.1:9090")
            && compose.contains("--web.listen-address=127.0.0.1:9090")
    );
}
