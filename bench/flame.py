"""Flame graphs: where the server's processor time goes, of two paths. By hand:

    bench/flame.py FOLDED OUT.svg [TITLE]       draws stacks ("a;b;c 12" a line) as a picture

The server is sampled by Linux's perf while `tern bench` asks it: a large JSON body over REST, and half_plus_two over gRPC. Stacks
are unwound by DWARF, as the runtimes' libraries keep no frame pointers. Width is processor time; a frame stands on its caller;
colour tells whose code it is.
"""
import collections
import html
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

FRAME = re.compile(r"^\s*[0-9a-f]+ (.+?)(?:\+0x[0-9a-f]+)? \((.*)\)$")
GENERATED = "made at run time"
WIDTH, ROW, LEAST = 1400, 16, 0.6  # pixels; what is narrower than LEAST is left out
COLOURS = (("tern", "#e8813a"), ("html.so", "#e8813a"), ("libtensorflow", "#5b9bd5"), ("tensorflow.so", "#8fbbe3"),
           ("libopenvino", "#5b9bd5"), ("made at run time", "#5b9bd5"), ("kernel", "#b0b0b0"),
           ("libc", "#d9c77a"), ("libstdc++", "#d9c77a"))


# ---- stacks ----


def home_of(name):
    """Whose code, by the shared object's path."""
    base = name.rsplit("/", 1)[-1]
    if base.startswith("[kernel") or base == "[guest.kernel.kallsyms]":
        return "kernel"
    if re.fullmatch(r"perf-\d+\.map|//anon", base):
        return GENERATED
    return base


def fold(text):
    """`perf script` -> {((name, home), ...) from the outermost: samples}"""
    stacks, frames = collections.Counter(), []
    for line in [*text.splitlines(), ""]:
        found = FRAME.match(line)
        if found:
            home = home_of(found[2])
            name = re.sub(r"\(.*", "", found[1].replace("(anonymous namespace)", "anonymous"))
            if home == GENERATED:
                name = "generated code (oneDNN)"
            frames.append((name[:200] or "?", home))
        elif not line.strip() and frames:
            while len(frames) > 1 and frames[-1][0] in ("[unknown]", "__clone3", "clone3", "start_thread", "_start"):
                frames.pop()
            stacks[tuple(reversed(frames))] += 1
            frames = []
    return stacks


def read_folded(path):
    stacks = collections.Counter()
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        names, _, count = line.rpartition(" ")
        stacks[tuple(tuple(part.rsplit("@", 1)) if "@" in part else (part, "") for part in names.split(";"))] += int(count)
    return stacks


def write_folded(stacks, path):
    lines = (";".join(f"{name.replace(';', ':')}@{home}" for name, home in stack) + f" {n}" for stack, n in sorted(stacks.items()))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---- picture ----


class Node:
    """A frame with all that it called: samples, and its children by (name, home)."""

    def __init__(self):
        self.count, self.children = 0, {}

    def add(self, stack, n):
        self.count += n
        if stack:
            self.children.setdefault(stack[0], Node()).add(stack[1:], n)

    def depth(self, scale):
        return 1 + max((c.depth(scale) for c in self.children.values() if c.count * scale >= LEAST), default=0)


def boxes(node, scale, x, level):
    """-> (key, x, level, width, count) of each frame that can be seen."""
    for key, child in sorted(node.children.items()):
        width = child.count * scale
        if width >= LEAST:
            yield key, x, level, width, child.count
            yield from boxes(child, scale, x, level + 1)
        x += width


def colour_of(home):
    return next((c for start, c in COLOURS if home.startswith(start)), "#c9b6d8")


