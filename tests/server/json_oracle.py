"""What TensorFlow Serving answers to a predict body of an identity signature: an independent model of its rules.

Written from the rules of TensorFlow Serving's util/json_tensor.cc (which input form, which error comes first, with which
words) and of the JSON reader it uses (rapidjson 1.1.0, iterative, with NaN and Infinity: error codes and their offsets),
not from Tern's code. Numbers are exact on purpose: decimal text becomes the nearest float or double.

    answer(body: bytes, signatures) -> (status, body bytes)

signatures: {name: ({input alias: dtype}, {output alias: input alias})}, dtypes by TensorFlow's short names.
"""
import base64
import re
from fractions import Fraction

INTS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint32": 32, "uint64": 64}
BLANKS = b" \n\r\t"
TYPES = ("Null", "False", "True", "Object", "Array", "String", "Number")


class Refused(Exception):
    """An error answer: canonical code and text (bytes)."""

    def __init__(self, text, code="INVALID_ARGUMENT"):
        super().__init__(text)
        self.text = text if isinstance(text, bytes) else text.encode()
        self.code = code


class Node:
    """type: of TYPES. value: bytes, list of nodes, list of (bytes, node), or a Number."""

    def __init__(self, kind, value=None):
        self.kind, self.value = kind, value


class Number:
    """text as it stands; whole: an integer that fits 64 bits, or None; special: "NaN", "Inf", "-Inf" or None."""

    def __init__(self, text, whole=None, special=None):
        self.text, self.whole, self.special = text, whole, special

    def double(self):
        if self.special:
            return float(self.special.lower())
        return float(self.whole) if self.whole is not None else float(self.text)

    def exact(self):
        """As a fraction; None for what is infinite, or far below the smallest double."""
        if self.whole is not None:
            return Fraction(self.whole)
        mantissa, _, power = self.text.lower().partition("e")
        if abs(int(power or 0)) > 2000:
            return None
        return Fraction(mantissa) * Fraction(10) ** int(power or 0)

    def float(self):
        if self.special or self.exact() is None:
            return self.double()
        if self.exact() == 0:
            return self.double()
        return nearest_float(self.exact())


def nearest_float(x):
    """The binary32 nearest to a fraction, ties to even, as a Python float."""
    sign, x = (-1.0 if x < 0 else 1.0), abs(x)
    exponent = x.numerator.bit_length() - x.denominator.bit_length()
    if Fraction(2) ** exponent > x:
        exponent -= 1
    exponent = max(exponent, -126)
    unit = Fraction(2) ** (exponent - 23)
    steps = x / unit
    low = steps.numerator // steps.denominator
    rest = steps - low
    low += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and low % 2 == 1)
    value = low * unit
    return sign * (float("inf") if value >= Fraction(2) ** 128 else float(value))


# ---- the reader ----

ESCAPES = {ord("b"): b"\b", ord("f"): b"\f", ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t", ord('"'): b'"',
           ord("\\"): b"\\", ord("/"): b"/"}
MAX_TENTH = 1.7976931348623157e307


