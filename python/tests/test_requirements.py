"""tern.worker.requirements as the server runs it: a program with folders on stdout, a sentence on stderr, an exit code."""
import base64
import hashlib
import io
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent


def make_wheel(folder, name, source, version="1.0"):
    """A wheel of one module, by hand."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


def make_sdist(folder, name, setup):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in {"setup.py": setup, "PKG-INFO": f"Metadata-Version: 1.0\nName: {name}\nVersion: 1.0\n"}.items():
            member = tarfile.TarInfo(f"{name}-1.0/{inside}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


class Code:
    """A script's folder, and the program run on it."""

    def __init__(self, folder):
        self.folder, self.cache = folder / "code", folder / "cache"
        self.folder.mkdir()
        self.wheels = self.folder / "wheels"

    def write(self, text):
        (self.folder / "requirements.txt").write_text(text)

    def environment(self, **more):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "TERN_CACHE"))}
        # No package index and no configuration of the machine: whatever is not in the tests' folders cannot be had.
        return {**plain, "PYTHONPATH": str(PACKAGE), "TERN_CACHE_DIR": str(self.cache), "PIP_CONFIG_FILE": "/dev/null",
                "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_USE_PEP517": "0", **more}

    def start(self, *arguments, python=sys.executable, **more):
        process = more.pop("process", {})
        return subprocess.Popen([python, "-m", "tern.worker.requirements", str(self.folder), *arguments], cwd="/",
                                env=self.environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                **process)

    def run(self, *arguments, **more):
        process = self.start(*arguments, **more)
        out, err = process.communicate(timeout=100)
        return process.returncode, out.splitlines(), err.splitlines()

    def import_there(self, folders, statement):
        return subprocess.run([sys.executable, "-c", statement], env={**self.environment(), "PYTHONPATH": ":".join(folders)},
                              cwd="/", check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture
def code(tmp_path):
    return Code(tmp_path)


def test_nothing_wanted_is_the_folder_alone(code):
    assert code.run() == (0, [str(code.folder)], [])
    assert not code.cache.exists()


def test_lib_wins_over_requirements(code):
    (code.folder / "lib").mkdir()
    code.write("./not-there.whl\n")
    status, folders, said = code.run()
    assert (status, folders) == (0, [str(code.folder), str(code.folder / "lib")])
    assert len(said) == 1 and "warning" in said[0] and "requirements.txt is ignored" in said[0]


def test_wheels_are_installed_without_an_index_and_once(code):
    make_wheel(code.wheels, "first_module", "import second_module\nANSWER = second_module.ANSWER + 1\n")
    make_wheel(code.wheels, "second_module", "ANSWER = 41\n")
    code.write("first_module==1.0  # pinned\nsecond_module\n")
    status, folders, said = code.run(PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    assert status == 0, said
    assert folders[0] == str(code.folder) and folders[1].startswith(str(code.cache)) and len(folders) == 2
    assert code.import_there(folders, "import first_module; print(first_module.ANSWER)") == "42"
    stamps = list(code.cache.glob("*/complete"))
    made = stamps[0].stat().st_mtime_ns
    assert code.run() == (0, folders, [])
    assert list(code.cache.glob("*/complete")) == stamps and stamps[0].stat().st_mtime_ns == made


def test_a_changed_wheel_is_installed_anew(code):
    make_wheel(code.wheels, "first_module", "ANSWER = 1\n")
    code.write("first_module\n")
    _, before, _ = code.run()
    make_wheel(code.wheels, "first_module", "ANSWER = 2\n")
    status, after, _ = code.run()
    assert status == 0 and after != before
    assert code.import_there(after, "import first_module; print(first_module.ANSWER)") == "2"


def test_files_that_requirements_names_count(code):
    make_wheel(code.folder / "own", "first_module", "ANSWER = 1\n")
    (code.folder / "more.txt").write_text("./own/first_module-1.0-py3-none-any.whl\n")
    code.write("-r more.txt\n")
    _, before, _ = code.run()
    make_wheel(code.folder / "own", "first_module", "ANSWER = 3\n")
    status, after, _ = code.run()
    assert status == 0 and after != before
    assert code.import_there(after, "import first_module; print(first_module.ANSWER)") == "3"


def test_what_the_interpreter_has_is_installed_already(code):
    code.write("pytest\n")
    status, folders, said = code.run()
    assert (status, len(folders)) == (0, 2), said
    assert not [name for name in os.listdir(folders[1]) if "pytest" in name]


def test_another_version_shadows_the_interpreters(code):
    make_wheel(code.wheels, "iniconfig", "ANSWER = 'ours'\n", version="99.0")  # pytest needs iniconfig
    code.write("iniconfig==99.0\n")
    status, folders, said = code.run()
    assert status == 0, said
    assert code.import_there(folders, "import iniconfig; print(iniconfig.ANSWER)") == "ours"
    assert code.import_there([], "import iniconfig; print(hasattr(iniconfig, 'ANSWER'))") == "False"


def test_two_at_once_install_once(code):
    make_wheel(code.wheels, "first_module", "ANSWER = 1\n")
    code.write("first_module\n")
    both = [code.start(), code.start()]
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1] and len(list(code.cache.glob("requirements-*/complete"))) == 1


@pytest.mark.parametrize("text, words", [
    ("./not-there.whl\n", "not-there.whl"),
    ("a_package_that_is_nowhere\n", "No matching distribution found for a_package_that_is_nowhere"),
    ("first_module==2.0\n", "No matching distribution found for first_module==2.0"),
    ("broken\n", "broken"),
    ("this is no requirement\n", "Invalid requirement"),
    ("\0\1\2\n", ""),
])
def test_a_failure_is_one_sentence_and_leaves_nothing(code, text, words):
    make_wheel(code.wheels, "first_module", "")
    (code.wheels / "broken-1.0-py3-none-any.whl").write_bytes(b"PK\3\4 no archive at all")
    code.write(text)
    status, folders, said = code.run()
    assert (status, folders) == (1, [])
    assert said[-1].startswith(f"requirements: {code.folder}/requirements.txt could not be installed: ")
    assert words in said[-1] and said[-1].endswith("(only code/wheels was looked at)")
    assert not [path for path in code.cache.iterdir() if path.is_dir()]


def test_a_failure_without_wheels_does_not_speak_of_them(code):
    code.write("a_package_that_is_nowhere\n")
    status, _, said = code.run()
    assert status == 1 and said[-1].endswith("No matching distribution found for a_package_that_is_nowhere")


def test_an_index_out_of_reach_is_said(code):
    code.write("a_package_that_is_nowhere\n")
    status, _, said = code.run(PIP_NO_INDEX="0", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="1")
    assert status == 1 and "the package index cannot be reached" in said[-1]


def test_a_setup_that_raises_is_told_with_its_error(code):
    make_sdist(code.wheels, "angry", "raise RuntimeError('not on a Thursday')\n")
    code.write("angry\n")
    status, _, said = code.run()
    assert status == 1
    assert "not on a Thursday" in said[-1] and "angry" in said[-1]


def test_a_setup_that_prints_without_end_is_cut(code):
    make_sdist(code.wheels, "chatty", "for i in range(300000):\n    print('word ' * 20)\nprint('x' * 30000000)\nraise SystemExit(3)\n")
    code.write("chatty\n")
    status, _, said = code.run("--timeout", "90")
    assert status == 1 and "could not be installed" in said[-1]
    assert len(said) < 100 and sum(map(len, said)) < 200_000


def children_of(pid):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry))
    return found


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


