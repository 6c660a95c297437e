#!/usr/bin/python3
"""Makes the virtual environment of each peer: TERN_PEERS (default .deps/peers)/NAME, from bench/peers/NAME.lock by hash.

    /usr/bin/python3 bench/peers/install.py [NAME...]

A second run does nothing. Large files that another environment has already (TensorFlow's libraries, 1.3 GB unpacked) become
hard links of it. A peer that cannot be installed is told with pip's last lines, and the others go on.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEPS = Path(os.environ.get("TERN_DEPS") or HERE.parents[1] / ".deps")
PEERS = Path(os.environ.get("TERN_PEERS") or DEPS / "peers")
LARGE = 1 << 20


def digest(path):
    with open(path, "rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def share(folder, others):
    """Large files of `folder` that are the same in one of `others` become hard links. -> bytes saved"""
    saved = 0
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.stat().st_size < LARGE:
            continue
        for other in others:
            twin = other / path.relative_to(folder)
            if not twin.is_file() or twin.stat().st_size != path.stat().st_size:
                continue
            if twin.samefile(path) or digest(twin) != digest(path):
                continue
            scratch = path.with_name(path.name + ".link")
            try:
                os.link(twin, scratch)
            except OSError:  # another file system
                continue
            os.replace(scratch, path)
            saved += twin.stat().st_size
            break
    return saved


def install(name):
    """-> None, or why it could not be."""
    lock, folder = HERE / f"{name}.lock", PEERS / name
    if not lock.exists():
        return "there is no lock file: bench/peers/lock.py found no set of packages that fit"
    stamp, want = folder / ".stamp", hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="ascii") == want:
        return None
    start = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(folder)], check=True)
    done = subprocess.run([folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "install",
                           "--quiet", "--no-cache-dir", "--no-deps", "--require-hashes", "-r", str(lock)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        return done.stdout.strip()[-600:]
    others = [DEPS / "venv", *(p for p in sorted(PEERS.iterdir()) if p != folder and (p / ".stamp").exists())]
    saved = share(folder / "lib", [p / "lib" for p in others])
    stamp.write_text(want, encoding="ascii")
    print(f"peers: {name} installed ({time.monotonic() - start:.0f} s, {saved / 1e6:.0f} MB shared)", flush=True)
    return None


def main():
    PEERS.mkdir(parents=True, exist_ok=True)
    names = sys.argv[1:] or [line[2:].strip() for line in (HERE / "wanted.txt").read_text(encoding="utf-8").splitlines()
                             if line.startswith("#:")]
    failed = {name: why for name in names if (why := install(name))}
    for name, why in failed.items():
        print(f"peers: {name} could not be installed: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
