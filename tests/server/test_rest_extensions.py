"""REST beyond TensorFlow Serving's: other forms of bodies and answers, compression, the query, headers; and all of it off when
the program is called tensorflow_model_server. Clients: requests, curl, numpy, the PredictRequest of tensorflow-serving-api.
"""
import gzip
import io
import json
import socket
import subprocess
import zlib

import numpy as np
import pytest
import requests

import example_models

pytestmark = pytest.mark.example

DTYPES = {"float": "f4", "double": "f8", "half": "f2", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1",
          "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "?", "complex64": "c8", "complex128": "c16"}

MODEL = """
signature serving_default
input x float ?
output y float ? identity x

signature many
input x float ?
output a float ? identity x
output b float ? affine 2 0 x
output c_bytes float ? affine 0 1 x

signature pair
input a float ?
input b int32 ?
output a float ? identity a
output b int32 ? identity b

signature regress tensorflow/serving/regress
input inputs string [-1]
output outputs float [-1,1] length inputs

signature bfloat16
input x bfloat16 ?
output y bfloat16 ? identity x

signature string
input x string ?
output y string ? identity x
"""


def model_text():
    return MODEL + "".join(f"\nsignature {d}\ninput x {d} ?\noutput y {d} ? identity x\n" for d in DTYPES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "m"
    example_models.write(folder, version=1, body=model_text())
    return example_models.write(folder, version=7, body=model_text())


@pytest.fixture(scope="module")
def server(start_shared, folder):
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--rest_api_enable_cors_support")


@pytest.fixture(scope="module")
def strict(start_shared, folder):
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", program="tensorflow_model_server")


@pytest.fixture(scope="module")
def asked(start_shared, folder):
    """tensorflow_model_server with the flag that turns the extensions on."""
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--rest_extensions=true",
                        program="tensorflow_model_server")


def url(server, query="", verb="/v1/models/m:predict"):
    return server.url + verb + query


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def curl(*args, data=None):
    ran = subprocess.run(["curl", "-sS", "--max-time", "60", *args], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return ran.stdout


def zstd(data, *flags):
    return subprocess.run(["zstd", "-q", "-c", *flags], input=data, stdout=subprocess.PIPE, check=True).stdout


def predict_request(**inputs):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    tensor_pb2 = pytest.importorskip("tensorflow.core.framework.tensor_pb2")
    request = predict_pb2.PredictRequest()
    for name, (dtype, array) in inputs.items():
        tensor = tensor_pb2.TensorProto(dtype=dtype, tensor_content=array.tobytes())
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        request.inputs[name].CopyFrom(tensor)
    return request


def predict_response(answer):
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-protobuf"
    return predict_pb2.PredictResponse.FromString(answer.content)


# ---- JSON ----

@pytest.mark.parametrize("dtype,sent,got", [
    ("half", [0.1, 1, -2.5, 65504, 1e-8, 70000], "[0.0999756, 1.0, -2.5, 65504.0, 0.0, Infinity"),
    ("bfloat16", [3.14159, 1, 1e39], "[3.14062, 1.0, Infinity"),
    ("uint16", [0, 65535], "[0, 65535"),
])
def test_short_dtypes_are_numbers(server, strict, dtype, sent, got):
    body = {"signature_name": dtype, "instances": sent}
    answer = server.predict("m", body)
    assert answer.status == 200 and answer.text == '{\n    "predictions": ' + got + "\n    ]\n}", answer
    answer = strict.predict("m", body)
    assert answer.status == 400 and f"to type: {dtype}" in answer.json()["error"]


def test_half_rounds_once(server):
    """A hair above the middle of two halves goes up, though the nearest double is the middle itself."""
    body = '{"signature_name": "half", "instances": [1.00048828125, 1.000488281250000000000000001, 1.0004882812499999999999999]}'
    halves = np.array(server.predict("m", body).json()["predictions"], "f2")
    assert halves.view("u2").tolist() == [0x3C00, 0x3C01, 0x3C00]


def test_uint16_out_of_range_names_the_dtype(server):
    for value in ("65536", "-1", "1.5", '"x"', "null"):
        answer = server.predict("m", '{"signature_name": "uint16", "instances": [%s]}' % value)
        assert answer.status == 400 and "not of expected type: uint16" in answer.json()["error"], (value, answer)


@pytest.mark.parametrize("body,compact", [
    ({"instances": [[1, 2], [3, 4]]}, '{"predictions":[[1.0,2.0],[3.0,4.0]]}'),
    ({"inputs": [1]}, '{"outputs":[1.0]}'),
    ({"signature_name": "pair", "instances": [{"a": 1, "b": 2}]}, '{"predictions":[{"a":1.0,"b":2}]}'),
    ({"signature_name": "string", "inputs": ["a, b: c"]}, '{"outputs":["a, b: c"]}'),
])
def test_compact(server, body, compact):
    plain = server.predict("m", body)
    small = server.predict("m", body, headers={"Accept": "application/json;format=compact"})
    assert small.text == compact and small.headers["content-type"] == "application/json"
    assert small.json() == plain.json() and plain.text != small.text
    pretty = server.predict("m", body, headers={"Accept": "application/json"})
    assert pretty.body == plain.body


def test_compact_by_flag(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--rest_compact",
                   program="tensorflow_model_server")
    assert server.predict("m", {"inputs": [1, 2]}).text == '{"outputs":[1.0,2.0]}'


def test_errors_keep_their_end(server):
    """The value is cut, not what is said of it."""
    answer = server.predict("m", {"instances": ["x" * 100000]})
    error = answer.json()["error"]
    assert answer.status == 400 and len(error) < 4096
    assert error.endswith('... Type: String is not of expected type: float')


# ---- headers of the answer ----

def test_version_header(server, strict, asked):
    for target, version in (("/v1/models/m:predict", "7"), ("/v1/models/m/versions/7:predict", "7"), ("/invocations", "7")):
        answer = server.post(target, {"instances": [1]}, headers={"Content-Type": "application/json"})
        assert answer.status == 200, answer
        assert (answer.headers["x-tern-model"], answer.headers["x-tern-model-version"]) == ("m", version)
    assert server.predict("m", {"instances": [1]}).headers["vary"] == "accept, accept-encoding"
    assert asked.predict("m", {"instances": [1]}).headers["x-tern-model-version"] == "7"
    plain = strict.predict("m", {"instances": [1]}).headers
    assert set(plain) == {"content-type", "content-length", "date"}


def test_preflight(server, strict):
    for origin in ({}, {"Origin": "https://example.com"}):
        answer = server.request("OPTIONS", "/v1/models/m:predict", headers=origin)
        assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "*" and answer.body == b""
        assert "Content-Encoding" in answer.headers["access-control-allow-headers"]
    exposed = server.predict("m", {"instances": [1]}).headers["access-control-expose-headers"]
    assert "X-Tern-Model-Version" in exposed
    assert strict.request("OPTIONS", "/v1/models/m:predict").status == 400


def test_head(server, strict):
    get, head = server.get("/v1/models/m"), server.request("HEAD", "/v1/models/m")
    assert head.status == 200 and head.body == b"" and head.headers["content-length"] == str(len(get.body))
    assert server.request("HEAD", "/v1/models/none").status == 404
    assert strict.request("HEAD", "/v1/models/m").status == 400


# ---- targets ----

def test_queries_are_tolerated(server, strict, asked):
    for target in ("/v1/models/m:predict?", "/v1/models/m:predict?trace=1&x", "/v1/models/m/versions/7:predict?a=%zz"):
        for good in (server, asked):
            answer = good.post(target, {"instances": [1]})
            assert answer.status == 200, (target, answer)
        answer = strict.post(target, {"instances": [1]})
        said = "Bad Request: " if "%zz" in target else f"Malformed request: POST {target}"
        assert answer.status == 400 and answer.json()["error"].startswith(said)
    for target in ("/v1/models/m?x=1", "/v1/models/m/metadata?x=1", "/v1/models/m/versions/7?x"):
        assert server.get(target).status == 200
        assert strict.get(target).status != 200


def test_outputs_by_query(server):
    body = {"signature_name": "many", "inputs": [1, 2]}
    assert set(requests.post(url(server), json=body, timeout=60).json()["outputs"]) == {"a", "b", "c_bytes"}
    assert requests.post(url(server, "?output=b"), json=body, timeout=60).json() == {"outputs": [2.0, 4.0]}
    two = requests.post(url(server), json=body, params=[("output", "b"), ("output", "a"), ("output", "b")], timeout=60).json()
    assert two == {"outputs": {"b": [2.0, 4.0], "a": [1.0, 2.0]}}
    answer = requests.post(url(server, "?output=d"), json=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"] == (
        'The query\'s output: signature many has no output "d"; it has a, b, c_bytes')
    answer = server.post("/v1/models/m:predict?output=%zz", body)
    assert answer.status == 400 and "percent-encoding" in answer.json()["error"]
    answer = requests.post(url(server, "?" + "&".join("output=a" for _ in range(65))), json=body, timeout=60)
    assert answer.status_code == 400 and "more than 64" in answer.json()["error"]


def test_targets_that_are_no_uri_are_refused_first(server, strict):
    """As by TensorFlow Serving's HTTP layer: whether the path leads anywhere does not matter."""
    for path in ('/v1/models/a"b', "/v1/models/m:predict##", "/%zz", "/nowhere/{x}"):
        for each in (server, strict):
            assert each.get(path).status == 400, path
    for path, status in (("/nowhere?<", 400), ("/nowhere?x#y#z", 400), ("/nowhere?x=%zz", 400), ("/nowhere?x#y", 404)):
        assert strict.get(path).status == status, path


def test_versions_are_read_before_verbs_in_other_letters(strict):
    answer = strict.post("/v1/models/m/versions/99999999999999999999:Predict", {"instances": [1]})
    assert answer.status == 400 and answer.body == b""
    answer = strict.post("/v1/models/m/versions/7:Predict", {"instances": [1]})
    assert answer.status == 400 and answer.json()["error"].startswith("Malformed request: POST ")


def test_long_targets_are_repeated_whole(strict, server):
    target = "/v1/models/" + "m" * 9000 + ":nothing"
    answer = strict.get(target)
    assert answer.status == 400 and answer.json()["error"] == f"Malformed request: GET {target}"
    assert server.get(target).json()["error"].startswith(f"Malformed request: GET {target}; paths are")


def test_wrong_methods_say_what_is_wanted(server):
    assert server.get("/v1/models/m:predict").json()["error"].endswith("this path wants POST")
    assert server.post("/v1/models/m/metadata", {}).json()["error"].endswith("this path wants GET")


# ---- compression ----

LARGE = {"instances": [i * 0.37 for i in range(4000)]}


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_answers_are_compressed(server, coding):
    plain = server.predict("m", LARGE)
    assert "content-encoding" not in plain.headers
    packed = server.predict("m", LARGE, headers={"Accept-Encoding": coding})
    assert packed.headers["content-encoding"] == coding and len(packed.body) < len(plain.body) * 0.9
    unpacked = gzip.decompress(packed.body) if coding == "gzip" else subprocess.run(
        ["zstd", "-dcq"], input=packed.body, stdout=subprocess.PIPE, check=True).stdout
    assert unpacked == plain.body


def test_requests_and_curl_inflate_by_themselves(server):
    plain = server.predict("m", LARGE)
    answer = requests.post(url(server), json=LARGE, headers={"Accept-Encoding": "gzip"}, timeout=60)
    assert answer.headers["content-encoding"] == "gzip" and answer.content == plain.body
    assert curl("--compressed", "-d", json.dumps(LARGE), url(server)) == plain.body


def test_examples_in_and_out(server):
    """Classify and regress have the same codings, and tell who answered."""
    body = {"signature_name": "regress", "examples": [{"x": i} for i in range(1000)]}
    target = "/v1/models/m:regress?trace=1"
    plain = server.post(target, body)
    assert plain.status == 200 and len(plain.json()["results"]) == 1000, plain
    assert plain.headers["x-tern-model-version"] == "7" and plain.headers["vary"]
    packed = server.post(target, zstd(json.dumps(body).encode()), headers={"Content-Encoding": "zstd", "Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("accept,body,coding", [
    ("gzip", {"instances": [1]}, None),  # too small to be worth it
    ("gzip, identity;q=0", {"instances": [1]}, "gzip"),
    ("zstd;q=0.5, gzip;q=0.8", LARGE, "gzip"),
    ("gzip;q=0", LARGE, None),
    ("br, deflate", LARGE, None),
    ("identity;q=1, gzip;q=0.5", LARGE, None),
    ("*", LARGE, "zstd"),
])
def test_accept_encoding_is_followed(server, accept, body, coding):
    answer = server.predict("m", body, headers={"Accept-Encoding": accept})
    assert answer.status == 200 and answer.headers.get("content-encoding") == coding


def test_random_bytes_are_not_compressed(server):
    noise = np.frombuffer(np.random.default_rng(1).bytes(80000), "u1")
    answer = requests.post(url(server, "?signature_name=uint8"), data=npy(noise), timeout=60,
                           headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy", "Accept-Encoding": "gzip"})
    assert answer.status_code == 200 and "content-encoding" not in answer.headers
    assert (np.load(io.BytesIO(answer.content)) == noise).all()


def test_strict_answers_plain(strict):
    answer = strict.predict("m", LARGE, headers={"Accept-Encoding": "gzip, zstd", "Accept": "application/json;format=compact"})
    assert "content-encoding" not in answer.headers and answer.text.startswith('{\n    "predictions": [')


def bare_deflate(data):
    c = zlib.compressobj(6, zlib.DEFLATED, -15)
    return c.compress(data) + c.flush()


@pytest.mark.parametrize("coding,pack", [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress),
                                         ("deflate", bare_deflate), ("zstd", zstd), ("ZSTD", lambda d: zstd(d) + zstd(b""))])
def test_bodies_are_inflated(server, coding, pack):
    for body in ({"instances": [1, 2.5]}, LARGE):
        answer = server.predict("m", pack(json.dumps(body).encode()), headers={"Content-Encoding": coding})
        assert answer.status == 200 and answer.body == server.predict("m", body).body, answer


@pytest.mark.parametrize("coding,body,words", [
    ("gzip", b'{"instances": [1]}', "not one whole gzip stream"),
    ("gzip", gzip.compress(b'{"instances": [1]}')[:-1], "not one whole gzip stream"),
    ("zstd", b"\x28\xb5\x2f\xfd junk", "not one whole zstd stream"),
    ("deflate", b"", "not one whole deflate stream"),
    ("br", b'{"instances": [1]}', "send one of gzip, zstd, deflate and identity"),
    ("gzip, zstd", b'{"instances": [1]}', "send one of gzip, zstd, deflate and identity"),
])
def test_broken_codings_are_named(server, coding, body, words):
    answer = server.predict("m", body, headers={"Content-Encoding": coding})
    assert answer.status == 400 and words in answer.json()["error"], answer


def test_bombs_are_refused(start, folder):
    server = start("--model_name=m", f"--model_base_path={folder}", "--engine=example", "--max_body_bytes=1000000")
    zeros = b" " * 200_000_000
    for coding, body in (("gzip", gzip.compress(zeros, 9)), ("zstd", zstd(zeros)), ("deflate", zlib.compress(zeros, 9))):
        answer = server.predict("m", body, headers={"Content-Encoding": coding})
        assert answer.status == 400 and "--max_body_bytes" in answer.json()["error"], (coding, answer)
    assert server.predict("m", {"instances": [1]}).status == 200


# ---- npy ----

@pytest.mark.parametrize("dtype,code", DTYPES.items())
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3, 1)])
def test_npy_there_and_back(server, dtype, code, shape):
    rng = np.random.default_rng(7)
    array = (rng.standard_normal(shape) * 50).astype(code)
    answer = requests.post(url(server, f"?signature_name={dtype}"), data=npy(array), timeout=60,
                           headers={"Content-Type": "application/x-npy", "Accept": "application/x-npy"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-npy"
    back = np.load(io.BytesIO(answer.content))
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()
    assert answer.content == npy(array)  # numpy's own bytes


def test_large_npy(server):
    array = np.arange(400000, dtype="f4").reshape(2000, 200)
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    answer = requests.post(url(server), data=npy(array), headers=headers, timeout=60)
    assert answer.content == npy(array)
    packed = requests.post(url(server), data=zstd(npy(array)), timeout=60,
                           headers={**headers, "Content-Encoding": "zstd", "Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip" and packed.content == npy(array)


def test_npy_of_other_versions(server):
    array = np.arange(6, dtype="f4").reshape(2, 3)
    for version in ((1, 0), (2, 0), (3, 0)):
        out = io.BytesIO()
        np.lib.format.write_array(out, array, version=version)
        answer = requests.post(url(server), data=out.getvalue(), headers={"Content-Type": "application/x-npy"}, timeout=60)
        assert answer.json() == {"outputs": array.tolist()}, version


def test_npy_answer_only_where_it_can_be(server):
    many = {"signature_name": "many", "inputs": [1, 2]}
    accept = {"Accept": "application/x-npy"}
    answer = requests.post(url(server), json=many, headers=accept, timeout=60)
    assert answer.headers["content-type"] == "application/json" and len(answer.json()["outputs"]) == 3
    answer = requests.post(url(server, "?output=b"), json=many, headers=accept, timeout=60)
    assert np.load(io.BytesIO(answer.content)).tolist() == [2.0, 4.0]
    answer = requests.post(url(server), json={"signature_name": "string", "inputs": ["a"]}, headers=accept, timeout=60)
    assert answer.json() == {"outputs": ["a"]}


@pytest.mark.parametrize("array,query,words", [
    (np.zeros(2, ">f4"), "", "big-endian"),
    (np.asfortranarray(np.zeros((2, 2), "f4")), "", "numpy.ascontiguousarray"),
    (np.array(["a"]), "?signature_name=string", "strings and objects"),
    (np.zeros(2, "f8"), "", "x.astype('float32')"),
    (np.zeros(2, "f4"), "?signature_name=string", "send application/json"),
    (np.zeros(2, "f4"), "?signature_name=pair", "2 inputs"),
    (np.zeros(2, "f4"), "?signature_name=nope", '"nope" not found'),
    (np.zeros(2, [("a", "f4")]), "", "structures"),
])
def test_npy_faults_are_named(server, array, query, words):
    answer = requests.post(url(server, query), data=npy(array), headers={"Content-Type": "application/x-npy"}, timeout=60)
    assert answer.status_code == 400 and words in answer.json()["error"], answer.text


@pytest.mark.parametrize("body,words", [
    (b"", "numpy.save()"), (b"{}", "numpy.save()"), (npy(np.zeros(3, "f4"))[:-1], "12 bytes of elements, and 11 came"),
    (npy(np.zeros(3, "f4")) + b"x", "12 bytes of elements, and 13 came"), (npy(np.zeros(3, "f4"))[:40], "cut off"),
    (npy(np.array([2], "u1")).replace(b"|u1", b"|b1"), "neither 0 nor 1"),
])
def test_broken_npy(server, body, words):
    query = "?signature_name=bool" if b"|b1" in body else ""
    answer = requests.post(url(server, query), data=body, headers={"Content-Type": "application/x-npy"}, timeout=60)
    assert answer.status_code == 400 and words in answer.json()["error"], answer.text


def test_bfloat16_is_two_bytes_without_a_meaning(server):
    bits = np.array([0x3F80, 0x4049], "<u2").view("V2")
    answer = requests.post(url(server, "?signature_name=bfloat16"), data=npy(bits), timeout=60,
                           headers={"Content-Type": "application/x-npy"})
    assert answer.json() == {"outputs": [1.0, 3.14062]}


def test_strict_reads_json_whatever_the_type(strict):
    body = {"instances": [1]}
    for kind in ("application/x-npy", "application/x-protobuf"):
        answer = strict.predict("m", body, headers={"Content-Type": kind, "Accept": kind})
        assert answer.status == 200 and answer.json() == {"predictions": [1.0]}


# ---- protobuf ----

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def test_protobuf_there_and_back(server, asked):
    a, b = np.arange(6, dtype="f4").reshape(2, 3), np.arange(4, dtype="i4")
    request = predict_request(a=(1, a), b=(3, b))
    request.model_spec.signature_name = "pair"
    for good in (server, asked):
        response = predict_response(requests.post(url(good), data=request.SerializeToString(), headers=PROTOBUF, timeout=60))
        assert (response.model_spec.name, response.model_spec.version.value, response.model_spec.signature_name) == ("m", 7, "pair")
        assert list(response.outputs["a"].float_val) == a.ravel().tolist()
        assert list(response.outputs["b"].int_val) == b.tolist()
        assert [d.size for d in response.outputs["a"].tensor_shape.dim] == [2, 3]


def test_protobuf_and_json_mix(server):
    request = predict_request(x=(1, np.array([1, 2], "f4")))
    answer = requests.post(url(server), data=request.SerializeToString(), headers={**PROTOBUF, "Accept": "application/json"}, timeout=60)
    assert answer.json() == {"outputs": [1.0, 2.0]}
    answer = requests.post(url(server), json={"instances": [1, 2]}, headers={"Accept": "application/x-protobuf"}, timeout=60)
    assert list(predict_response(answer).outputs["y"].float_val) == [1, 2]
    answer = requests.post(url(server), data=request.SerializeToString(), headers={**PROTOBUF, "Accept": "application/x-npy"}, timeout=60)
    assert np.load(io.BytesIO(answer.content)).tolist() == [1, 2]


def test_protobuf_output_filter(server):
    request = predict_request(x=(1, np.array([1, 2], "f4")))
    request.model_spec.signature_name = "many"
    request.output_filter.append("b")
    response = predict_response(requests.post(url(server), data=request.SerializeToString(), headers=PROTOBUF, timeout=60))
    assert set(response.outputs) == {"b"}
    response = predict_response(requests.post(url(server, "?output=a"), data=request.SerializeToString(), headers=PROTOBUF, timeout=60))
    assert set(response.outputs) == {"a"}


def test_large_protobuf_compressed(server):
    array = np.zeros(400000, "f4")
    request = predict_request(x=(1, array))
    answer = requests.post(url(server), data=gzip.compress(request.SerializeToString(), 1), timeout=60,
                           headers={**PROTOBUF, "Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert list(predict_response(answer).outputs["y"].float_val) == array.tolist()


@pytest.mark.parametrize("spec,path,words", [
    ({"name": "other"}, "m", 'model_spec.name is "other"'),
    ({"name": "m", "version": 1}, "m", "/v1/models/NAME/versions/1:predict"),
    ({"version_label": "stable"}, "m", "/labels/stable:predict"),
    ({"signature_name": "nope"}, "m", '"nope" not found'),
    ({"name": "m", "version": 7}, "m/versions/7", None),
    ({"version": 7}, "m", None),
])
def test_protobuf_model_spec_agrees_with_the_path(server, spec, path, words):
    request = predict_request(x=(1, np.array([1], "f4")))
    for key, value in spec.items():
        if key == "version":
            request.model_spec.version.value = value
        else:
            setattr(request.model_spec, key, value)
    answer = requests.post(url(server, verb=f"/v1/models/{path}:predict"), data=request.SerializeToString(), headers=PROTOBUF, timeout=60)
    if words is None:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 400 and words in answer.json()["error"], answer.text


@pytest.mark.parametrize("body,words", [
    (b"\xff\xff\xff", "no serialized tensorflow.serving.PredictRequest"),
    (b'{"instances": [1]}', "no serialized tensorflow.serving.PredictRequest"),
    (b"", "input size does not match signature: 0!=1"),
])
def test_broken_protobuf(server, body, words):
    answer = requests.post(url(server), data=body, headers=PROTOBUF, timeout=60)
    assert answer.status_code == 400 and words in answer.json()["error"], answer.text


# ---- odd requests ----

def test_repeated_and_odd_header_fields(server):
    """Several Accept fields are one list; what is not understood is left alone."""
    body = b'{"inputs": [1, 2]}'
    head = ("POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nAccept: application/json;format=compact\r\n"
            'Accept-Encoding: ;;,"\r\nAccept-Encoding: gzip;q=x\r\n' f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.rest), timeout=60) as s:
        s.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: s.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b'\r\n\r\n{"outputs":[1.0,2.0]}')
    assert b"\r\ncontent-encoding:" not in answer.lower()


def test_over_http2(server):
    answer = curl("--http2-prior-knowledge", "-i", "-H", "Accept: application/json;format=compact", "-H", "Accept-Encoding: gzip, identity;q=0",
                  "--compressed", "-d", '{"inputs": [1, 2]}', url(server))
    assert b"content-encoding: gzip" in answer and answer.endswith(b'{"outputs":[1.0,2.0]}')
