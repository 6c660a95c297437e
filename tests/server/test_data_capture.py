"""--data_capture_dir: lines as SageMaker's Model Monitor reads them, and nobody who waits for them."""
import base64
import datetime
import io
import json
import pathlib
import re
import subprocess

import numpy as np
import pytest

import example_models
from tern_server import BUILD, run_together
from test_runtime import ANSWER, GOOD, JSON, runtime

pytestmark = pytest.mark.example
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def no_pair_twice(pairs):
    assert len({k for k, _ in pairs}) == len(pairs), pairs
    return dict(pairs)


def parse(line):
    """A line, strictly: every member, its type, and the data decoded. -> dict"""
    record = json.loads(line, object_pairs_hook=no_pair_twice)
    assert list(record) == ["captureData", "eventMetadata", "eventVersion"] and record["eventVersion"] == "0"
    assert list(record["captureData"]) == ["endpointInput", "endpointOutput"]
    for name, mode in (("endpointInput", "INPUT"), ("endpointOutput", "OUTPUT")):
        part = record["captureData"][name]
        assert list(part) == ["observedContentType", "mode", "data", "encoding"] and part["mode"] == mode
        assert all(isinstance(v, str) for v in part.values()) and part["encoding"] in ("CSV", "JSON", "BASE64")
        part["bytes"] = (base64.b64decode(part["data"], validate=True) if part["encoding"] == "BASE64"
                         else part["data"].encode())
        if part["encoding"] == "JSON":
            json.loads(part["data"])
    meta = record["eventMetadata"]
    assert set(meta) <= {"eventId", "customAttributes", "inferenceId", "inferenceTime"} and {"eventId", "inferenceTime"} <= set(meta)
    assert UUID.fullmatch(meta["eventId"])
    meta["time"] = datetime.datetime.strptime(meta["inferenceTime"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    return record


class Captured:
    def __init__(self, start, root, *flags):
        self.folder = pathlib.Path(root) / "captured"
        self.folder.mkdir()
        model = example_models.write(pathlib.Path(root) / "m")
        self.server = start("--model_name=m", f"--model_base_path={model}", "--engine=example",
                            f"--data_capture_dir={self.folder}", *flags)

    def files(self):
        return sorted(p for p in self.folder.rglob("*") if p.is_file())

    def records(self):
        out = []
        for path in self.files():
            assert re.fullmatch(r"[^/]+/[^/]+/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl",
                                str(path.relative_to(self.folder)))
            text = path.read_text("utf-8")
            assert text.endswith("\n")
            for line in text.splitlines():
                record = parse(line)
                assert record["eventMetadata"]["time"].strftime("%Y/%m/%d/%H") == "/".join(path.parts[-5:-1])
                record["place"] = path.relative_to(self.folder).parts[:2]
                out.append(record)
        return out

    def wait_for(self, n):
        self.server.until(lambda: self.server.metric("tern_data_capture_records_total") >= n, f"{n} records were written")
        records = self.records()
        assert len(records) == n
        return records


def test_a_line_for_each_request(start, tmp_path):
    captured = Captured(start, tmp_path)
    client = runtime(captured.server)
    client.invoke_endpoint(EndpointName="my-endpoint", ContentType=JSON, Body=GOOD, InferenceId="id-1", TargetVariant="blue",
                           CustomAttributes='a="b"')
    captured.server.post("/invocations", GOOD, headers={"Content-Type": "application/json; charset=utf-8"})
    captured.server.post("/models/m/invoke", GOOD)
    first, second, third = captured.wait_for(3)
    places = sorted([first["place"], second["place"], third["place"]])
    assert places == [("m", "AllTraffic"), ("m", "AllTraffic"), ("my-endpoint", "blue")]
    record = next(r for r in captured.records() if r["place"][0] == "my-endpoint")
    assert record["captureData"]["endpointInput"]["bytes"] == GOOD.encode()
    assert record["captureData"]["endpointInput"]["observedContentType"] == JSON
    assert json.loads(record["captureData"]["endpointOutput"]["data"]) == ANSWER
    assert record["eventMetadata"]["inferenceId"] == "id-1" and record["eventMetadata"]["customAttributes"] == ['a="b"']
    other = [r for r in captured.records() if r["place"][0] == "m"]
    assert {r["captureData"]["endpointInput"]["observedContentType"] for r in other} == {"application/json; charset=utf-8", ""}
    assert {r["captureData"]["endpointInput"]["encoding"] for r in other} == {"JSON", "BASE64"}
    assert all("inferenceId" not in r["eventMetadata"] for r in other)
    assert len({r["eventMetadata"]["eventId"] for r in captured.records()}) == 3


def test_what_is_not_text_is_base64(start, tmp_path):
    captured = Captured(start, tmp_path, "--data_capture_json_types=application/json,application/x-npy")
    body = io.BytesIO()
    np.save(body, np.array([1, 2, 5], dtype="f4"))
    answer = captured.server.post("/invocations", body.getvalue(), headers={"Content-Type": "application/x-npy",
                                                                           "Accept": "application/x-npy"})
    record, = captured.wait_for(1)
    assert record["captureData"]["endpointInput"]["encoding"] == "BASE64"
    assert record["captureData"]["endpointInput"]["bytes"] == body.getvalue()
    assert record["captureData"]["endpointOutput"]["bytes"] == answer.body


def test_streams_and_asynchronous_calls(start, tmp_path):
    s3 = tmp_path / "s3"
    s3.mkdir()
    captured = Captured(start, tmp_path, f"--async_dir={s3}")
    client = runtime(captured.server)
    stream = client.invoke_endpoint_with_response_stream(EndpointName="e", ContentType=JSON, Body=GOOD)
    assert b"".join(event["PayloadPart"]["Bytes"] for event in stream["Body"])
    client.invoke_endpoint_async(EndpointName="e", ContentType=JSON, Body=GOOD.encode(), InferenceId="later")
    for record in captured.wait_for(2):
        assert record["place"] == ("e", "AllTraffic")
        assert record["captureData"]["endpointInput"]["bytes"] == GOOD.encode()
        assert json.loads(record["captureData"]["endpointOutput"]["data"]) == ANSWER
    assert [r["eventMetadata"].get("inferenceId") for r in captured.records()].count("later") == 1


def test_failures_and_other_paths_are_not_captured(start, tmp_path):
    captured = Captured(start, tmp_path)
    assert captured.server.post("/invocations", "{nonsense").status == 400
    assert captured.server.post("/endpoints/e/invocations", "{nonsense").status == 424
    assert captured.server.get("/ping").status == 200 and captured.server.predict("m", GOOD).status == 200
    with captured.server.connect() as sock:
        sock.sendall(b"POST /invocations HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf")
    captured.server.post("/invocations", GOOD)
    captured.wait_for(1)
    assert captured.server.metric("tern_data_capture_dropped_total") == 0
    captured.server.until(lambda: captured.server.metric("tern_bytes_in_flight") == 0, "all memory was given back")


def test_what_is_too_long_is_dropped_and_counted(start, tmp_path):
    captured = Captured(start, tmp_path, "--max_capture_bytes=100")
    assert captured.server.post("/invocations", json.dumps({"instances": [1.0] * 100})).status == 200
    captured.server.post("/invocations", GOOD)
    captured.wait_for(1)
    assert captured.server.metric("tern_data_capture_dropped_total") == 1


def test_no_room_to_wait(start, tmp_path):
    captured = Captured(start, tmp_path, "--max_capture_queue_bytes=1")
    for _ in range(3):
        assert captured.server.post("/invocations", GOOD).json() == ANSWER
    assert captured.server.metric("tern_data_capture_dropped_total") == 3 and not captured.files()


def test_a_sample(start, tmp_path):
    captured = Captured(start, tmp_path, "--data_capture_percent=30")
    for _ in range(400):
        assert captured.server.post("/invocations", GOOD).status == 200
    captured.server.stop()
    assert 60 < len(captured.records()) < 180
    none = Captured(start, tmp_path / "none", "--data_capture_percent=0") if (tmp_path / "none").mkdir() is None else None
    none.server.post("/invocations", GOOD)
    none.server.stop()
    assert not none.files()


def test_files_are_ended_by_size(start, tmp_path):
    captured = Captured(start, tmp_path, "--max_capture_file_bytes=2000")
    for _ in range(20):
        captured.server.post("/invocations", GOOD)
    captured.wait_for(20)
    assert len(captured.files()) > 2 and all(p.stat().st_size < 3000 for p in captured.files())


def test_many_writers_and_odd_names(start, tmp_path):
    captured = Captured(start, tmp_path)
    names = [f"endpoint-{i}" for i in range(40)] + ["..", "a b", "%2F..%2Fx", ".hidden", "ü"]

    def one(name):
        for _ in range(5):
            assert captured.server.post(f"/endpoints/{name.replace(' ', '%20').replace('ü', '%C3%BC')}/invocations",
                                        GOOD).json() == ANSWER

    run_together([lambda name=name: one(name) for name in names])
    captured.server.stop()
    records = captured.records()
    assert len(records) == 5 * len(names)
    folders = {r["place"][0] for r in records}
    assert {"_.", "a_b", "_.._x", "_hidden", "__"} <= folders and len(folders) == len(names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["captured", "m"]


def test_a_folder_that_cannot_be_written(start, tmp_path):
    captured = Captured(start, tmp_path)
    (captured.folder / "m").write_text("in the way", "utf-8")
    for _ in range(3):
        assert captured.server.post("/invocations", GOOD).json() == ANSWER
    captured.server.until(lambda: captured.server.metric("tern_data_capture_dropped_total") == 3, "they were dropped")
    assert "cannot be written" in captured.server.log
    (captured.folder / "m").unlink()
    captured.server.post("/invocations", GOOD)
    captured.wait_for(1)


@pytest.mark.parametrize("flag", ["--data_capture_dir=/nowhere", "--data_capture_percent=101", "--data_capture_percent=-1"])
def test_bad_flags(tmp_path, flag):
    folder = example_models.write(tmp_path / "m")
    run = subprocess.run([str(BUILD / "tern"), "serve", "--port=0", "--model_name=m", f"--model_base_path={folder}",
                          "--engine=example", flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert run.returncode == 1 and flag in run.stdout
