"""Models that change while serving: HandleReloadConfigRequest, the polled file, readiness, and the end meanwhile.

On the example engine. A load that must not be waited for takes longer (example_models.STUCK_MS) than a test may last.
"""
import os
import threading

import pytest

import example_models
from tern_server import PATIENCE, run_together

tern_grpc = pytest.importorskip("tern_grpc")
grpc = tern_grpc.grpc
from tensorflow_serving.apis import model_management_pb2  # noqa: E402, needs what tern_grpc needs

pytestmark = pytest.mark.example
ASK = {"instances": [2.0]}
NEVER = f"sleep {example_models.STUCK_MS}\n"
SLOW = "sleep 1500\n"
FOREVER = ["--reload_absent_ms=600000"]


def request_of(models, **more):
    """models: [(name, folder)] or [(name, folder, {field: value})]."""
    request = model_management_pb2.ReloadConfigRequest(**more)
    request.config.model_config_list.SetInParent()
    for name, folder, *rest in models:
        config = request.config.model_config_list.config.add(name=name, base_path=str(folder), model_platform="tensorflow")
        for field, value in (rest[0] if rest else {}).items():
            if field == "labels":
                config.version_labels.update(value)
            elif field == "all":
                config.model_version_policy.all.SetInParent()
            elif field == "specific":
                config.model_version_policy.specific.SetInParent()
                config.model_version_policy.specific.versions.extend(value)
            elif field == "latest":
                config.model_version_policy.latest.num_versions = value
            else:
                setattr(config, field, value)
    return request


def text_of(models):
    return str(request_of(models).config)


class Reloader(tern_grpc.Client):
    def reload(self, *models, timeout=PATIENCE, **more):
        return self.model.HandleReloadConfigRequest(request_of(models, **more), timeout=timeout)

    def begin(self, *models, timeout=PATIENCE):
        return self.model.HandleReloadConfigRequest.future(request_of(models), timeout=timeout)

    def seen(self, server, name, *models):
        """begin(), and waits until the model of that name is listed: calls that are begun together come in any order."""
        call = self.begin(*models)
        server.until(lambda: f'"{name}"'.encode() in server.get("/v1/models").body, f"the change with {name} was there")
        return call

    def refused(self, *models, **more):
        """-> "CODE: text" of the error."""
        with pytest.raises(grpc.RpcError) as error:
            self.reload(*models, **more)
        return f"{error.value.code().name}: {error.value.details()}"


@pytest.fixture
def m(tmp_path):
    return example_models.write(tmp_path / "m")


@pytest.fixture
def flags(m):
    return ["--model_name=m", f"--model_base_path={m}", "--engine=example", "--max_num_load_retries=0", "--drain_timeout_ms=2000"]


def served(server, model="m", **more):
    answer = server.predict(model, ASK, **more)
    return answer.json()["predictions"][0] if answer.status == 200 else answer.status


def labelled(server, label, model="m"):
    answer = server.post(f"/v1/models/{model}/labels/{label}:predict", ASK)
    return answer.json()["predictions"][0] if answer.status == 200 else answer.status


def states(server, model="m"):
    found = server.get(f"/v1/models/{model}")
    return {s["version"]: s["state"] for s in found.json()["model_version_status"]} if found.status == 200 else {}


# ---- HandleReloadConfigRequest ----

def test_add_remove_all(start, flags, m, tmp_path):
    other = example_models.write(tmp_path / "other", 7, addend=5)
    server = start(*flags)
    with Reloader(server.grpc) as c:
        answer = c.reload(("m", m), ("other", other))
        assert answer.status.error_code == 0 and answer.status.error_message == "" and not answer.metric
        assert served(server) == 3.0 and served(server, "other") == 6.0
        c.reload(("other", other))
        assert served(server) == 404 and served(server, "other") == 6.0
        server.until(lambda: states(server) == {"1": "END"}, "the removed model was unloaded")
        c.reload(("m", m), ("other", other))
        assert served(server) == 3.0
        c.reload()
        server.until(lambda: states(server) == {"1": "END"} and states(server, "other") == {"7": "END"}, "all were unloaded")
        assert server.get("/readyz").status == 503
        answer = c.reload(("m", m), metric_names=["b", "/a", "b"])
        assert [(x.name, x.int64_value_increase) for x in answer.metric] == [("/a", 0), ("b", 0)]