class Reader:
    def __init__(self, text):
        self.text, self.at = text, 0

    def peek(self):
        return self.text[self.at] if self.at < len(self.text) else 0

    def fail(self, words, at=None):
        raise Refused(f"JSON Parse error: {words} at offset: {self.at if at is None else at}")

    def blanks(self):
        while self.at < len(self.text) and self.text[self.at] in BLANKS:
            self.at += 1

    def digits(self):
        start = self.at
        while 0x30 <= self.peek() <= 0x39:
            self.at += 1
        return self.text[start:self.at].decode()

    def take(self, word):
        """Takes what is there of the word; whether that was all."""
        for c in word.encode():
            if self.peek() != c:
                return False
            self.at += 1
        return True

    def document(self):
        if not self.text:
            raise Refused("JSON Parse error: The document is empty")
        if self.text.startswith(b"\xef\xbb\xbf"):
            self.at = 3
        self.blanks()
        if self.peek() == 0 or self.peek() in b"]},:":
            self.fail("The document is empty.")
        return self.value()

    def value(self):
        c = self.peek()
        if c in b"]},:":
            self.fail("Invalid value.")
        if c == ord("{"):
            return self.object()
        if c == ord("["):
            return self.array()
        if c == ord('"'):
            return Node("String", self.string())
        for word, kind in (("null", "Null"), ("true", "True"), ("false", "False")):
            if c == ord(word[0]):
                if not self.take(word):
                    self.fail("Invalid value.")
                return Node(kind)
        return Node("Number", self.number())

    def array(self):
        self.at += 1
        out = []
        self.blanks()
        if self.peek() == ord("]"):
            self.at += 1
            return Node("Array", out)
        while True:
            self.blanks()
            out.append(self.value())
            self.blanks()
            if self.peek() == ord("]"):
                self.at += 1
                return Node("Array", out)
            if self.peek() != ord(","):
                self.fail("Missing a comma or ']' after an array element.")
            self.at += 1

    def object(self):
        self.at += 1
        out = []
        self.blanks()
        if self.peek() == ord("}"):
            self.at += 1
            return Node("Object", out)
        while True:
            self.blanks()
            if self.peek() != ord('"'):
                self.fail("Missing a name for object member.")
            key = self.string()
            self.blanks()
            if self.peek() != ord(":"):
                self.fail("Missing a colon after a name of object member.")
            self.at += 1
            self.blanks()
            out.append((key, self.value()))
            self.blanks()
            if self.peek() == ord("}"):
                self.at += 1
                return Node("Object", out)
            if self.peek() != ord(","):
                self.fail("Missing a comma or '}' after an object member.")
            self.at += 1

    def hex4(self, at):
        digits = self.text[at:at + 4]
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
            self.fail("Incorrect hex digit after \\u escape in string.")
        return int(digits, 16)

    def string(self):
        self.at += 1
        out = bytearray()
        while True:
            c = self.peek()
            if c == ord('"'):
                self.at += 1
                return bytes(out)
            if c == ord("\\"):
                e = self.text[self.at + 1] if self.at + 1 < len(self.text) else 0
                if e in ESCAPES:
                    out += ESCAPES[e]
                    self.at += 2
                elif e == ord("u"):
                    code, size = self.hex4(self.at + 2), 6
                    if 0xD800 <= code <= 0xDBFF:
                        if self.text[self.at + 6:self.at + 8] != b"\\u":
                            self.fail("The surrogate pair in string is invalid.")
                        low, size = self.hex4(self.at + 8), 12
                        if not 0xDC00 <= low <= 0xDFFF:
                            self.fail("The surrogate pair in string is invalid.")
                        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                    out += chr(code).encode("utf-8", "surrogatepass")
                    self.at += size
                else:
                    self.fail("Invalid escape character in string.")
            elif c == 0:
                self.fail("Missing a closing quotation mark in string.")
            elif c < 0x20:
                self.fail("Invalid escape character in string.")
            else:
                out.append(c)
                self.at += 1

    def number(self):
        start = self.at
        negative = self.peek() == ord("-")
        self.at += negative
        if self.peek() == ord("0"):
            self.at += 1
            whole = "0"
        elif 0x31 <= self.peek() <= 0x39:
            whole = self.digits()
        elif self.peek() in b"NI" and self.peek():
            return self.letters(negative)
        else:
            self.fail("Invalid value.")
        value, significant, wide = self.integer(whole, negative, start)
        scale = 0
        fraction = ""
        if self.peek() == ord("."):
            self.at += 1
            fraction = self.digits()
            if not fraction:
                self.fail("Miss fraction part in number.")
            scale = self.scale(fraction, value, significant, wide)
        power = None
        if self.peek() in b"eE" and self.peek():
            self.at += 1
            minus = self.peek() == ord("-")
            if self.peek() in b"+-" and self.peek():
                self.at += 1
            power = self.digits()
            if not power:
                self.fail("Miss exponent in number.")
            if not minus and len(power) > 1 and int(power) > 308 - scale:
                self.fail("Number too big to be stored in double.", start)
        text = self.text[start:self.at].decode()
        if fraction or power is not None or wide:
            return Number(text)
        return Number(text, whole=-value if negative else value)

    def integer(self, whole, negative, start):
        """Digits as the reader adds them up: -> value, significant digits, whether it is beyond 64 bits."""
        limit = 2 ** 63 if negative else 2 ** 64 - 1
        value, at = 0, 0
        while at < len(whole) and value * 10 + int(whole[at]) <= limit:
            value = value * 10 + int(whole[at])
            at += 1
        significant, wide = max(at - 1, 0), at < len(whole)
        total = float(value)
        for digit in whole[at:]:
            if total >= MAX_TENTH:
                self.fail("Number too big to be stored in double.", start)
            total = total * 10 + int(digit)
        return value, significant, wide

    @staticmethod
    def scale(fraction, value, significant, wide):
        """The power of ten of the last digit that counts (0 or less)."""
        scale, at = 0, 0
        if not wide:
            while at < len(fraction) and value <= 2 ** 53 - 1:
                value = value * 10 + int(fraction[at])
                scale, at = scale - 1, at + 1
                significant += value != 0
        seen = wide or value != 0
        for digit in fraction[at:]:
            if significant >= 17:
                break
            scale -= 1
            seen = seen or digit != "0"
            significant += seen
        return scale

    def letters(self, negative):
        if self.take("NaN"):
            return Number("NaN", special="NaN")
        if not self.take("Inf"):
            self.fail("Invalid value.")
        if self.peek() == ord("i") and not self.take("inity"):
            self.fail("Invalid value.")
        return Number("Inf", special="-Inf" if negative else "Inf")


