"""Thousands of made-up predict bodies, answered by Tern in TensorFlow Serving's manner and by json_oracle, byte for byte.

The seed is fixed; TERN_ORACLE_CASES and TERN_ORACLE_SEED make longer or other rounds. The example engine hands inputs on.
"""
import http.client
import json
import os
import random
import re
from base64 import b64decode

import pytest

import example_models
import json_oracle

pytestmark = pytest.mark.example

CASES = int(os.environ.get("TERN_ORACLE_CASES", "6000"))
SEED = int(os.environ.get("TERN_ORACLE_SEED", "20"))

DTYPES = ("float", "double", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "string", "half",
          "complex64")
SIGNATURES = {d: ({"x": d}, {"y": "x"}) for d in DTYPES}
SIGNATURES.update({
    "serving_default": ({"x": "float"}, {"y": "x"}),
    "none": ({}, {}),
    "blob": ({"image": "string"}, {"image_bytes": "image"}),
    "alias": ({"b64": "string"}, {"y": "b64"}),
    "alias_two": ({"b64": "string", "c": "int32"}, {"y": "b64", "z": "c"}),
    "two": ({"a": "float", "b": "int32"}, {"sum": "a", "whole": "b"}),
    "texts": ({"s": "string", "t": "string"}, {"s_bytes": "s", "t": "t"}),
    "three": ({"f": "bool", "v": "double", "w": "uint64"}, {"f": "f", "v": "v", "w": "w"}),
})

NUMBERS = """0 1 -1 2 5 7 127 128 -128 -129 255 256 32767 32768 -32769 65535 65536 2147483647 2147483648 -2147483648 -2147483649
4294967295 4294967296 9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809
18446744073709551615 18446744073709551616 123456789012345678901234567890 -123456789012345678901234567890 -0 -0.0 0.0 0e0 0E+5
0e308 0e309 0.0e309 0.0e310 -0e400 0e-400 1e5 1E5 1e+5 1e-5 1.5 -2.25 0.1 0.2 0.30000000000000004 1e22 1e23 1e38 3.4028235e38
3.4028236e38 3.5e38 1e39 1e308 1.7976931348623157e308 1.7976931348623159e308 2e308 18e307 179e306 1e309 10e308 0.1e309 0.01e310
0.001e400 1e400 -1e400 1e0000000005 1e-45 1.4e-45 7e-46 1e-46 4.9e-324 2e-324 1e-400 1.17549435e-38 1.1754942e-38 2.5e-1
16777217 16777216.0000001 0.1000000014901161 3.14159265358979323846264338327950288 1000000 1000000.0 999999.5 123456.7 1234567.8
0.0001 0.00001 0.00012345678 100000.5 12345678 1e6 1e15 1e16 1e17 123456789.125 NaN Infinity -Infinity Inf -Inf -NaN""".split()
BAD_NUMBERS = """01 -01 +1 1. .5 -.5 1.e5 1e 1e+ 1e- - -- 1.5.5 0x10 1_000 Na NaI nan inf infinity Infinit Infi NInf NaInf -I -In 1e5.5
١ 1d 00 -00 1e1e1""".split()
STRINGS = ['""', '"a"', '"x y"', '"é"', '"€ größer"', '"\\u0041"', '"\\u00e9"', '"\\ud83d\\ude00"', '"\\udc00"', '"\\u0000"',
           '"a\\u0000b"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u001f\\u007f"', '"\\u2028"', '"true"', '"1"', '"b64"', '"AAAA"',
           '"' + "long " * 40 + '"']
BAD_STRINGS = ['"a', '"\\x"', '"\\u12"', '"\\u12G4"', '"\\ud800"', '"\\ud800x"', '"\\ud800\\u0041"', '"\\ud800\\ug000"', '"tab\there"',
               '"line\nend"', "'a'", '"\\', '"\\u']
B64S = ["", "YQ==", "YWI=", "YWJj", "YQ", "YWI", "Y", "YQ=", "YWI==", "YWJj=", "YW Jj", "Y\\nQ==", "_-8=", "/+8=", "!!!!", "YQ==YQ==", "YQ..", "YQ=.", "YWI.", "YWJj.", "....", "Y.==",
        "/w==", "AAECAwQFBgcICQ=="]
