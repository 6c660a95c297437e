"""Installs what a script's requirements.txt asks for, once, and says which folders belong on its path.

    PYTHON -m tern.worker.requirements CODE_DIR [--cache FOLDER] [--timeout SECONDS]

The server runs this before it starts workers, with the interpreter that will run them; a server that finds no
requirements.txt may leave it out.

stdout  on success only: folders for the front of sys.path, one a line, in this order: CODE_DIR, then CODE_DIR/lib if it
        is there, then the folder of the installed packages.
stderr  lines for the log. After a failure the last line is one sentence that says why; it is meant for people.
exit    0 done; 1 pip could not install them; 2 wrong arguments; 3 the time was up; 4 no pip, or no folder to write to.
        After SIGTERM or SIGINT: pip is stopped, 128 + signal.

Rules: with CODE_DIR/lib there, requirements.txt is ignored with a warning, as the original container does. With
CODE_DIR/wheels there, pip looks nowhere else (--no-index --find-links). What the interpreter has already counts as
installed. Relative paths in requirements.txt start at CODE_DIR. pip's own configuration (PIP_INDEX_URL, pip.conf) holds.

Packages go into a virtual environment below the cache folder, named by a digest of requirements.txt, of the files that it
names, of code/wheels and of what the interpreter has; so a restart installs nothing, and the interpreter's own packages
are never changed. Cache folder: --cache, else $TERN_CACHE_DIR, $XDG_CACHE_HOME/tern, ~/.cache/tern, or a private folder
below the temporary one, whichever can be written first. Nothing in it is removed; all of it may be while no server runs.
"""

import argparse
import collections
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from typing import Deque, Iterator, List, NoReturn, Optional

FAILED, WRONG_ARGUMENTS, TIME_UP, UNUSABLE = 1, 2, 3, 4
DEFAULT_TIMEOUT = 600.0
QUIET_SECONDS = 2.0  # an install that takes longer says so
TAIL_LINES = 60  # of pip's output, kept for the log of a failure
LINE_BYTES = 1000
LAYOUT = "1"  # raise it when the same input is to be installed differently
STAMP = "complete"