# ---- printing ----

def quoted(s):
    out = bytearray(b'"')
    names = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    for c in s:
        out += names.get(c) or (b"\\u%04X" % c if c < 32 else bytes([c]))
    return bytes(out) + b'"'


def shortest(value):
    """rapidjson's form of a finite double."""
    if value == 0:
        return b"-0.0" if str(value)[0] == "-" else b"0.0"
    sign = b"-" if value < 0 else b""
    mantissa = repr(abs(value))
    mantissa, _, e = mantissa.partition("e")
    power = int(e or 0)
    left, _, right = mantissa.partition(".")
    digits = left + right
    point = len(left) + power
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0") or "0"
    n = len(digits)
    if n <= point <= 21:
        text = digits + "0" * (point - n) + ".0"
    elif 0 < point <= 21:
        text = digits[:point] + "." + digits[point:]
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if n > 1 else "") + f"e{point - 1}"
    return sign + text.encode()


def pretty(node, depth=0):
    """4 spaces, arrays in one line."""
    if node.kind == "Array":
        return b"[" + b", ".join(pretty(v, depth + 1) for v in node.value) + b"]"
    if node.kind == "Object":
        if not node.value:
            return b"{}"
        # Lists are in one line but count as a level.
        inner = b"\n" + b"    " * (depth + 1)
        return b"{" + b",".join(inner + quoted(k) + b": " + pretty(v, depth + 1) for k, v in node.value) + b"\n" + \
            b"    " * depth + b"}"
    if node.kind == "String":
        return quoted(node.value)
    if node.kind == "Number":
        n = node.value
        if n.whole is not None:
            return str(n.whole).encode()
        value = n.double()
        return b"" if n.special or value in (float("inf"), float("-inf")) else shortest(value)
    return node.kind.lower().encode()


def decimal(value, dtype):
    if value != value:
        return b"NaN"
    if value in (float("inf"), float("-inf")):
        return b"Infinity" if value > 0 else b"-Infinity"
    text = f"{value:.6g}"
    back = nearest_float(Fraction(text)) if dtype == "float" and float(text) != 0 else float(text)
    if back != value:
        text = f"{value:.{9 if dtype == 'float' else 17}g}"
    return (text if "." in text or "e" in text else text + ".0").encode()


# ---- tensors ----

def is_b64(node):
    return node.kind == "Object" and len(node.value) == 1 and node.value[0][0] == b"b64" and node.value[0][1].kind == "String"