WORDS = ["null", "true", "false", "True", "nul", "truth", "fals", "none", "undefined"]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def one(self, *choices):
        return self.r.choice(choices)

    def number(self):
        if self.r.random() < 0.75:
            return self.r.choice(NUMBERS)
        digits = "".join(self.r.choice("0123456789") for _ in range(self.r.choice((1, 2, 5, 9, 17, 19, 20, 25, 40))))
        text = self.one("", "-") + (digits.lstrip("0") or "0")
        if self.r.random() < 0.5:
            text += "." + "".join(self.r.choice("0123456789") for _ in range(self.r.choice((1, 2, 6, 17, 30))))
        if self.r.random() < 0.4:
            text += self.one("e", "E") + self.one("", "+", "-") + str(self.r.randrange(self.r.choice((10, 50, 320))))
        return text

    def b64(self):
        key = self.r.choice(["b64"] * 12 + ["B64", "b64 ", "x", "\\u0062" + "64"])
        value = '"' + self.r.choice(B64S) + '"' if self.r.random() < 0.9 else self.r.choice(("1", "null", "[]", "{}"))
        more = self.r.choice([""] * 12 + [', "x": 1', ', "b64": "YQ=="'])
        return '{"' + key + '": ' + value + more + "}"

    def fitting(self, dtype):
        """A scalar of the dtype, most of the time a good one."""
        if self.r.random() < 0.06:
            return self.scalar()
        if dtype == "string":
            return self.b64() if self.r.random() < 0.3 else self.r.choice(STRINGS)
        if dtype == "bool":
            return self.one("true", "false")
        if dtype in ("float", "double", "half", "complex64"):
            return self.number()
        return str(self.r.choice((0, 1, -1, 100, 127, 128, 200, 255, 256, 40000, 2 ** 31 - 1, -2 ** 31, 2 ** 31, 2 ** 32 - 1, 2 ** 63 - 1,
                                  2 ** 64 - 1))) if self.r.random() < 0.9 else self.number()

    def scalar(self):
        kind = self.r.random()
        if kind < 0.3:
            return self.number()
        if kind < 0.5:
            return self.r.choice(STRINGS)
        if kind < 0.7:
            return self.r.choice(("null", "true", "false", "{}", "[]", '{"a": 1}', "[[]]", "[1, [2]]"))
        if kind < 0.85:
            return self.b64()
        return self.r.choice(BAD_NUMBERS + BAD_STRINGS + WORDS)

    def blank(self):
        return self.r.choice(["", "", "", " ", "  ", "\n", "\t", "\r\n"])

    def list_of(self, items):
        return "[" + self.blank() + (self.blank() + "," + self.one("", " ")).join(items) + self.blank() + "]"

    def tensor(self, dtype, shape):
        if not shape:
            return self.fitting(dtype)
        n = shape[0]
        if self.r.random() < 0.02:
            n = max(0, n + self.one(-1, 1))
        inner = shape[1:]
        if self.r.random() < 0.015:
            inner = inner + (1,) if self.r.random() < 0.5 else inner[:-1]
        return self.list_of([self.tensor(dtype, inner) for _ in range(n)])

    def shape(self):
        return tuple(self.r.choice((0, 1, 1, 2, 2, 3)) for _ in range(self.r.choice((0, 0, 1, 1, 2, 3, 4))))

    def members(self, items):
        self.r.shuffle(items)
        return "{" + self.blank() + ("," + self.one("", " ")).join(f'"{k}"{self.blank()}:{self.blank()}{v}' for k, v in items) + self.blank() + "}"

    def named(self, inputs, shapes):
        items = [(name, self.tensor(dtype, shapes[name])) for name, dtype in inputs.items()]
        if self.r.random() < 0.04 and items:
            items.pop(self.r.randrange(len(items)))
        if self.r.random() < 0.04 and items:
            items.append(self.r.choice(items))
        if self.r.random() < 0.04:
            items.append((self.one("extra", "x\\u0000y", "", "é", "X"), self.scalar()))
        return self.members(items)

    def rows(self, inputs):
        shapes = {name: self.shape() for name in inputs}
        n = self.r.choice((0, 1, 1, 2, 3, 4)) if self.r.random() < 0.5 else self.r.choice((1, 2))
        objects = len(inputs) > 1 or self.r.random() < 0.3
        items = []
        for _ in range(n):
            if objects != (self.r.random() < 0.02):
                items.append(self.named(inputs, shapes))
            else:
                name = self.r.choice(sorted(inputs)) if inputs else "x"
                items.append(self.tensor(inputs.get(name, "float"), shapes.get(name, ())))
        if self.r.random() < 0.05:
            return self.list_of([self.b64() for _ in range(n)])
        return self.list_of(items)

    def columns(self, inputs):
        shapes = {name: self.shape() for name in inputs}
        if len(inputs) > 1 or self.r.random() < 0.4:
            return self.named(inputs, shapes)
        return self.tensor(*[(d, shapes[n]) for n, d in inputs.items()][0]) if inputs else self.scalar()

    def signature(self):
        if self.r.random() < 0.04:
            return self.r.choice(('"nope"', '"Float"', "null", "1", "[]", '"a\\u0000b"', '"é\\n"', '"float\\u0000"', "{}")), "serving_default"
        name = self.r.choice(sorted(SIGNATURES))
        return (None if name == "serving_default" and self.r.random() < 0.5 else '"' + name + '"'), name

    def document(self):
        quoted, name = self.signature()
        inputs = SIGNATURES[name][0]
        items = [("instances", self.rows(inputs))] if self.r.random() < 0.55 else [("inputs", self.columns(inputs))]
        if self.r.random() < 0.02:
            items.append(("inputs", self.columns(inputs)))
        if self.r.random() < 0.02:
            items[0] = (items[0][0], self.scalar())
        if self.r.random() < 0.02:
            items = []
        if quoted is not None:
            items.append(("signature_name", quoted))
        if self.r.random() < 0.05:
            items.append((self.one("parameters", "signature_nam", "Instances", "instances\\u0000", "x"), self.scalar()))
        return self.members(items)

    def body(self):
        text = self.document().encode("utf-8")
        kind = self.r.random()
        if kind < 0.04:
            text = self.one(b"\xef\xbb\xbf", b" \n", b"\0", b"\xff\xfe", b"\v") + text
        elif kind < 0.08:
            text += self.one(b"\0", b" x", b"}", b"\n", text)
        elif kind < 0.25:
            text = self.damaged(text)
        elif kind < 0.27:
            text = self.scalar().encode("utf-8")
        return text

    def damaged(self, text):
        text = bytearray(text)
        for _ in range(self.r.choice((1, 1, 2))):
            at = self.r.randrange(len(text) + 1)
            how = self.r.random()
            if how < 0.3 and at < len(text):
                del text[at]
            elif how < 0.6:
                text[at:at] = bytes([self.r.choice(b'{}[]:,"\\0123456789.eE+-NIntf \0\x01\xff')])
            elif how < 0.8 and at < len(text):
                text[at] = self.r.choice(b'{}[]:,"\\019.eE-NIntf \0\x1f\x80')
            else:
                del text[at:]
        return bytes(text)


