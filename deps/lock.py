#!/usr/bin/python3
"""Writes deps/lock.txt: every PyPI artifact that Tern uses, with version and sha256, from deps/wanted.txt.

    /usr/bin/python3 deps/lock.py            # needs python3-venv; asks the registry that pip is set up with

One resolution covers all sections, so that they fit together in one environment; a package is written in the first
section that needs it (and in `native` besides). Hashes are of the files for CPython 3.11 on x86_64 Linux, the one
platform that Tern is built for; source packages are hashed as such. Neither addresses nor host names are written.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
HEAD = """\
# Every PyPI artifact that Tern uses, with its hash. Written by deps/lock.py from deps/wanted.txt; do not edit.
# deps/setup.sh reads it by section; each section is in pip's own form (--require-hashes).
"""


def read_wanted():
    """Returns [(section title line, [(kind, requirement)])] in file order."""
    sections = []
    with open(os.path.join(HERE, "wanted.txt"), encoding="utf-8") as text:
        for line in map(str.strip, text):
            if line.startswith("#:"):
                sections.append((line, []))
            elif line and not line.startswith("#"):
                kind, _, rest = line.partition(" ")
                if kind not in ("sdist", "alone"):
                    kind, rest = "wheel", line
                sections[-1][1].append((kind, rest.replace(" ", "")))
    return sections


def resolve(pip, requirements, *options):
    """Asks pip what it would install. Returns {normalized name: (version, sha256)}."""
    env = dict(os.environ, PYTHONPATH=os.path.join(HERE, "sdist")) if "--no-binary" in options else None
    command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-", *options, *requirements]
    report = json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)
    found = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        archive = item["download_info"]["archive_info"]
        digest = archive.get("hashes", {}).get("sha256") or archive["hash"].partition("sha256=")[2]
        found[name] = (item["metadata"]["version"], digest)
    return found


def line_for(name, version, digest):
    return f"{name}=={version} --hash=sha256:{digest}\n"


def main():
    sections = read_wanted()
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["/usr/bin/python3", "-m", "venv", scratch], check=True)
        pip = [os.path.join(scratch, "bin", "python"), "-m", "pip"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        out, written, earlier = [HEAD], set(), []
        for title, wanted in sections:
            native = title.startswith("#: native")
            lines = []
            for kind, requirement in wanted:
                if kind == "sdist":
                    options = ("--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--use-pep517")
                    found = resolve(pip, [requirement], *options)
                elif kind == "alone" or native:
                    found = resolve(pip, [requirement], "--no-deps", "--only-binary", ":all:")
                else:
                    continue
                lines += [line_for(name, *found[name]) for name in found]
                if not native:
                    written |= set(found)
            if not native:
                earlier += [requirement for kind, requirement in wanted if kind == "wheel"]
                found = resolve(pip, earlier, "--only-binary", ":all:")
                # What an earlier section pinned stays: the later resolution starts from it.
                lines += [line_for(name, *found[name]) for name in found if name not in written]
                written |= set(found)
                earlier = [f"{name}=={found[name][0]}" for name in found]
            out += [f"\n{title}\n", *sorted(lines)]
    with open(os.path.join(HERE, "lock.txt"), "w", encoding="utf-8") as text:
        text.write("".join(out))
    print(f"deps/lock.txt: {sum('==' in line for line in out)} artifacts", file=sys.stderr)


if __name__ == "__main__":
    main()