def member(node, key):
    for k, v in node.value:
        if k == key:
            return v
    return None


def unescape_b64(text):
    """Base64Unescape of abseil: blanks anywhere, padding ("=" or ".") may be missing, nothing behind it."""
    text = bytes(c for c in text if c not in b" \t\n\v\f\r")
    body = text.rstrip(b"=.")
    padding = len(text) - len(body)
    if not re.fullmatch(rb"[A-Za-z0-9+/]*", body) or len(body) % 4 == 1 or (padding and (len(body) + padding) % 4) or padding > 2:
        raise Refused("Unable to base64 decode")
    if padding and len(body) % 4 == 0:
        raise Refused("Unable to base64 decode")
    return base64.b64decode(body + b"=" * (-len(body) % 4))


class Tensor:
    def __init__(self, dtype):
        self.dtype, self.values, self.shape = dtype, [], []

    def type_error(self, node):
        raise Refused(b"JSON Value: " + pretty(node) + f" Type: {node.kind} is not of expected type: {self.dtype}".encode())

    def add(self, node):
        if node.kind == "Object":
            if self.dtype != "string":
                self.type_error(node)
            if not is_b64(node):
                raise Refused(b"JSON Value: " + pretty(node) + b" not formatted correctly for base64 data")
            self.values.append(unescape_b64(node.value[0][1].value))
        elif self.dtype in ("float", "double"):
            if node.kind != "Number":
                self.type_error(node)
            self.values.append(node.value.float() if self.dtype == "float" else node.value.double())
        elif self.dtype in INTS:
            wide = self.dtype if self.dtype in ("int64", "uint32", "uint64") else "int32"
            low, high = (0, 2 ** INTS[wide] - 1) if wide[0] == "u" else (-2 ** (INTS[wide] - 1), 2 ** (INTS[wide] - 1) - 1)
            if node.kind != "Number" or node.value.whole is None or not low <= node.value.whole <= high:
                self.type_error(node)
            bits = node.value.whole % 2 ** INTS[self.dtype]
            self.values.append(bits - 2 ** INTS[self.dtype] if self.dtype[0] == "i" and bits >> (INTS[self.dtype] - 1) else bits)
        elif self.dtype == "bool":
            if node.kind not in ("True", "False"):
                self.type_error(node)
            self.values.append(node.kind == "True")
        elif self.dtype == "string":
            if node.kind != "String":
                self.type_error(node)
            self.values.append(node.value)
        else:
            raise Refused(b"Conversion of JSON Value: " + pretty(node) + f" to type: {self.dtype}".encode(), "UNIMPLEMENTED")

    def fill(self, node, level, shape):
        """-> values added."""
        if node.kind != "Array":
            if level != len(shape):
                raise Refused(b"JSON Value: " + pretty(node) +
                              f" found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}".encode())
            self.add(node)
            return 1
        if level >= len(shape):
            raise Refused(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(node.value) != shape[level]:
            raise Refused(f"Encountered list at unexpected size: {len(node.value)} at level: {level} expected size: {shape[level]}")
        return sum(self.fill(v, level + 1, shape) for v in node.value)


def shape_of(node):
    out = []
    while node.kind == "Array":
        out.append(len(node.value))
        if not node.value:
            break
        node = node.value[0]
    return out


def listed(shape):
    return "[" + ",".join(map(str, shape)) + "]"


class Row:
    """FillTensorMapFromInstancesList."""

    def __init__(self, inputs):
        self.inputs, self.tensors, self.sizes, self.shapes = inputs, {}, {}, {}

    def item(self, node, name):
        if name not in self.inputs:
            raise Refused(b"JSON object: does not have named input: " + name.encode("utf-8", "surrogateescape"))
        tensor = self.tensors.setdefault(name, Tensor(self.inputs[name]))
        shape = shape_of(node)
        size = tensor.fill(node, 0, shape)
        if name not in self.sizes:
            self.sizes[name], self.shapes[name] = size, shape
        elif self.sizes[name] != size:
            raise Refused(f"Expecting tensor size: {self.sizes[name]} but got: {size}")
        elif self.shapes[name] != shape:
            raise Refused(f"Expecting shape {listed(self.shapes[name])} but got: {listed(shape)}")

    def element(self, number, node):
        keys = set()
        for raw, value in node.value:
            name = raw.split(b"\0")[0].decode("utf-8", "surrogateescape")
            keys.add(name)
            try:
                self.item(value, name)
            except Refused as error:
                raise Refused(f"Failed to process element: {number} key: ".encode() + raw.split(b"\0")[0] +
                              f" of 'instances' list. Error: {error.code}: ".encode() + error.text) from None
        if keys != set(self.inputs):
            raise Refused(f"Failed to process element: {number} of 'instances' list. JSON object: ".encode() + pretty(node) +
                          b" keys must be equal to: " + ",".join(sorted(self.inputs)).encode())

    def read(self, nodes):
        if nodes[0].kind != "Object" and len(self.inputs) > 1:
            raise Refused("instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                          "tensorinfo_map")
        objects = nodes[0].kind == "Object" and not is_b64(nodes[0])
        for number, node in enumerate(nodes):
            is_object = node.kind == "Object" and not is_b64(node)
            if objects and not is_object:
                raise Refused(f"Expecting object but got list at item {number} of input list")
            if not objects and is_object:
                raise Refused(f"Expecting value/list but got object at item {number} of input list")
            if objects:
                self.element(number, node)
                continue
            try:
                self.item(node, min(self.inputs))
            except Refused as error:
                raise Refused(f"Failed to process element: {number} of 'instances' list. Error: {error.code}: ".encode() +
                              error.text) from None
        for name, tensor in self.tensors.items():
            tensor.shape = [len(nodes)] + self.shapes[name]
        return self.tensors


def columns(node, inputs):
    """FillTensorMapFromInputsMap; several inputs in the order of their names."""
    if node.kind != "Object" or is_b64(node):
        if len(inputs) > 1:
            raise Refused("inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                          "tensorinfo_map")
        found = {name: node for name in inputs}
    else:
        found = {}
    tensors = {}
    for name in sorted(inputs):
        value = found[name] if found else member(node, name.encode())
        if value is None:
            raise Refused(f"Missing named input: {name} in 'inputs' object.")
        tensor = tensors[name] = Tensor(inputs[name])
        tensor.shape = shape_of(value)
        tensor.fill(value, 0, tensor.shape)
    return tensors


def finished(tensors, inputs):
    if len(tensors) != len(inputs):
        sent, wanted = sorted(tensors), sorted(inputs)
        raise Refused(f"input size does not match signature: {len(sent)}!={len(wanted)} len({{{','.join(sent)}}}) != "
                      f"len({{{','.join(wanted)}}}). Sent extra: {{}}. Missing but required: "
                      f"{{{','.join(w for w in wanted if w not in sent)}}}.")
    for name, tensor in tensors.items():
        if len(tensor.shape) > 254:
            raise Refused(f"tensor parsing error: {name}")
        count = 1
        for dim in tensor.shape:
            count *= dim
        tensor.values = tensor.values[:count]
    return tensors


# ---- answers ----

def scalar(tensor, alias, i, depth):
    value = tensor.values[i]
    if tensor.dtype in ("float", "double"):
        return decimal(value, tensor.dtype)
    if tensor.dtype == "bool":
        return b"true" if value else b"false"
    if tensor.dtype != "string":
        return str(value).encode()
    if not alias.endswith("_bytes"):
        return quoted(value)
    return b'{\n' + b"    " * (depth + 1) + b'"b64": "' + base64.b64encode(value) + b'"\n' + b"    " * depth + b"}"


def values(tensor, alias, dims, at, single, depth):
    """-> text, index behind it. single: lists in one line."""
    if not dims:
        return scalar(tensor, alias, at, depth), at + 1
    parts = []
    for _ in range(dims[0]):
        part, at = values(tensor, alias, dims[1:], at, single, depth + 1)
        parts.append(part)
    if single or not parts:
        return b"[" + b", ".join(parts) + b"]", at
    inner = b"\n" + b"    " * (depth + 1)
    return b"[" + b",".join(inner + p for p in parts) + b"\n" + b"    " * depth + b"]", at


def print_row(outputs):
    batch = None
    for alias, tensor in outputs:
        if not tensor.shape:
            raise Refused(f"Tensor name: {alias} has no shape information ")
        if batch is not None and tensor.shape[0] != batch:
            raise Refused(f"Tensor name: {alias} has inconsistent batch size: {tensor.shape[0]} expecting: {batch}")
        batch = tensor.shape[0]
    check_types(outputs)
    at = [0] * len(outputs)
    items = []
    for _ in range(batch):
        members = []
        for i, (alias, tensor) in enumerate(outputs):
            text, at[i] = values(tensor, alias, tensor.shape[1:], at[i], True, 2 if len(outputs) == 1 else 3)
            members.append(text if len(outputs) == 1 else b"\n            " + quoted(alias.encode()) + b": " + text)
        items.append(members[0] if len(outputs) == 1 else b"\n        {" + b",".join(members) + b"\n        }")
    text = (b", " if len(outputs) == 1 else b",").join(items)
    return b'{\n    "predictions": [' + text + (b"\n    ]" if batch else b"]") + b"\n}"


def check_types(outputs):
    for _, tensor in outputs:
        if tensor.dtype in ("half", "bfloat16", "uint16", "complex64", "complex128") and tensor.values:
            raise Refused(f"Failed to write JSON value for tensor type: {tensor.dtype}")


def print_columns(outputs):
    check_types(outputs)
    if len(outputs) == 1:
        alias, tensor = outputs[0]
        text = values(tensor, alias, tensor.shape, 0, False, 1)[0]
    else:
        text = b"{" + b",".join(b"\n        " + quoted(alias.encode()) + b": " + values(t, alias, t.shape, 0, False, 2)[0]
                                for alias, t in outputs) + b"\n    }"
    return b'{\n    "outputs": ' + text + b"\n}"


def predict(body, signatures):
    doc = Reader(body).document()
    if doc.kind != "Object":
        raise Refused(b"JSON Value: " + pretty(doc) + b" Is not object")
    name = member(doc, b"signature_name")
    if name is not None and name.kind != "String":
        raise Refused(b"JSON Value: " + pretty(doc) + b" not formatted correctly. 'signature_name' key must be a string value.")
    asked = name.value if name is not None and name.value else b"serving_default"
    if asked.decode("utf-8", "surrogateescape") not in signatures:
        raise Refused(b'Serving signature name: "' + asked + b'" not found in signature def')
    inputs, outputs = signatures[asked.decode()]
    if not inputs:
        raise Refused("Failed to get input map for signature: " + (asked.decode() if name is not None and name.value else "DEFAULT"))
    rows, cols = member(doc, b"instances"), member(doc, b"inputs")
    if rows is not None and cols is not None:
        raise Refused(b"JSON Value: " + pretty(doc) + b" Not formatted correctly expecting only one of 'inputs' or 'instances' "
                      b"keys to exist ")
    if rows is None and cols is None:
        raise Refused("Missing 'inputs' or 'instances' key")
    if rows is not None:
        if rows.kind != "Array":
            raise Refused(b"JSON Value: " + pretty(doc) + b" Expecting 'instances' to be an list/array")
        if not rows.value:
            raise Refused(b"JSON Value: " + pretty(doc) + b" No values in 'instances' array")
    tensors = finished(Row(inputs).read(rows.value) if rows is not None else columns(cols, inputs), inputs)
    ordered = [(alias, tensors[source]) for alias, source in sorted(outputs.items())]
    return (print_row if rows is not None else print_columns)(ordered)


HTTP = {"INVALID_ARGUMENT": 400, "UNIMPLEMENTED": 501}


def answer(body, signatures):
    try:
        return 200, predict(body, signatures)
    except Refused as error:
        return HTTP[error.code], b'{\n    "error": ' + quoted(error.text) + b"\n}"

