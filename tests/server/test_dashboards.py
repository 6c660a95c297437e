"""deploy/monitoring: every series and label that the dashboard and the alerts name is on /metrics."""
import json
import re

import pytest

import example_models
from tern_server import BUILD, ROOT, parse_metrics

pytestmark = pytest.mark.example
FOLDER = ROOT / "deploy" / "monitoring"
PLUGINS = BUILD / "tests" / "server"  # actor_handler
NAME = r"\b((?:tern|process)_[a-z0-9_]+)"
# Added by Prometheus, or by a quantile.
FOREIGN = {"instance", "job", "le"}


def dashboard_queries():
    board = json.loads((FOLDER / "tern-dashboard.json").read_text(encoding="utf-8"))
    ids = [p["id"] for p in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]


def alert_queries():
    text = (FOLDER / "tern-alerts.yml").read_text(encoding="utf-8")
    found = re.findall(r"expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", text)
    assert len(found) == text.count("- alert:")
    return [block or line for block, line in found]


@pytest.fixture(scope="module")
def page(start_shared, tmp_path_factory):
    """Of a server on which everything that is counted has happened."""
    models = tmp_path_factory.mktemp("models")
    folders = [example_models.write(models / "m"), example_models.write(models / "bad", body="no such word\n")]
    (folders[0] / "1" / "assets.extra").mkdir()
    (folders[0] / "1" / "assets.extra" / "tern.json").write_text('{"handler": "actor_handler", "handler_isolation": "process"}')
    config = models / "models.config"
    config.write_text("model_config_list {" + "".join(
        f'config {{ name: "{f.name}" base_path: "{f}" model_platform: "tensorflow" }}' for f in folders) + "}")
    server = start_shared(f"--model_config_file={config}", "--engine=example", "--batching=auto", "--inline_run_us=0",
                          f"--handler_path={PLUGINS}", "--access_log=json", f"--access_log_file={models / 'access.log'}", "--max_num_load_retries=0")
    for name in ("m", "nobody"):
        server.predict(name, {"instances": [1.0]})
    server.until(lambda: server.metric("tern_calls_total") == 1 and server.metric("tern_models_failed") == 1, "all was counted")
    samples, types = parse_metrics(server.get("/metrics").text)
    labels = {}
    for name, found, _ in samples:
        labels.setdefault(name, set()).update(found)
    return labels


@pytest.mark.parametrize("query", [*dashboard_queries(), *alert_queries()])
def test_series_and_labels_exist(page, query):
    plain = re.sub(r"label_values\((.*), (\w+)\)", r"sum by (\2) (\1)", query)
    names = re.findall(NAME, plain)
    assert names, query
    for name in names:
        assert name in page, f"{name} is not on the page: {query}"
    for name, matchers in re.findall(NAME + r"\{([^}]*)\}", plain):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers):
            assert label in page[name] | FOREIGN, f"{name} has no label {label}: {query}"
    every = set().union(*(page[n] for n in names)) | FOREIGN
    for group in re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", plain):
        assert {x.strip() for x in group.split(",")} <= every, query