SLEEPER = "import os, time\nopen(os.environ['STARTED'], 'w').write(str(os.getpid()))\ntime.sleep(600)\n"


def alive(pid):
    try:
        return pathlib.Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_time_limit_ends_pip_and_what_it_started(code, tmp_path):
    make_sdist(code.wheels, "sleepy", SLEEPER)
    code.write("sleepy\n")
    status, folders, said = code.run("--timeout", "5", STARTED=str(tmp_path / "started"))
    assert (status, folders) == (3, [])
    assert "not installed in time" in said[-1] and any("installing for 2 s" in line for line in said)
    sleeper = int((tmp_path / "started").read_text())
    wait_until(lambda: not alive(sleeper))
    assert not [path for path in code.cache.iterdir() if path.is_dir()]


def test_sigterm_ends_pip_and_what_it_started(code, tmp_path):
    make_sdist(code.wheels, "sleepy", SLEEPER)
    code.write("sleepy\n")
    started = tmp_path / "started"
    process = code.start(STARTED=str(started))
    wait_until(lambda: started.exists() and started.read_text())
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    wait_until(lambda: not alive(int(started.read_text())))


def test_sigkill_ends_pip_and_what_it_started_too(code, tmp_path):
    make_sdist(code.wheels, "sleepy", SLEEPER)
    code.write("sleepy\n")
    started = tmp_path / "started"
    process = code.start(STARTED=str(started))
    wait_until(lambda: started.exists() and started.read_text())
    process.kill()
    process.wait()
    wait_until(lambda: not alive(int(started.read_text())))
    process.stdout.close()
    process.stderr.close()
    make_wheel(code.wheels, "first_module", "ANSWER = 1\n")
    code.write("first_module\n")
    assert code.run("--timeout", "60")[0] == 0


