#!/usr/bin/python3
"""Fetches the PyPI artifacts of deps/lock.txt and unpacks what Tern needs of them. Run by deps/setup.sh.

    python3 deps/fetch.py build|test|image|bench

Native artifacts are downloaded by pip, with hashes required, into .deps/artifacts, and only the needed files are
unpacked: TensorFlow's C headers and two libraries, OpenVINO's C headers and five, llhttp's and lexbor's C sources.
Stages test and bench install the Python sections into the virtual environment .deps/venv, whose TensorFlow comes from
the same downloaded wheel and shares its libraries with the native part by hard links. pip's own configuration on the
machine is honoured.
A stamp file for each part holds a digest of what it was made from, so a finished part costs nothing again.
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
DEPS = os.path.abspath(os.environ.get("TERN_DEPS") or os.path.join(HERE, "..", ".deps"))
ARTIFACTS = os.path.join(DEPS, "artifacts")
VENV = os.path.join(DEPS, "venv")
PYTHON = os.path.join(VENV, "bin", "python")
LAYOUT = "1"  # raise it when the same artifacts are to be unpacked differently
STAGES = {"build": [], "image": [], "test": ["python"], "bench": ["python", "bench"]}
TF_LIBRARIES = ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
# 85 MB of the wheel's 180: no plugins of other devices, no front ends of other formats.
OPENVINO_LIBRARIES = r"openvino/libs/(libopenvino(_c|_tensorflow_frontend)?\.so\.\d+|libopenvino_intel_cpu_plugin\.so|" \
    r"libtbb\.so\.\d+)$"
TF_HEADERS = ("tensorflow/c/c_api.h", "tensorflow/c/c_api_experimental.h", "tensorflow/c/eager/c_api.h")


class Step:
    """Prints one line with the seconds a step took; on a terminal the seconds run while it works."""

    def __init__(self, what):
        self.what, self.done = what, threading.Event()

    def __enter__(self):
        self.start = time.monotonic()
        self.ticker = threading.Thread(target=self._tick, daemon=True)
        if sys.stdout.isatty():
            self.ticker.start()
        return self

    def _tick(self):
        while not self.done.wait(1):
            print(f"\rdeps: {self.what} ... {time.monotonic() - self.start:.0f} s", end="", flush=True)

    def __exit__(self, kind, *_):
        self.done.set()
        if sys.stdout.isatty():
            print("\r\033[K", end="")
        word = "failed after " if kind else ""
        print(f"deps: {self.what} ({word}{time.monotonic() - self.start:.1f} s)", flush=True)


def read_lock():
    """Returns {section: {name: requirement line}}."""
    sections, current = {}, None
    with open(os.path.join(HERE, "lock.txt"), encoding="utf-8") as text:
        for line in map(str.strip, text):
            if line.startswith("#:"):
                current = sections.setdefault(line[2:].split(":")[0].strip(), {})
            elif line and not line.startswith("#"):
                current[line.partition("==")[0]] = line
    return sections


def digest_of(*parts):
    return hashlib.sha256("\n".join((LAYOUT, *parts)).encode()).hexdigest()


def is_stamped(name, digest):
    try:
        with open(os.path.join(DEPS, f".stamp-{name}"), encoding="ascii") as text:
            return text.read() == digest
    except OSError:
        return False


def stamp(name, digest):
    with open(os.path.join(DEPS, f".stamp-{name}"), "w", encoding="ascii") as text:
        text.write(digest)


def pip(*arguments, lines=(), env=None):
    """Runs the environment's pip, quietly; on failure shows what it said. `lines` become a requirements file."""
    with tempfile.TemporaryDirectory() as scratch:
        if lines:
            path = os.path.join(scratch, "requirements.txt")
            with open(path, "w", encoding="utf-8") as text:
                text.write("\n".join(lines) + "\n")
            arguments += ("--require-hashes", "--no-deps", "-r", path)
        command = [PYTHON, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
        run = subprocess.run(command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        sys.stderr.write(run.stdout)
        raise SystemExit(f"deps: pip {arguments[0]} failed, see above")


def make_venv():
    digest = digest_of(sys.version)
    if is_stamped("venv", digest) and os.path.exists(PYTHON):
        return
    with Step("virtual environment"):
        shutil.rmtree(VENV, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", VENV], check=True)
        for name in ("python", "bench"):
            if os.path.exists(os.path.join(DEPS, f".stamp-{name}")):
                os.remove(os.path.join(DEPS, f".stamp-{name}"))
    stamp("venv", digest)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def artifact(line):
    """Returns the path of the downloaded file of a lock line, verified, or None when it is not there."""
    name, version = re.match(r"([^=]+)==(\S+)", line).groups()
    wanted = line.partition("sha256:")[2]
    prefix = f"{name}-{version}".replace("-", "_")
    for file in os.listdir(ARTIFACTS) if os.path.isdir(ARTIFACTS) else ():
        path = os.path.join(ARTIFACTS, file)
        if file.replace("-", "_").startswith(prefix) and sha256_of(path) == wanted:
            return path
    return None


def download(line, sdist):
    """Downloads the artifact of a native lock line unless it is there already. Returns its path."""
    path = artifact(line)
    if path is None:
        with Step(f"downloading {line.split()[0]}"):
            options, env = ("--only-binary", ":all:"), None
            if sdist:
                options = ("--no-binary", ":all:", "--no-build-isolation", "--use-pep517")
                env = {"PYTHONPATH": os.path.join(HERE, "sdist")}
            pip("download", "--dest", ARTIFACTS, *options, lines=[line], env=env)
        path = artifact(line)
    if path is None:
        raise SystemExit(f"deps: {line.split()[0]}: the downloaded file does not have the hash of deps/lock.txt")
    return path


def fresh_folder(name):
    path = os.path.join(DEPS, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def unpack_llhttp(path):
    target = fresh_folder("llhttp")
    with tarfile.open(path) as archive:
        for member in archive:
            if re.search(r"/vendor/llhttp/(src/\w+\.c|include/llhttp\.h|LICENSE(-MIT)?)$", member.name):
                with open(os.path.join(target, os.path.basename(member.name)), "wb") as out:
                    shutil.copyfileobj(archive.extractfile(member), out)


def unpack_lexbor(path):
    target = fresh_folder("lexbor")
    with tarfile.open(path) as archive:
        for member in archive:
            inside = re.match(r"[^/]+/lexbor/(source/[\w./-]+|LICENSE|NOTICE|version)$", member.name)
            if inside and member.isfile() and ".." not in inside[1]:
                file = os.path.join(target, inside[1])
                os.makedirs(os.path.dirname(file), exist_ok=True)
                with open(file, "wb") as out:
                    shutil.copyfileobj(archive.extractfile(member), out)


def unpack_tensorflow(path):
    """Unpacks the two libraries, and the C API's headers with all that they include."""
    target = fresh_folder("tensorflow")
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        todo, seen = list(TF_HEADERS), set()
        while todo:
            header = todo.pop()
            inside = f"tensorflow/include/{header}"
            if header in seen or inside not in names:
                continue
            seen.add(header)
            text = archive.read(inside)
            file = os.path.join(target, "include", header)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "wb") as out:
                out.write(text)
            todo += re.findall(r'^\s*#\s*include\s*["<]([\w./-]+)[">]', text.decode("utf-8"), re.M)
        os.makedirs(os.path.join(target, "lib"))
        for library in TF_LIBRARIES:
            file = os.path.join(target, "lib", library)
            with archive.open(f"tensorflow/{library}") as source, open(file, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            os.chmod(file, 0o755)
            os.symlink(library, file[: -len(".2")])
        for name in names:
            if re.search(r"\.dist-info/(licenses/)?(LICENSE|NOTICE|THIRD_PARTY_NOTICES\.txt)$", name):
                with archive.open(name) as source, open(os.path.join(target, os.path.basename(name)), "wb") as out:
                    shutil.copyfileobj(source, out)


def unpack_openvino(path):
    """Unpacks the C API's headers, and the libraries that run a SavedModel on the CPU."""
    target = fresh_folder("openvino")
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if re.match(OPENVINO_LIBRARIES, name):
                file = os.path.join(target, "lib", os.path.basename(name))
            elif re.match(r"openvino/include/openvino/c/[\w/]+\.h$", name):
                file = os.path.join(target, name[len("openvino/"):])
            elif re.search(r"\.dist-info/licenses/(LICENSE|licensing/[\w.-]+)$", name):
                file = os.path.join(target, os.path.basename(name))
            else:
                continue
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with archive.open(name) as source, open(file, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            if ".so" in name:
                os.chmod(file, 0o755)
            if "libopenvino_c.so." in name:
                os.symlink(os.path.basename(name), os.path.join(target, "lib", "libopenvino_c.so"))


def native(lock):
    """lexbor and llhttp first: they are small, and most of the program needs no more."""
    unpack = {"selectolax": unpack_lexbor, "httptools": unpack_llhttp, "tensorflow-cpu": unpack_tensorflow,
              "openvino": unpack_openvino}
    for name, how in unpack.items():
        line = lock["native"][name]
        if is_stamped(name, digest_of(line)):
            continue
        path = download(line, sdist=name in ("selectolax", "httptools"))
        with Step(f"unpacking {os.path.basename(path)}"):
            how(path)
        stamp(name, digest_of(line))


def share_libraries():
    """Replaces the environment's copies of TensorFlow's libraries by links to the native ones, where they can be."""
    for library in TF_LIBRARIES:
        ours = os.path.join(DEPS, "tensorflow", "lib", library)
        theirs = os.path.join(VENV, "lib", f"python3.{sys.version_info[1]}", "site-packages", "tensorflow", library)
        if os.path.getsize(ours) == os.path.getsize(theirs) and not os.path.samefile(ours, theirs):
            os.link(ours, theirs + ".new")
            os.replace(theirs + ".new", theirs)


def python_section(lock, section):
    lines = list(lock[section].values())
    digest = digest_of(*lines)
    if is_stamped(section, digest):
        return
    with Step(f"installing {len(lines)} Python packages of section {section} into the virtual environment"):
        tensorflow = lock[section].get("tensorflow-cpu")
        if tensorflow:
            download(lock["native"]["tensorflow-cpu"], sdist=False)
            pip("install", "--no-compile", "--no-index", "--find-links", ARTIFACTS, lines=[tensorflow])
            share_libraries()
        rest = [line for line in lines if line != tensorflow]
        pip("install", "--no-compile", "--only-binary", ":all:", lines=rest)
    stamp(section, digest)


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        raise SystemExit("usage: python3 deps/fetch.py build|test|image|bench")
    os.makedirs(DEPS, exist_ok=True)
    # One at a time: two builds started together would unpack over each other. The lock ends with the process.
    guard = open(os.path.join(DEPS, ".lock"), "w", encoding="ascii")
    fcntl.flock(guard, fcntl.LOCK_EX)
    lock = read_lock()
    make_venv()
    native(lock)
    for section in STAGES[sys.argv[1]]:
        python_section(lock, section)


if __name__ == "__main__":
    main()
