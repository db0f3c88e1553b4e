//! The files under deploy/ say what the program's exit codes and signals mean. Checked by
//! systemd-analyze where there is one, and against the API of Kubernetes.

use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn file(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The types of the Kubernetes API (1.33) that a Job and a PersistentVolumeClaim are made of, by
/// name: JSON schemas without prose.
fn api() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/kubernetes-1.33.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What the API refuses in a value of this type, each with its path; unknown fields too, as with
/// `kubectl apply --validate=strict`.
fn refused(api: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return refused(api, &api[name], value, place);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices
            .iter()
            .any(|choice| refused(api, choice, value, place).is_empty());
        return if fits {
            Vec::new()
        } else {
            vec![format!("{place}: {value} is none of {choices:?}")]
        };
    }
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Null => "null",
    };
    if schema["type"] != kind
        || schema["enum"]
            .as_array()
            .is_some_and(|values| !values.contains(value))
    {
        return vec![format!("{place}: {value} is not {schema}")];
    }
    let mut found = Vec::new();
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(name).is_none() {
            found.push(format!("{place}.{name} is missing"));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match schema["properties"]
            .get(name)
            .or(schema.get("additionalProperties"))
        {
            Some(schema) => found.extend(refused(api, schema, value, &place)),
            None => found.push(format!("{place} is unknown")),
        }
    }
    for (index, value) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(refused(
            api,
            &schema["items"],
            value,
            &format!("{place}[{index}]"),
        ));
    }
    found
}

/// The claim and the Job.
fn manifests() -> (Value, Value) {
    let (_, text) = file("kubernetes-job.yaml");
    let documents: Vec<Value> = serde_norway::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    documents
        .try_into()
        .map(|[claim, job]: [Value; 2]| (claim, job))
        .expect("a claim and a job")
}

const CLAIM: &str = "io.k8s.api.core.v1.PersistentVolumeClaim";
const JOB: &str = "io.k8s.api.batch.v1.Job";

#[test]
fn the_unit_starts_again_after_a_crash_but_not_after_wrong_input() {
    let (path, text) = file("netwright.service");
    for line in [
        "Restart=on-failure",
        "SuccessExitStatus=130 143",
        "RestartPreventExitStatus=2",
        "ExecReload=/bin/kill -HUP $MAINPID",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is missing");
    }
    // What systemd itself says of it; the program need not be installed here.
    let unit = tempfile::tempdir().unwrap();
    let copy = unit.path().join("netwright.service");
    std::fs::write(
        &copy,
        text.replace("/usr/local/bin/netwright", env!("CARGO_BIN_EXE_netwright")),
    )
    .unwrap();
    if let Ok(output) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output()
    {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("netwright.service:"),
            "{}: {said}",
            path.display()
        );
    }
}

#[test]
fn the_job_and_its_claim_are_what_the_api_of_kubernetes_takes() {
    let (api, (claim, job)) = (api(), manifests());
    assert_eq!(
        refused(&api, &api[CLAIM], &claim, "claim"),
        Vec::<String>::new()
    );
    assert_eq!(refused(&api, &api[JOB], &job, "job"), Vec::<String>::new());
    for (place, name, planted, expected) in [
        (
            "/spec",
            "backofLimit",
            json!(3),
            "job.spec.backofLimit is unknown",
        ),
        (
            "/spec/template/spec/containers/0/livenessProbe/httpGet",
            "port",
            json!(true),
            "livenessProbe.httpGet.port: true is none of",
        ),
        (
            "/spec/template/spec/containers/0/ports/0",
            "containerPort",
            json!("9464"),
            "ports[0].containerPort: \"9464\" is not",
        ),
        (
            "/spec/template/spec",
            "containers",
            json!([{"image": "netwright"}]),
            "containers[0].name is missing",
        ),
        (
            "",
            "kind",
            json!("Deployment"),
            "job.kind: \"Deployment\" is not",
        ),
    ] {
        let mut broken = job.clone();
        broken.pointer_mut(place).unwrap()[name] = planted;
        let found = refused(&api, &api[JOB], &broken, "job");
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn the_job_ends_when_the_search_does_and_keeps_the_run_on_a_volume() {
    let (claim, job) = manifests();
    let (spec, pod) = (&job["spec"], &job["spec"]["template"]["spec"]);
    let container = &pod["containers"][0];
    assert_eq!(
        (&job["kind"], &spec["parallelism"], &spec["completions"]),
        (&json!("Job"), &json!(1), &json!(1))
    );
    assert_eq!(pod["restartPolicy"], "OnFailure");
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(
        pod["volumes"][0]["persistentVolumeClaim"]["claimName"],
        claim["metadata"]["name"]
    );
    assert_eq!(
        container["volumeMounts"][0],
        json!({"name": pod["volumes"][0]["name"], "mountPath": "/runs"})
    );
    let probe = &container["livenessProbe"]["httpGet"];
    assert_eq!(
        (&probe["path"], &probe["port"]),
        (&json!("/healthz"), &container["ports"][0]["name"])
    );
    let arguments: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(
        arguments[..3],
        ["search", "/config/search.toml", "--run-dir"]
    );
    assert!(arguments[3].starts_with("/runs/"), "{arguments:?}");
}