def test_no_place_to_write(code):
    code.write("pytest\n")
    status, folders, said = code.run(TERN_CACHE_DIR="/dev/null/cache")
    assert (status, folders) == (4, [])
    assert "the cache folder /dev/null/cache cannot be written" in said[-1]


@pytest.fixture
def open_folder():
    """A folder that everybody may look into; those of pytest are its user's only."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_a_user_without_a_home_uses_the_temporary_folder(open_folder):
    code = Code(open_folder)
    make_wheel(code.wheels, "first_module", "ANSWER = 1\n")
    code.write("first_module\n")
    scratch = open_folder / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    strangers = {"TERN_CACHE_DIR": "", "HOME": "/nonexistent", "TMPDIR": str(scratch), "XDG_CACHE_HOME": ""}
    status, folders, said = code.run(python="/usr/bin/python3", process={"user": 65534, "group": 65534}, **strangers)
    if status == 4 and "needs pip" in said[-1]:
        pytest.skip("the system's Python has no pip")
    assert status == 0, said
    assert folders[1].startswith(str(scratch / "tern-65534")) and (scratch / "tern-65534").stat().st_mode & 0o777 == 0o700
    # Somebody else's folder of that name is not used.
    os.chown(scratch / "tern-65534", 0, 0)
    (scratch / "tern-65534").chmod(0o777)
    status, _, said = code.run(python="/usr/bin/python3", process={"user": 65534, "group": 65534}, **strangers)
    assert status == 4 and "TERN_CACHE_DIR" in said[-1]


def test_an_interpreter_without_pip(code, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    code.write("first_module\n")
    status, folders, said = code.run(python=str(tmp_path / "bare" / "bin" / "python"))
    assert (status, folders) == (4, [])
    assert "requirements.txt needs pip" in said[-1] and "code/lib" in said[-1]


@pytest.mark.parametrize("arguments", [[], ["/there/is/no/such/folder"], ["--timeout", "soon", "/tmp"]])
def test_wrong_arguments(arguments):
    run = subprocess.run([sys.executable, "-m", "tern.worker.requirements", *arguments], cwd="/", check=False,
                         env={**os.environ, "PYTHONPATH": str(PACKAGE)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (run.returncode, run.stdout) == (2, b"") and run.stderr
