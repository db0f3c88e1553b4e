//! What a key's value may be within its type: ranges and lengths, read from its schema. Must not
//! know any single key.

use serde_json::Value;

/// Is the value within what this schema allows? Types are not looked at.
pub fn hold(schema: &Value, value: &Value) -> bool {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let is_within = |number: f64| {
        limit("minimum").is_none_or(|limit| number >= limit)
            && limit("maximum").is_none_or(|limit| number <= limit)
            && limit("exclusiveMinimum").is_none_or(|limit| number > limit)
            && limit("exclusiveMaximum").is_none_or(|limit| number < limit)
            && schema["not"]["multipleOf"]
                .as_f64()
                .is_none_or(|divisor| number % divisor != 0.0)
    };
    let has_length = |length: usize, least: &str, most: &str| {
        limit(least).is_none_or(|limit| length as f64 >= limit)
            && limit(most).is_none_or(|limit| length as f64 <= limit)
    };
    match value {
        Value::Number(number) => number.as_f64().is_none_or(is_within),
        Value::String(text) => has_length(text.chars().count(), "minLength", "maxLength"),
        Value::Array(items) => {
            let is_repeated = |index: usize| {
                items[..index]
                    .iter()
                    .any(|earlier| *earlier == items[index])
            };
            has_length(items.len(), "minItems", "maxItems")
                && items.iter().all(|item| hold(&schema["items"], item))
                && (schema["uniqueItems"] != true || !(0..items.len()).any(is_repeated))
        }
        _ => true,
    }
}

/// What is valid, for a message: `must be 1 to 1000 layers, for example 3`. None: the type says all.
pub fn valid(schema: &Value) -> Option<String> {
    if let Some(valid) = schema["x-valid"].as_str() {
        return Some(valid.to_owned());
    }
    let list = if schema.get("minItems").is_some() {
        "list one or more different"
    } else {
        "be"
    };
    let range = if list == "be" {
        range(schema, schema["x-unit"].as_str())?
    } else {
        list_range(schema)
    };
    let examples = schema["examples"].as_array().map(|examples| {
        let examples: Vec<String> = examples.iter().map(written).collect();
        format!(", for example {}", examples.join(" or "))
    });
    let unset = match (schema.get("default"), schema["x-unset"].as_str()) {
        (_, Some(unset)) => format!(", or left out for {unset}"),
        (None, None) => ", or left out".into(),
        (Some(_), None) => String::new(),
    };
    Some(format!(
        "must {list} {range}{}{unset}",
        examples.unwrap_or_default()
    ))
}

/// The range alone: `1 to 1000`. None: it has none.
pub fn range(schema: &Value, unit: Option<&str>) -> Option<String> {
    let limit = |keyword: &str| schema.get(keyword).map(written);
    let unit = unit.map_or_else(String::new, |unit| format!(" {unit}"));
    let below = limit("exclusiveMaximum");
    Some(
        match (
            limit("minimum"),
            limit("maximum"),
            limit("exclusiveMinimum"),
            below,
        ) {
            (Some(least), Some(most), _, _) => format!("{least} to {most}{unit}"),
            (None, Some(most), None, _) => format!("0 to {most}{unit}"),
            (Some(least), None, _, Some(below)) => format!("from {least} to below {below}"),
            (_, Some(most), Some(above), _) => format!("above {above} to {most}{unit}"),
            (_, _, Some(above), Some(below)) => format!("above {above} and below {below}"),
            (_, _, Some(above), None) => format!("above {above}{unit}"),
            (Some(least), None, None, None) => format!("{least}{unit} or more"),
            (None, None, None, _) => return None,
        },
    )
}

/// Of the entries of a list: `strides from 1 to 8`.
fn list_range(schema: &Value) -> String {
    let unit = schema["x-unit"].as_str().unwrap_or("entries");
    let items = &schema["items"];
    match (items.get("minimum"), items.get("maximum")) {
        (Some(least), Some(most)) => format!("{unit} from {least} to {most}"),
        _ => unit.to_owned(),
    }
}

/// As TOML and JSON both write it, but for whole numbers: those have no `.0`.
pub fn written(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string().trim_end_matches(".0").to_owned(),
    }
}