def test_errors_change_nothing(start, flags, m, tmp_path):
    server = start(*flags)
    with Reloader(server.grpc) as c:
        assert c.refused(("m", m), ("m", m)) == "INVALID_ARGUMENT: Illegal to list model m multiple times in config list"
        assert c.refused(("m", "rel")) == (
            "INVALID_ARGUMENT: Expected model m to have an absolute path or URI; got base_path()=rel")
        assert c.refused(("m", m, {"model_platform": "other"})) == (
            "INVALID_ARGUMENT: Illegal to change a model's platform. For model m platform was tensorflow and new platform "
            "requested is other")
        assert c.refused(("n", m, {"model_platform": "other"})) == "INVALID_ARGUMENT: Model n requests unsupported platform other"
        assert c.refused(("n", m, {"model_type": 1})) == (
            "INVALID_ARGUMENT: Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is n")
        assert c.refused(("n", m, {"labels": {"l": 1}})) == (
            "FAILED_PRECONDITION: Request to assign label to version 1 of model n, which is not currently available for inference")
        with pytest.raises(grpc.RpcError) as error:
            c.raw("/tensorflow.serving.ModelService/HandleReloadConfigRequest", b"")
        assert error.value.details() == (
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported")
        for broken in (b"\x0a", b"\x0a\x05\x0a\x03\x0a\xff\x01", b"\xff" * 40):
            with pytest.raises(grpc.RpcError) as error:
                c.raw("/tensorflow.serving.ModelService/HandleReloadConfigRequest", broken)
            assert error.value.code() is grpc.StatusCode.INTERNAL
        assert served(server) == 3.0 and served(server, "n") == 404
        # What was refused is not remembered either.
        c.reload(("m", m), ("n", m))
        assert served(server, "n") == 3.0


def test_broken_model(start, flags, m, tmp_path):
    """It is told, and the good one of the same request is served."""
    bad, good = example_models.write(tmp_path / "bad", body="fail 15 broken on purpose\n"), example_models.write(tmp_path / "good")
    server = start(*flags)
    with Reloader(server.grpc) as c:
        assert c.refused(("m", m), ("bad", bad), ("good", good)) == (
            "UNKNOWN: 1 model(s) did not become available: {{{name: bad version: 1} due to error: DATA_LOSS: broken on purpose}, }")
        assert served(server, "good") == 3.0 and served(server) == 3.0
        example_models.write(bad, 2)
        server.until(lambda: served(server, "bad") == 3.0, "the mended model was served")


def test_waits_without_a_thread_or_loop(start, flags, m, tmp_path):
    """While many reloads wait for a slow load, the only loop answers, and models change all the same."""
    slow = example_models.write(tmp_path / "slow", body=SLOW + example_models.text())
    more = example_models.write(tmp_path / "more")
    server = start(*flags, "--num_loops=1", *FOREVER)
    with Reloader(server.grpc) as c:
        missing = [(f"x{i}", tmp_path / "missing") for i in range(20)]
        waiting = [c.seen(server, f"x{i}", ("m", m), ("slow", slow), *missing[:i + 1]) for i in range(20)]
        server.until(lambda: states(server, "slow") == {"1": "LOADING"}, "the load ran")
        assert served(server) == 3.0
        assert not any(w.done() for w in waiting)
        c.reload(("m", m), ("slow", slow), ("more", more))
        assert served(server, "more") == 3.0
        server.until(lambda: states(server, "slow") == {"1": "AVAILABLE"}, "the slow model was loaded")
        told = [error.details() for error in run_together([w.exception for w in waiting])]
        assert told[0] == "1 model(s) did not become available: {{{name: x0} was removed by a later configuration}, }"


def test_what_never_comes(start, flags, m, tmp_path):
    """No version to be found: an error in time that says why; still watched; the next reload does not wait for it."""
    empty = tmp_path / "empty"
    empty.mkdir()
    server = start(*flags, "--reload_absent_ms=100")
    with Reloader(server.grpc) as c:
        told = c.refused(("m", m), ("empty", empty), ("missing", tmp_path / "missing"), ("none", m, {"specific": []}))
        assert told.startswith("DEADLINE_EXCEEDED: 3 model(s) did not become available in time, and are still tried: {"), told
        assert f"{{{{name: empty}} no folder named by a number, such as 1, under {empty}}}" in told
        assert f"{{{{name: missing}} base path cannot be read: {tmp_path / 'missing'}: No such file or directory}}" in told
        assert "{{name: none} has none of the versions that its configuration asks for}" in told
        assert served(server) == 3.0
        example_models.write(tmp_path / "missing", 3)
        server.until(lambda: served(server, "missing") == 3.0, "the model that came later was served")
        c.reload(("m", m))


def test_reload_timeout(start, flags, m, tmp_path):
    stuck = example_models.write(tmp_path / "stuck", body=NEVER + example_models.text())
    server = start(*flags, "--reload_timeout_ms=100")
    with Reloader(server.grpc) as c:
        assert c.refused(("m", m), ("stuck", stuck)) == (
            "DEADLINE_EXCEEDED: 1 model(s) did not become available in time, and are still tried: "
            "{{{name: stuck} is still being loaded}, }")
        assert served(server) == 3.0


def test_clients_that_leave(start, flags, m, tmp_path):
    """A deadline or a cancelled call ends the wait, not the change."""
    server = start(*flags, *FOREVER)
    late = tmp_path / "late"
    with Reloader(server.grpc) as c:
        with pytest.raises(grpc.RpcError) as error:
            c.reload(("m", m), ("late", late), timeout=0.3)
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        calls = [c.seen(server, f"x{i}", ("m", m), ("late", late), (f"x{i}", tmp_path / "x")) for i in range(10)]
        for call in calls:
            call.cancel()
        example_models.write(late)
        server.until(lambda: served(server, "late") == 3.0, "the change went on")
        c.reload(("m", m))
        assert served(server) == 3.0


def test_labels_policies_paths(start, m, tmp_path):
    example_models.write(m, "0002", addend=3)  # leading zeros are no other number
    example_models.write(m, 3, addend=4)
    moved = example_models.write(tmp_path / "moved", 3, addend=9)
    server = start("--model_name=m", f"--model_base_path={m}", "--engine=example", "--drain_timeout_ms=2000",
                   "--allow_version_labels_for_unavailable_models")
    assert states(server) == {"3": "AVAILABLE"}
    with Reloader(server.grpc) as c:
        c.reload(("m", m, {"all": True, "labels": {"stable": 2, "next": 4}}))
        server.until(lambda: states(server) == {"3": "AVAILABLE", "2": "AVAILABLE", "1": "AVAILABLE"}, "all were there")
        assert labelled(server, "stable") == 4.0 and labelled(server, "next") == 404 and labelled(server, "none") == 400
        c.reload(("m", m, {"all": True, "labels": {"stable": 3, "next": 4}}))
        assert labelled(server, "stable") == 5.0
        assert c.refused(("m", m, {"all": True, "labels": {"stable": 99}})).startswith("FAILED_PRECONDITION: ")
        assert labelled(server, "stable") == 5.0
        example_models.write(m, 4, addend=6)
        server.until(lambda: labelled(server, "next") == 7.0, "the label met its version")
        c.reload(("m", m, {"specific": [2, 1]}))
        server.until(lambda: states(server) == {"4": "END", "3": "END", "2": "AVAILABLE", "1": "AVAILABLE"}, "two were left")
        assert served(server) == 4.0
        c.reload(("m", m, {"latest": 2}))
        server.until(lambda: states(server) == {"4": "AVAILABLE", "3": "AVAILABLE", "2": "END", "1": "END"}, "the latest two")
        c.reload(("m", moved))
        server.until(lambda: served(server) == 10.0, "the version of the other path was served")
        server.until(lambda: states(server)["4"] == "END", "what the other path has not was unloaded")


def test_policy_moves_to_what_is_not_there_yet(start, flags, m):
    """A version that is not complete, or cannot be loaded, does not take the place of the one that serves."""
    server = start(*flags)
    with Reloader(server.grpc) as c:
        example_models.write(m, 2, addend=4)
        c.reload(("m", m, {"specific": [2]}))
        while states(server).get("2") != "AVAILABLE":
            assert served(server) in (3.0, 5.0)
        server.until(lambda: states(server)["1"] == "END", "the replaced version was unloaded")
        example_models.write(m, 3, "nonsense\n")
        c.reload(("m", m, {"specific": [3]}))
        server.until(lambda: states(server).get("3") == "END", "the broken version was tried")
        assert served(server) == 5.0 and states(server)["2"] == "AVAILABLE"


def test_calls_while_it_changes(start, flags, m, tmp_path):
    """Models come and go and move in a loop; calls on one that stays never fail."""
    other, third = example_models.write(tmp_path / "other"), example_models.write(tmp_path / "third", 2, addend=4)
    server = start(*flags, "--num_load_threads=2", "--num_unload_threads=2")
    stop = threading.Event()

    def ask():
        count = 0
        while not stop.is_set() or count == 0:
            assert served(server) == 3.0
            assert served(server, "x") in (3.0, 5.0, 404)
            count += 1

    def change():
        try:
            with Reloader(server.grpc) as c:
                for i in range(40):
                    c.reload(("m", m), *([("x", other if i % 4 else third)] if i % 2 else []))
        finally:
            stop.set()

    run_together([ask, ask, change])


# ---- The file ----

@pytest.fixture
def config(m, tmp_path):
    path = tmp_path / "models.config"
    path.write_text(text_of([("m", m)]), encoding="utf-8")
    return path


def replace(path, text):
    """As an editor or a config map does it: at once."""
    other = path.with_name("new")
    other.write_text(text, encoding="utf-8")
    os.replace(other, path)


def test_polled_file(start, config, m, tmp_path):
    other = example_models.write(tmp_path / "other")
    server = start(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1", "--engine=example",
                   "--drain_timeout_ms=2000")
    both = text_of([("m", m), ("other", other)])
    broken = ["this is no config", "", "# nothing\n", "model_config_list { config { name: 'm' } }",
              "custom_model_config { type_url: 'x' }", text_of([("m", m), ("m", other)]),
              text_of([("m", m, {"labels": {"l": 99}})])]
    for number, text in enumerate(broken):
        replace(config, text)
        server.until(lambda n=number: server.log.count("the models stay as they are") == n + 1, f"the log told of {text!r}")
        assert served(server) == 3.0
    config.unlink()
    server.until(lambda: server.log.count("the models stay as they are") == len(broken) + 1, "the log told that it is gone")
    config.mkdir()
    server.until(lambda: server.log.count("the models stay as they are") == len(broken) + 2, "the log told of a folder")
    config.rmdir()
    os.mkfifo(config)
    server.until(lambda: server.log.count("the models stay as they are") == len(broken) + 3, "the log told of a pipe")
    replace(config, both)
    server.until(lambda: served(server, "other") == 3.0, "the new model was served")
    assert "good again" in server.log and served(server) == 3.0
    replace(config, text_of([("other", other)]))
    server.until(lambda: states(server) == {"1": "END"}, "the removed model was unloaded")
    # A file that says something else than a client wins at the next look.
    with Reloader(server.grpc) as c:
        c.reload(("m", m))
    server.until(lambda: served(server, "other") == 3.0 and served(server) == 404, "the file counted again")


def test_label_comes_with_its_version(start, config, m):
    """Without the flag a label waits in the file until its version is there."""
    server = start(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1", "--engine=example",
                   "--drain_timeout_ms=2000")
    replace(config, text_of([("m", m, {"all": True})]))
    replace(config, text_of([("m", m, {"all": True, "labels": {"canary": 2}})]))
    server.until(lambda: "Request to assign label to version 2" in server.log, "the label was refused")
    assert labelled(server, "canary") == 400
    replace(config, text_of([("m", m, {"latest": 2})]))
    example_models.write(m, 2, addend=7)
    server.until(lambda: served(server) == 8.0, "version 2 was served")
    replace(config, text_of([("m", m, {"latest": 2, "labels": {"canary": 2}})]))
    server.until(lambda: labelled(server, "canary") == 8.0, "the label was set")


# ---- Threads, readiness, the end ----

def test_load_and_unload_threads(start, tmp_path, m):
    """--num_load_threads loads so many at a time; unloads have threads of their own."""
    stuck = [example_models.write(tmp_path / f"stuck{i}", body=NEVER + example_models.text()) for i in range(3)]
    models = [("m", m)] + [(p.name, p) for p in stuck]
    for threads in (0, 2):
        config = tmp_path / "c"
        config.write_text(text_of(models[:1]), encoding="utf-8")
        server = start(f"--model_config_file={config}", "--engine=example", f"--num_load_threads={threads}",
                       "--drain_timeout_ms=500", *FOREVER)
        with Reloader(server.grpc) as c:
            call = c.begin(*models)
            want = ["LOADING"] * (threads or 1) + ["START"] * (3 - (threads or 1))
            server.until(lambda w=want: [states(server, p.name).get("1") for p in stuck] == w, f"{want} were seen")
            c.reload(*models[1:])
            server.until(lambda: states(server) == {"1": "END"}, "the removed model was unloaded meanwhile")
            call.cancel()
        server.stop()


def test_readiness(start, flags, m, tmp_path):
    stuck = example_models.write(tmp_path / "stuck", body=NEVER + example_models.text())
    bad = example_models.write(tmp_path / "bad", body="fail 15 broken on purpose\n")
    server = start(*flags, *FOREVER)
    with Reloader(server.grpc) as c:
        call = c.begin(("m", m), ("bad", bad), ("stuck", stuck), ("a b", tmp_path / "missing"))
        server.until(lambda: states(server, "bad") == {"1": "END"} and states(server, "stuck") == {"1": "LOADING"}, "both stood")
        for path in ("/readyz?model={}", "/v1/models/{}/ready", "/v2/models/{}/ready"):
            found = {name: server.get(path.format(name)) for name in ("m", "bad", "stuck", "a%20b", "nobody")}
            assert [found[n].status for n in ("m", "bad", "stuck", "a%20b", "nobody")] == [200, 503, 503, 503, 404], path
            assert "broken on purpose" in found["bad"].text and "being loaded" in found["stuck"].text
            assert "No such file or directory" in found["a%20b"].text
        assert server.get("/v2/models/m/ready").json() == {"name": "m", "ready": True}
        assert server.get("/v2/models/m/versions/1/ready").status == 200
        assert server.get("/v2/models/m/versions/2/ready").status == 503
        assert server.get("/v1/models/m/labels/l/ready").status == 503
        assert server.get("/readyz").status == 200 and server.get("/v2/health/ready").json() == {"ready": True}
        assert server.get("/v2/health/live").json() == {"live": True}
        listed = {x["name"]: x for x in server.get("/v1/models").json()["models"]}
        assert list(listed) == ["m", "bad", "stuck", "a b"]
        assert listed["m"] == {"name": "m", "ready": True, "versions": [{"version": "1", "state": "AVAILABLE"}]}
        assert listed["bad"]["versions"] == [{"version": "1", "state": "END"}] and not listed["bad"]["ready"]
        assert listed["a b"]["versions"] == []
        call.cancel()


def test_strict_manner_has_no_extensions(start, flags):
    server = start(*flags, program="tensorflow_model_server", wait="listen")
    server.until(lambda: served(server) == 3.0, "it served")
    assert server.get("/v1/models").json() == {"error": "Missing model name in request."}
    for path in ("/v1/models/m/ready", "/v2/models/m/ready", "/v2/health/live"):
        assert server.get(path).status in (400, 404), path
    assert server.get("/readyz").status == 200 and server.get("/readyz?model=m").status == 200


def test_end_while_a_reload_waits(start, flags, m, tmp_path):
    server = start(*flags, *FOREVER)
    with Reloader(server.grpc) as c:
        calls = [c.seen(server, f"x{i}", ("m", m), (f"x{i}", tmp_path / "missing")) for i in range(5)]
        server.terminate()
        for call in calls:
            assert call.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN)
        assert any("The server is shutting down" in c.exception().details() for c in calls)
    server.stop()


