"""Runs as TensorBoard and Optuna read them: every trial, epoch and decision must come back (`make test-peers`).

    python3 tests/scripts/trackers.py NETWRIGHT

Needs the versions of tensorboard and optuna that the Makefile names."""
import json, sqlite3, subprocess, sys, tempfile
from pathlib import Path

import optuna
from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

NETWRIGHT = str(Path(sys.argv[1]).resolve())
HEAD = '[telemetry]\nlisten = "off"\n[devices]\nuse = ["cpu"]\n'
SCRIPT = """for epoch in 1 2 3; do echo "{\\"epoch\\": $epoch, \\"train_loss\\": 2.$epoch, \\"metric\\": 0.$epoch}"; done
case "$(cat)" in *'"b":true'*) exit 3;; esac
echo '{"reward": 0.5}'
"""
SEARCHES = {
    "conv": HEAD + """[run]
trials = 5
[[enqueue]]
name = "mine"
architecture = "mine.json"
[space]
layers = 2
layers_step = 1
layers_every = 2
layers_max = 3
layer_types = ["conv", "max_pool"]
filters = [4, 6]
filter_height = [1, 3]
stride_height = [2]
stride_width = [2]
skip_connections = true
learning_rates = [0.1, 0.05]
[controller]
children = 2
[child]
epochs = 3
batch_size = 32
[data]
train_size = 200
validation_size = 50
""",
    "cell": HEAD + """[run]
trials = 3
[space]
kind = "cell"
base = 3
[controller]
children = 3
[child]
epochs = 2
hidden = 6
layers = 1
steps = 10
batch_size = 4
[data]
kind = "text"
path = "."
""",
    "choices": HEAD + """[run]
trials = 8
[space]
kind = "choices"
decision = [{ name = "a", options = [1, 2.5, "x"] }, { name = "b", options = [true, false] }]
[controller]
children = 4
[child]
evaluator = "command"
command.argv = ["sh", "train.sh"]
""",
    "table": HEAD + """[run]
trials = 6
[space]
kind = "choices"
decision = [{ name = "a", options = [1, 2] }, { name = "b", options = ["x", "y"], when = { a = 2 } }]
[controller]
children = 3
[child]
evaluator = "table"
table.path = "table.csv"
table.reward = ["reward"]
""",
}
MINE = {
    "version": 1, "kind": "conv", "image": {"channels": 3, "height": 32, "width": 32}, "classes": 10, "learning_rate": 0.1,
    "layers": [{"filter_height": 5, "filter_width": 5, "filters": 7, "stride_height": 4, "stride_width": 4, "inputs": [0]}], "output": [1],
}
STATES = {"queued": "WAITING", "stopped": "WAITING", "running": "RUNNING", "completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def netwright(folder, *arguments):
    command = [NETWRIGHT, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def searched(name):
    folder = Path(tempfile.mkdtemp())
    (folder / "search.toml").write_text(SEARCHES[name])
    (folder / "mine.json").write_text(json.dumps(MINE))
    (folder / "train.sh").write_text(SCRIPT)
    (folder / "table.csv").write_text("a,b,reward\n1,,0.5\n2,x,0.25\n2,y,0.75\n")
    for part, times in (("train", 60), ("valid", 10)):
        (folder / f"{part}.txt").write_text("cats see dogs\ndogs fear cats and sleep\n" * times)
    netwright(folder, "search", "search.toml", "--run-dir", "run")
    return folder


def recorded(folder):
    """Each trial's row and epochs, from the tables that are the user's to read."""
    connection = sqlite3.connect(f"file:{folder}/run/search.db?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    trials = {row["id"]: dict(row, epochs={}) for row in connection.execute("SELECT * FROM trials")}
    for row in connection.execute("SELECT * FROM epochs"):
        trials[row["trial"]]["epochs"][row["epoch"]] = dict(row)
    return trials


def studied(folder, trials):
    """The decisions of each trial, from Optuna."""
    print(netwright(folder, "export", "run", "--format", "optuna", "study.journal"), end="")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.journal")))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert len(study.trials) == len(trials)
    for trial in study.trials:
        row = trials[trial.number + 1]
        assert trial.user_attrs["trial"] == row["id"] and trial.state.name == STATES[row["status"]]
        completed = row["status"] == "completed"
        assert trial.value == (row["reward"] if completed else None)
        assert trial.intermediate_values == {epoch: of["metric"] for epoch, of in row["epochs"].items() if of["metric"] is not None}
        told = {of["epoch"]: of for of in trial.user_attrs["epochs"]}
        assert all(told[epoch][key] == of[key] for epoch, of in row["epochs"].items() for key in ("train_loss", "metric", "seconds"))
        assert trial.params.keys() == trial.distributions.keys()
        assert all(trial.params[name] in trial.distributions[name].choices for name in trial.params)
        assert trial.datetime_start and trial.datetime_complete >= trial.datetime_start
        assert trial.user_attrs["architecture"] == json.loads(row["architecture"])
    best = max((row for row in trials.values() if row["status"] == "completed"), key=lambda row: row["reward"])
    assert study.best_value == best["reward"]
    return {trial.number + 1: trial.params for trial in study.trials}


def agrees(architecture, params):
    """The decisions are those that made the architecture."""
    if architecture["kind"] == "choices":
        assert params == {name: value for name, value in architecture["values"].items()}
    elif architecture["kind"] == "cell":
        assert len(params) == 2 * 5 + 2 + 2 and params["cell index"] in range(5)
        combinations = sorted(params[f"node {node} combination"] for node in range(5))
        assert combinations == sorted(node["combination"] for node in architecture["nodes"])
    else:
        layers = architecture["layers"]
        kinds = sorted(params[f"layer {layer} type"] for layer in range(1, len(layers) + 1))
        assert kinds == sorted(layer.get("type") or "conv" for layer in layers)
        assert params["learning rate"] == architecture["learning_rate"]
        assert sum(" skip " in name for name in params) == len(layers) * (len(layers) - 1) // 2


def close(one, other):
    return abs(one - other) <= 1e-6 * max(1, abs(one))


def value(proto):
    kind = proto.WhichOneof("kind")
    return getattr(proto, kind)


def boarded(folder, trials, decided):
    """TensorBoard's event accumulator, and the two calls behind its page of hyper-parameters."""
    print(netwright(folder, "export", "run", "--format", "tensorboard", "events"), end="")
    for number, row in trials.items():
        run = event_accumulator.EventAccumulator(str(folder / "events" / f"trial-{number:06}"))
        run.Reload()
        for tag in ("train_loss", "metric", "seconds"):
            expected = {epoch: of[tag] for epoch, of in row["epochs"].items() if of[tag] is not None}
            assert (tag in run.Tags()["scalars"]) == bool(expected), (tag, expected)
            found = {event.step: event.value for event in (run.Scalars(tag) if expected else [])}
            assert found.keys() == expected.keys() and all(close(expected[epoch], found[epoch]) for epoch in expected), (found, expected)
    multiplexer = plugin_event_multiplexer.EventMultiplexer(tensor_size_guidance={"hparams": 0, "scalars": 0})
    multiplexer.AddRunsFromDirectory(str(folder / "events"))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder / "events"))
    backend = backend_context.Context(base_plugin.TBContext(logdir=str(folder / "events"), multiplexer=multiplexer, data_provider=provider))
    experiment = get_experiment.Handler(RequestContext(), backend, "", api_pb2.GetExperimentRequest()).run()
    names = {name for params in decided.values() for name in params}
    assert {info.name for info in experiment.hparam_infos} == names
    assert [info.name.tag for info in experiment.metric_infos] == ["reward", "metric", "train_loss", "seconds"]
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10000, col_params=[{"hparam": name, "include_in_result": True} for name in names])
    request.allowed_statuses.extend([api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING])
    answer = list_session_groups.Handler(RequestContext(), backend, "", request).run()
    groups = {int(group.name.removeprefix("trial-")): group for group in answer.session_groups}
    assert groups.keys() == trials.keys()
    status = {"completed": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE}
    for number, group in groups.items():
        row, found = trials[number], {name: value(proto) for name, proto in group.hparams.items()}
        texts = {info.name for info in experiment.hparam_infos if info.type == api_pb2.DATA_TYPE_STRING}
        expected = {name: str(of) if name in texts else of for name, of in decided[number].items()}
        assert found == expected, (found, expected)
        session = group.sessions[0]
        assert session.status == status[row["status"]] and session.end_time_secs >= session.start_time_secs > 0
        metrics = {metric.name.tag: metric.value for metric in session.metric_values}
        last = max(row["epochs"], default=None)
        assert row["reward"] is None or close(row["reward"], metrics["reward"])
        assert last is None or close(row["epochs"][last]["metric"], metrics["metric"])


for name in SEARCHES:
    folder = searched(name)
    trials = recorded(folder)
    decided = studied(folder, trials)
    for number, params in decided.items():
        row = trials[number]
        assert params or row["enqueued"]
        if params:
            agrees(json.loads(row["architecture"]), params)
    boarded(folder, trials, decided)
    states = sorted({row["status"] for row in trials.values()})
    epochs = sum(len(row["epochs"]) for row in trials.values())
    print(f"{name}: {len(trials)} trials ({', '.join(states)}), {epochs} epochs, {sum(map(len, decided.values()))} decisions read back by both")