def draw(stacks, title):
    root = Node()
    for stack, n in stacks.items():
        root.add(stack, n)
    scale = (WIDTH - 20) / max(1, root.count)
    height = (root.depth(scale) - 1) * ROW + 74
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
             'font-family="DejaVu Sans Mono, monospace" font-size="11">',
             f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             f'<text x="10" y="20" font-size="14" font-family="sans-serif">{html.escape(title)}; {root.count} samples</text>']
    x = 10
    for name, colour in (("Tern", "#e8813a"), ("the runtime", "#5b9bd5"), ("its engine plugin", "#8fbbe3"), ("kernel", "#b0b0b0"),
                         ("C library", "#d9c77a"), ("other", "#c9b6d8")):
        parts.append(f'<rect x="{x}" y="30" width="11" height="11" fill="{colour}"/>'
                     f'<text x="{x + 15}" y="40" font-family="sans-serif">{name}</text>')
        x += 40 + 7 * len(name)
    for (name, home), left, level, width, count in boxes(root, scale, 10, 0):
        y = height - 14 - (level + 1) * ROW
        share = f"{name} ({home}): {100 * count / root.count:.1f} %"
        parts.append(f'<g><title>{html.escape(share)}</title><rect x="{left:.1f}" y="{y}" width="{max(0.4, width - 0.4):.1f}" '
                     f'height="{ROW - 1}" rx="1" fill="{colour_of(home)}"/>')
        room = int((width - 5) / 6.7)
        if room >= 4:
            shown = name if len(name) <= room else name[:room - 1] + "\u2026"
            parts.append(f'<text x="{left + 3:.1f}" y="{y + 11.5}">{html.escape(shown)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


# ---- sampling ----


def sample(pid, seconds, folder, name, hertz):
    """-> stacks of the process, or None where perf cannot."""
    data = folder / f"{name}.perf"
    command = ["perf", "record", "-q", "-F", str(hertz), "-e", "cpu-clock", "--call-graph", "dwarf,16384", "-p", str(pid),
               "-o", str(data), "--", "sleep", str(seconds)]
    if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
        return None
    told = subprocess.run(["perf", "script", "-i", str(data), "--no-inline", "-F", "ip,sym,dso"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, errors="replace", check=False)
    data.unlink()
    return fold(told.stdout)


def measure(build, work, out, heavy, note):
    import load
    import prepare
    import small
    import tern_server
    if shutil.which("perf") is None:
        return {"missing": "there is no perf here (Debian: linux-perf)"}
    out.mkdir(parents=True, exist_ok=True)
    models = {"half_plus_two": prepare.half_plus_two(build),
              "heavy": build / "bench-heavy"}
    message, body, floats = work / "flame.bin", work / "flame.json", work / "floats.json"
    message.write_bytes(small.predict_message()[5:])
    body.write_bytes(heavy.json)
    floats.write_text(json.dumps({"inputs": {"x": [(i * 7919 % 100003) / 1e5 for i in range(200_000)]}}), encoding="ascii")
    found = []
    for name, title, model, api, file, hertz in (
            ("rest-large", f"REST, {len(heavy.json) / 1e6:.1f} MB of JSON, heavy model", "heavy", "rest", body, 199),
            ("rest-floats", f"REST, {floats.stat().st_size / 1e6:.1f} MB of JSON, half_plus_two: all but the run", "half_plus_two",
             "rest", floats, 499),
            ("grpc-small", "gRPC, half_plus_two", "half_plus_two", "grpc", message, 499)):
        note(f"flame graph: {name}")
        server = tern_server.Server(work / f"flame-{name}", [f"--model_name={model}", f"--model_base_path={models[model]}"],
                                    build=build)
        try:
            url = f"http://127.0.0.1:{server.grpc if api == 'grpc' else server.rest}"
            load.patient(2, build, url, file, api=api, model=model)
            asking = subprocess.Popen(
                [build / "tern", "bench", model, f"--url={url}", f"--api={api}", f"--data={file}", "--seconds=60", "--warmup=0",
                 f"--connections={8 if api == 'grpc' else 1}", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            try:
                stacks = sample(server.process.pid, 5, work, name, hertz)
            finally:
                asking.terminate()
                asking.wait(60)
        finally:
            server.stop()
        if not stacks:
            return {"missing": "perf cannot sample here (kernel.perf_event_paranoid, or no right to)"}
        write_folded(stacks, out / f"flame-{name}.folded")
        (out / f"flame-{name}.svg").write_text(draw(stacks, title), encoding="utf-8")
        found.append({"name": name, "title": title, "samples": sum(stacks.values()), "homes": homes(stacks)})
    return {"paths": found}


def homes(stacks):
    """Share of the samples by whose code was running."""
    total, own = sum(stacks.values()), collections.Counter()
    for stack, n in stacks.items():
        own[stack[-1][1]] += n
    return {home: n / total for home, n in own.most_common(6)}


def section(found):
    """The lines of the report."""
    lines = ["## Flame graphs", ""]
    if "missing" in found:
        return [*lines, f"Not made: {found['missing']}.", ""]
    for path in found["paths"]:
        lines += [f"{path['title']}: " + ", ".join(f"{home} {share:.0%}" for home, share in path["homes"].items())
                  + f" of {path['samples']:,} samples.", "", f"![{path['title']}](flame-{path['name']}.svg)", ""]
    return lines


if __name__ == "__main__":
    picture = draw(read_folded(sys.argv[1]), sys.argv[3] if len(sys.argv) > 3 else sys.argv[1])
    Path(sys.argv[2]).write_text(picture, encoding="utf-8")