@pytest.mark.parametrize("program", ["tern", "tensorflow_model_server"])
def test_end_while_loading(start, tmp_path, program):
    """A load that does not end does not keep the program from ending with 0."""
    stuck = example_models.write(tmp_path / "stuck", body=NEVER + example_models.text())
    server = start("--model_name=m", f"--model_base_path={stuck}", "--engine=example", "--drain_timeout_ms=300",
                   program=program, wait=None)
    server.until(lambda: "opened example" in server.log, "the load had begun")
    server.terminate()
    server.stop()


def test_ready_models_serve_while_others_load(start, tmp_path, m):
    """In both manners the ports open as soon as a model can answer."""
    stuck = example_models.write(tmp_path / "stuck", body=NEVER + example_models.text())
    config = tmp_path / "c"
    config.write_text(text_of([("m", m), ("stuck", stuck), ("missing", tmp_path / "missing")]), encoding="utf-8")
    server = start(f"--model_config_file={config}", "--engine=example", "--drain_timeout_ms=300", wait="listen")
    server.until(lambda: served(server) == 3.0, "the ready model was served")
    example_models.write(m, 2, addend=8)
    assert states(server, "stuck") == {"1": "LOADING"}
    example_models.write(tmp_path / "missing", 5)
    server.until(lambda: "missing version 5" in server.log, "the other folders were still watched")
