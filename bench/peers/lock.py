#!/usr/bin/python3
"""Writes bench/peers/NAME.lock: every artifact of a peer's virtual environment, with version and sha256.

    /usr/bin/python3 bench/peers/lock.py [NAME...]      asks the registry that pip is set up with

Like deps/lock.py, for bench/peers/wanted.txt: each peer is resolved alone, as they do not fit into one environment. Only
wheels are taken. Neither addresses nor host names are written.
"""
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def wanted():
    """-> {peer: [requirement]}"""
    found, current = {}, None
    for line in map(str.strip, (HERE / "wanted.txt").read_text(encoding="utf-8").splitlines()):
        if line.startswith("#:"):
            current = found.setdefault(line[2:].strip(), [])
        elif line and not line.startswith("#"):
            current.append(line.replace(" ", ""))
    return found


def resolve(pip, requirements):
    """What pip would install: {normalized name: (version, sha256)}."""
    command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--report", "-",
               *requirements]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower():
            (item["metadata"]["version"], item["download_info"]["archive_info"]["hashes"]["sha256"]) for item in report["install"]}


def main():
    peers = wanted()
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["/usr/bin/python3", "-m", "venv", scratch], check=True)
        pip = [f"{scratch}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        for name in sys.argv[1:] or peers:
            try:
                found = resolve(pip, peers[name])
            except subprocess.CalledProcessError:
                print(f"{name}: pip finds no set of packages that fit, see above", file=sys.stderr)
                continue
            text = f"# The environment of {name}. Written by bench/peers/lock.py from wanted.txt; do not edit.\n"
            text += "".join(f"{package}=={version} --hash=sha256:{digest}\n"
                            for package, (version, digest) in sorted(found.items()))
            (HERE / f"{name}.lock").write_text(text, encoding="utf-8")
            print(f"{name}: {len(found)} artifacts", file=sys.stderr)


if __name__ == "__main__":
    main()