def model_text():
    out = ""
    for name, (inputs, outputs) in SIGNATURES.items():
        out += f"\nsignature {name}\n"
        out += "".join(f"input {alias} {dtype} ?\n" for alias, dtype in inputs.items())
        out += "".join(f"output {alias} {inputs[source]} ? identity {source}\n" for alias, source in outputs.items())
    return out


@pytest.fixture(scope="module")
def server(start_shared, tmp_path_factory):
    folder = example_models.write(tmp_path_factory.mktemp("models") / "m", body=model_text())
    return start_shared("--model_name=m", f"--model_base_path={folder}", "--engine=example", program="tensorflow_model_server")


def test_answers_are_the_oracles(server):
    maker, wrong, good = Maker(SEED), [], 0
    connection = http.client.HTTPConnection("127.0.0.1", server.rest, timeout=60)
    for number in range(CASES):
        body = maker.body()
        want = json_oracle.answer(body, SIGNATURES)
        connection.request("POST", "/v1/models/m:predict", body=body)
        response = connection.getresponse()
        got = (response.status, response.read())
        good += want[0] == 200
        if got != want:
            wrong.append(f"case {number}: {body!r}\n  want {want}\n  got  {got}")
    connection.close()
    assert not wrong, f"{len(wrong)} of {CASES} differ:\n" + "\n".join(wrong[:10])
    assert CASES * 0.25 < good < CASES * 0.9


RECORDED = {"f32": "float", "f64": "double", "half": "half", "bf16": "bfloat16", "i8": "int8", "i16": "int16", "i32": "int32",
            "i64": "int64", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool", "str": "string",
            "c64": "complex64"}
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def test_oracle_gives_the_recorded_answers(shared):
    """TensorFlow Serving's own answers for the identity signatures of its fixture model, but for the digits of numbers that it
    reads or prints inexactly."""
    signatures = {name: ({"x": dtype}, {"y": "x"}) for name, dtype in RECORDED.items()}
    signatures["image"] = ({"image_bytes": "string"}, {"image_bytes": "image_bytes"})
    known, wrong = 0, []
    for line in (shared / "golden/tensorflow_serving/values.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n"):
        case = json.loads(line)
        if case.get("target") != "/v1/models/types:predict" or case["compare"] != "bytes":
            continue
        body, want = (b64decode(t["b64"]) if isinstance(t, dict) else t.encode() for t in (case["body"], case["answer"]["body"]))
        named = re.search(rb'"signature_name": "(\w+)"', body)
        if not named or named[1].decode() not in signatures:
            continue
        known += 1
        status, got = json_oracle.answer(body, signatures)
        if (status, NUMBER.sub(b"#", got)) != (case["answer"]["status"], NUMBER.sub(b"#", want)):
            wrong.append(f"{case['id']}: {body!r}\n  want {want!r}\n  got  {got!r}")
        elif named[1] not in (b"f32", b"f64") and b"." not in want and got != want:
            wrong.append(f"{case['id']}: {body!r}\n  want {want!r}\n  got  {got!r}")
    assert known > 500
    assert not wrong, f"{len(wrong)} of {known} differ:\n" + "\n".join(wrong[:10])
