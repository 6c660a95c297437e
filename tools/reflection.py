#!/usr/bin/env python3
"""Makes the descriptors of server reflection: protoc's descriptor set in, C source out. Runs in the build.

    reflection.py SET FILES OUT.c

The files of proto/ are few and flat; clients know the originals' names. So every message, enum and service goes into a
descriptor of the file that FILES names for it, with the imports that its types need. Entries of maps, which protobuf-c knows
only as repeated messages, become maps again. What no service needs is left out. Wire format by hand: protobuf's own Python
package is not needed to build.
"""
import pathlib
import sys

NAME, DEPENDENCY, MESSAGE, ENUM, SERVICE = 1, 3, 4, 5, 6  # FileDescriptorProto; also PACKAGE = 2, SYNTAX = 12
M_FIELD, M_NESTED, M_ENUM, M_OPTIONS = 2, 3, 4, 7  # DescriptorProto
MAP_ENTRY = b"\x3a\x02\x38\x01"  # options { map_entry: true }


def varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def fields(data):
    """-> [(number, value)]: bytes of length-delimited fields, numbers of others."""
    at, out = 0, []
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 2:
            size, at = varint(data, at)
            out.append((tag >> 3, data[at:at + size]))
            at += size
        elif tag & 7 == 0:
            value, at = varint(data, at)
            out.append((tag >> 3, value))
        else:
            raise ValueError(f"wire type {tag & 7}")
    return out


def put_varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def put(number, value):
    if isinstance(value, int):
        return put_varint(number << 3) + put_varint(value)
    return put_varint(number << 3 | 2) + put_varint(len(value)) + value


def first(data, number):
    return next((value for n, value in fields(data) if n == number), b"")


def mend(message):
    """Marks nested entries of maps."""
    out = b""
    for number, value in fields(message):
        if number == M_NESTED:
            value = mend(value)
            name, names = first(value, 1), [first(f, 1) for n, f in fields(value) if n == M_FIELD]
            if name.endswith(b"Entry") and names == [b"key", b"value"] and not first(value, M_OPTIONS):
                value += MAP_ENTRY
        out += put(number, value)
    return out


class Item:
    """One top-level message, enum or service."""

    def __init__(self, package, number, body):
        self.number, self.body = number, mend(body) if number == MESSAGE else body
        self.package, self.name = package, f"{package}.{first(body, 1).decode()}"
        self.symbols, self.uses = [], set()
        {MESSAGE: self.read_message, ENUM: self.read_enum, SERVICE: self.read_service}[number](self.body, package)

    def read_message(self, body, scope):
        name = f"{scope}.{first(body, 1).decode()}"
        self.symbols.append(name)
        for number, value in fields(body):
            if number == M_FIELD:
                self.symbols.append(f"{name}.{first(value, 1).decode()}")
                if first(value, 6):
                    self.uses.add(first(value, 6).decode()[1:])
            elif number == M_NESTED:
                self.read_message(value, name)
            elif number == M_ENUM:
                self.read_enum(value, name)

    def read_enum(self, body, scope):
        self.symbols.append(f"{scope}.{first(body, 1).decode()}")
        self.symbols += [f"{scope}.{first(v, 1).decode()}" for n, v in fields(body) if n == 2]

    def read_service(self, body, scope):
        name = f"{scope}.{first(body, 1).decode()}"
        self.symbols.append(name)
        for number, value in fields(body):
            if number == 2:
                self.symbols.append(f"{name}.{first(value, 1).decode()}")
                self.uses |= {first(value, 2).decode()[1:], first(value, 3).decode()[1:]}


def read_items(descriptor_set):
    items = {}
    for _, file in fields(descriptor_set):
        package = first(file, 2).decode()
        for number, value in fields(file):
            if number in (MESSAGE, ENUM, SERVICE):
                item = Item(package, number, value)
                items[item.name] = item
    return items


def owner(items, name):
    """The top-level item that `name` stands in."""
    while name not in items:
        name = name.rpartition(".")[0]
        if not name:
            raise ValueError("no such type")
    return name


def needed(items):
    """Services, and what they need, and so on."""
    todo = [name for name, item in items.items() if item.number == SERVICE]
    found = set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [owner(items, use) for use in items[name].uses]
    return found


def read_files(text):
    files = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, words = line.partition(": ")
            package, *names = words.split()
            files[name] = [f"{package}.{n}" for n in names]
    return files


def make_file(name, names, items, home):
    imports = sorted({home[owner(items, use)] for n in names for use in items[n].uses} - {name})
    body = put(1, name.encode()) + put(2, items[names[0]].package.encode())
    body += b"".join(put(DEPENDENCY, i.encode()) for i in imports)
    for number in (MESSAGE, ENUM, SERVICE):
        body += b"".join(put(number, items[n].body) for n in names if items[n].number == number)
    return imports, body + put(12, b"proto3")


def c_bytes(data):
    rows = [", ".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
    return ",\n    ".join(rows)


def main():
    items = read_items(pathlib.Path(sys.argv[1]).read_bytes())
    wanted = needed(items)
    if any(n.startswith("google.protobuf.") for n in wanted):
        wanted |= {n for n in items if n.startswith("google.protobuf.")}  # known to every client: whole or not at all
    files = {f: [n for n in names if n in wanted] for f, names in read_files(
        pathlib.Path(sys.argv[2]).read_text(encoding="ascii")).items()}
    files = {f: names for f, names in files.items() if names}
    home = {n: f for f, names in files.items() for n in names}
    homeless = sorted(wanted - set(home))
    if homeless:
        raise SystemExit(f"{sys.argv[2]}: no file is named for {', '.join(homeless)}")
    order = sorted(files)
    out = ["/* Made by tools/reflection.py. */", '#include "api/descriptors.h"', ""]
    rows, symbols = [], []
    for i, name in enumerate(order):
        imports, body = make_file(name, files[name], items, home)
        out.append(f"static const unsigned char file_{i}[] = {{\n    {c_bytes(body)}}};")
        out.append(f"static const short imports_{i}[] = {{{', '.join(str(order.index(j)) for j in imports)}"
                   f"{', ' if imports else ''}-1}};")
        rows.append(f'    {{"{name}", file_{i}, sizeof file_{i}, imports_{i}}},')
        symbols += [(s, i) for n in files[name] for s in items[n].symbols]
    out += ["const tn_descriptor_file tn_descriptor_files[] = {", *rows, "};",
            "const size_t tn_descriptor_n_files = sizeof tn_descriptor_files / sizeof tn_descriptor_files[0];",
            "const tn_descriptor_symbol tn_descriptor_symbols[] = {",
            *(f'    {{"{s}", {i}}},' for s, i in sorted(set(symbols))), "};",
            "const size_t tn_descriptor_n_symbols = sizeof tn_descriptor_symbols / sizeof tn_descriptor_symbols[0];", ""]
    pathlib.Path(sys.argv[3]).write_text("\n".join(out), encoding="ascii")


if __name__ == "__main__":
    main()