class Failure(Exception):
    """Ends the program with a sentence and an exit code."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def say(text: str) -> None:
    print("requirements: " + text, file=sys.stderr, flush=True)


# ---- What the digest is made of


def _named_paths(text: str, code: str) -> Iterator[str]:
    """Files and folders that the lines of a requirements file name, as far as they are there."""
    for line in text.splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        for word in re.split(r"[\s=@]+", line):
            word = word[len("file://"):] if word.startswith("file://") else word
            word = word.partition("#")[0].strip("\"'")
            # "foo" may be a package and a folder; pip takes it for a path only with a slash or as an archive.
            if os.sep in word or word.endswith((".txt", ".whl", ".zip", ".tar.gz", ".in")) or word == ".":
                path = os.path.join(code, word)
                if os.path.exists(path):
                    yield path


def _add_file(digest: "hashlib._Hash", label: str, path: str) -> None:
    content = hashlib.sha256()
    try:
        with open(path, "rb") as data:
            while True:
                block = data.read(1 << 20)
                if not block:
                    break
                content.update(block)
    except OSError as error:
        content.update(str(error.errno).encode())
    digest.update(f"{label}\0{content.hexdigest()}\0".encode("utf-8", "surrogateescape"))


def _add_tree(digest: "hashlib._Hash", path: str, seen: "set[str]", code: str) -> None:
    real = os.path.realpath(path)
    if real in seen:
        return
    seen.add(real)
    if os.path.isdir(path):
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if name not in ("__pycache__", ".git"))
            for name in sorted(files):
                file = os.path.join(folder, name)
                _add_file(digest, os.path.relpath(file, path), file)
        return
    _add_file(digest, os.path.basename(path), path)
    if path.endswith((".txt", ".in")):
        with open(path, encoding="utf-8", errors="replace") as text:
            for named in list(_named_paths(text.read(), code)):
                _add_tree(digest, named, seen, code)


def _package_folders(code: str) -> List[str]:
    """Where the interpreter has packages: its path without the standard library, and without the script's folder."""
    paths = sysconfig.get_paths()
    library = {os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")}
    library |= {os.path.join(folder, "lib-dynload") for folder in library} | {os.path.realpath(code), os.getcwd()}
    folders: List[str] = []
    for entry in sys.path:
        if entry and os.path.isdir(entry) and os.path.realpath(entry) not in library and entry not in folders:
            folders.append(os.path.abspath(entry))
    return folders


def digest_of(code: str) -> str:
    digest = hashlib.sha256()
    for part in (LAYOUT, sys.version, sys.prefix, sysconfig.get_platform(), os.path.realpath(code)):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    for folder in _package_folders(code):
        with contextlib.suppress(OSError):
            names = sorted(name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info", ".egg-link")))
            digest.update("\0".join([folder, *names, ""]).encode("utf-8", "surrogateescape"))
    seen: "set[str]" = set()
    _add_tree(digest, os.path.join(code, "requirements.txt"), seen, code)
    _add_tree(digest, os.path.join(code, "wheels"), seen, code)
    return digest.hexdigest()


# ---- The cache folder


def _usable(folder: str, private: bool) -> bool:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if private:  # below a folder that others write to: it has to be ours
            status = os.lstat(folder)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
                return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def cache_folder(wanted: Optional[str]) -> str:
    chosen = wanted or os.environ.get("TERN_CACHE_DIR")
    if chosen:
        if not _usable(chosen, False):
            raise Failure(UNUSABLE, f"the cache folder {chosen} cannot be written; name another one by TERN_CACHE_DIR")
        return os.path.abspath(chosen)
    candidates = [(os.path.join(os.environ["XDG_CACHE_HOME"], "tern"), False)] if os.environ.get("XDG_CACHE_HOME") else []
    home = os.path.expanduser("~")
    if os.path.isabs(home) and home != "/":
        candidates.append((os.path.join(home, ".cache", "tern"), False))
    with contextlib.suppress(OSError):
        candidates.append((os.path.join(tempfile.gettempdir(), f"tern-{os.getuid()}"), True))
    for folder, private in candidates:
        if _usable(folder, private):
            return folder
    tried = ", ".join(folder for folder, _ in candidates) or "the temporary folder"
    raise Failure(UNUSABLE, f"no folder for the packages of requirements.txt can be written (tried {tried}); "
                            "name one by TERN_CACHE_DIR")


@contextlib.contextmanager
def _locked(path: str, deadline: float) -> Iterator[None]:
    with open(path, "w", encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failure(TIME_UP, "another process is still installing the same requirements.txt") from None
                time.sleep(0.1)
        yield


# ---- pip


class _Output:
    """Reads what pip says: keeps the end, and what matters for the sentence about a failure."""

    def __init__(self, stream: "subprocess.Popen[bytes]") -> None:
        self.tail: Deque[str] = collections.deque(maxlen=TAIL_LINES)
        self.errors: Deque[str] = collections.deque(maxlen=8)
        self.raised: Optional[str] = None
        self.offline = False
        self.doing = ""
        self._process = stream
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        continued = False
        while True:
            raw = stream.readline(LINE_BYTES)
            if not raw:
                return
            if not continued:
                self._take(raw.decode("utf-8", "replace").rstrip())
            continued = not raw.endswith(b"\n")

    def _take(self, line: str) -> None:
        if not line:
            return
        self.tail.append(line)
        word = line.strip()
        if word.startswith(("Collecting ", "Processing ", "Downloading ", "Building wheel ", "Installing collected ")):
            self.doing = re.sub(r": (started|finished).*| \(from .*", "", word)
        if word.startswith("ERROR: "):
            self.errors.append(word[len("ERROR: "):])
        if re.match(r"\w[\w.]*(Error|Exception|Exit|Interrupt): ", word):
            self.raised = word
        if "Retrying (" in word and "connection" in word.lower():
            self.offline = True

    def finish(self) -> None:
        self._thread.join(5)  # something that pip left behind may still hold the pipe


def _reason(output: _Output, code: str, returned: int) -> str:
    reasons = [line for line in output.errors if not line.startswith(("Exception:", "pip's dependency resolver"))]
    if reasons:
        reason = reasons[-1]
    elif output.raised:
        reason = f"{output.doing}: {output.raised}" if output.doing else output.raised
    else:
        reason = f"pip ended with {returned}" + (f", last it said: {output.tail[-1].strip()}" if output.tail else "")
    if os.path.isdir(os.path.join(code, "wheels")):
        reason += " (only code/wheels was looked at)"
    elif output.offline:
        reason += " (the package index cannot be reached; wheels in code/wheels are installed without one)"
    return reason


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends pip and what it started: they are a process group of their own."""
    for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        with contextlib.suppress(OSError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _guarded(group: int) -> Iterator[None]:
    """Meanwhile a process stands by that ends the group if this one is killed before it could."""
    read, write = os.pipe()
    guard = os.fork()
    if guard == 0:
        try:
            os.close(write)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            if not os.read(read, 1):  # nobody holds the other end any more
                os.killpg(group, signal.SIGTERM)
                time.sleep(1)
                os.killpg(group, signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(read)
    try:
        yield
    finally:
        os.write(write, b".")
        os.close(write)
        os.waitpid(guard, 0)


def _make_environment(folder: str, code: str) -> List[str]:
    """A virtual environment without pip, which sees the interpreter's packages after its own. Returns its folders."""
    try:
        import venv
        venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(folder)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        raise Failure(UNUSABLE, f"no virtual environment can be made in {folder}: {error}") from None
    base = {"base": folder, "platbase": folder, "installed_base": folder, "installed_platbase": folder}
    paths = sysconfig.get_paths("posix_prefix", vars=base)
    site = list(dict.fromkeys([paths["purelib"], paths["platlib"]]))
    with open(os.path.join(site[0], "interpreter.pth"), "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write("".join(path + "\n" for path in _package_folders(code)))
    return site


def _run_pip(folder: str, code: str, deadline: float) -> None:
    command = [os.path.join(folder, "bin", "python"), "-I", "-m", "pip", "--disable-pip-version-check", "--no-input",
               "install", "--progress-bar", "off", "-r", os.path.join(code, "requirements.txt")]
    wheels = os.path.join(code, "wheels")
    if os.path.isdir(wheels):
        command += ["--no-index", "--find-links", wheels]
    # These would send the packages elsewhere, or hide the interpreter's.
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment["PIP_USER"] = "0"
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=code, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    try:
        with _guarded(process.pid):
            output = _Output(process)
            returned = _wait(process, output, started, deadline)
    except BaseException:
        _stop(process)
        raise
    output.finish()
    if returned:
        for line in list(output.tail):
            print("pip: " + line, file=sys.stderr)
        raise Failure(FAILED, f"{os.path.join(code, 'requirements.txt')} could not be installed: "
                              f"{_reason(output, code, returned)}")
    if time.monotonic() - started > QUIET_SECONDS:
        say(f"installed after {time.monotonic() - started:.0f} s")


def _wait(process: "subprocess.Popen[bytes]", output: _Output, started: float, deadline: float) -> int:
    """Waits for pip and tells about it: after 2 s, then each time twice as long."""
    pause = QUIET_SECONDS
    while True:
        try:
            return process.wait(max(0.0, min(started + pause, deadline) - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() >= deadline:
            raise Failure(TIME_UP, "requirements.txt was not installed in time"
                                   + (f"; at the end pip was at: {output.doing}" if output.doing else "")
                                   + "; give it more time, or put its packages into code/lib or code/wheels")
        say(f"installing for {time.monotonic() - started:.0f} s" + (f": {output.doing}" if output.doing else ""))
        pause *= 2


def _read_stamp(folder: str) -> Optional[List[str]]:
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8", errors="surrogateescape") as text:
            folders = text.read().splitlines()
    except OSError:
        return None
    return folders if folders and all(map(os.path.isdir, folders)) else None


def install(code: str, cache: Optional[str], timeout: float) -> List[str]:
    """Installs CODE/requirements.txt unless that was done before. Returns the folders of the packages."""
    deadline = time.monotonic() + timeout
    folder = os.path.join(cache_folder(cache), "requirements-" + digest_of(code))
    done = _read_stamp(folder)
    if done is not None:
        return done
    if importlib.util.find_spec("pip") is None:
        raise Failure(UNUSABLE, f"requirements.txt needs pip, which {sys.executable} does not have; "
                                "install it, or put the packages into code/lib")
    with _locked(folder + ".lock", deadline):
        done = _read_stamp(folder)
        if done is not None:
            return done
        try:
            site = _make_environment(folder, code)
            _run_pip(folder, code, deadline)
            with open(os.path.join(folder, STAMP + ".new"), "w", encoding="utf-8", errors="surrogateescape") as out:
                out.write("".join(path + "\n" for path in site))
            os.replace(os.path.join(folder, STAMP + ".new"), os.path.join(folder, STAMP))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return site


def folders_of(code: str, cache: Optional[str] = None, timeout: float = DEFAULT_TIMEOUT) -> List[str]:
    """The folders for the front of sys.path of a script in `code`; installs what is missing. Raises Failure."""
    code = os.path.abspath(code)
    if not os.path.isdir(code):
        raise Failure(WRONG_ARGUMENTS, f"{code} is not a folder")
    folders, library = [code], os.path.join(code, "lib")
    wanted = os.path.exists(os.path.join(code, "requirements.txt"))
    if os.path.exists(library):
        if wanted:
            say(f"warning: {library} is there, so requirements.txt is ignored")
        folders.append(library)
    elif wanted:
        folders += install(code, cache, timeout)
    return folders


def _on_signal(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="tern.worker.requirements", description="Installs a script's requirements.txt.")
    parser.add_argument("code", metavar="CODE_DIR")
    parser.add_argument("--cache", metavar="FOLDER", help="where installed packages are kept")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=DEFAULT_TIMEOUT)
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _on_signal)
    try:
        folders = folders_of(options.code, options.cache, options.timeout)
    except Failure as failure:
        say(str(failure))
        return failure.code
    except OSError as error:
        say(f"requirements.txt could not be installed: {error}")
        return UNUSABLE
    sys.stdout.buffer.write(b"".join(os.fsencode(folder) + b"\n" for folder in folders))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
