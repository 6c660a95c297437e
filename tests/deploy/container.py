"""Starts the built image the way its config says: with podman where that works on this machine, else in a chroot.

A container engine needs rights that a build machine may not give it. Then the same layers are unpacked over each other, and
the entry point runs in there as process 1 of its own PID namespace, with the config's environment. TERN_IMAGE_CHROOT=1
asks for that way.
"""
import gzip
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time

from tern_server import free_port

PATIENCE = 90.0


class Unable(Exception):
    """Nothing on this machine may start a container; says why."""


class Archive:
    """An OCI archive: its config, and its layers."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        with tarfile.open(self.path) as tar:
            def read(digest):
                return json.load(tar.extractfile("blobs/sha256/" + digest.removeprefix("sha256:")))
            self.index = json.load(tar.extractfile("index.json"))
            self.docker = json.load(tar.extractfile("manifest.json"))
            self.manifest = read(self.index["manifests"][0]["digest"])
            self.image = read(self.manifest["config"]["digest"])
        self.config = self.image["config"]
        self.digest = self.manifest["config"]["digest"].removeprefix("sha256:")
        self.tag = self.docker[0]["RepoTags"][0]

    def unpack(self, folder):
        """The image's root file system, once for each image."""
        root, stamp = folder / "root", folder / "of"
        if stamp.exists() and stamp.read_text(encoding="ascii") == self.digest:
            return root
        shutil.rmtree(folder, ignore_errors=True)
        root.mkdir(parents=True)
        with tarfile.open(self.path) as tar:
            for layer in self.manifest["layers"]:
                packed = tar.extractfile("blobs/sha256/" + layer["digest"].removeprefix("sha256:"))
                with gzip.open(packed) as plain:
                    _untar(plain, root)
        stamp.write_text(self.digest, encoding="ascii")
        return root


def _untar(stream, root):
    with subprocess.Popen(["tar", "-x", "-p", "--numeric-owner", "-C", str(root)], stdin=subprocess.PIPE) as tar:
        shutil.copyfileobj(stream, tar.stdin, 1 << 20)
    if tar.returncode:
        raise RuntimeError(f"tar ended with {tar.returncode}")


class Running:
    """A started container. Stopped by the signal that the platform sends."""

    def __init__(self, command, log, stop):
        self.log_file, self._stop = log, stop
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)

    @property
    def log(self):
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def wait(self):
        """-> exit code"""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the container did not end:\n{self.log[-4000:]}") from None

    def terminate(self):
        """SIGTERM to process 1 of the container -> exit code"""
        self._stop(self, signal.SIGTERM)
        return self.wait()

    def kill(self):
        if self.process.poll() is None:
            self._stop(self, signal.SIGKILL)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                raise AssertionError(f"the container ended with {self.process.returncode} before {what}:\n{self.log[-4000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"timed out before {what}:\n{self.log[-4000:]}")
            time.sleep(0.02)


class Podman:
    """The host's network, no limits of its own: what is tried is the image, not the engine."""

    def __init__(self, archive, folder):
        self.archive, self.n = archive, 0
        conf = folder / "containers.conf"
        folder.mkdir(parents=True, exist_ok=True)
        # Limits above those of this process may not be given away.
        conf.write_text("[containers]\ndefault_ulimits = []\n[engine]\nevents_logger = \"none\"\n", encoding="ascii")
        self.env = {**os.environ, "CONTAINERS_CONF": str(conf)}
        self.base = ["podman", "--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver=overlay",
                     "--cgroup-manager=cgroupfs"]
        self.name = f"podman ({self._call('--version', base=['podman']).split()[-1]})"
        known = self._call("images", "--no-trunc", "--quiet").split()
        if f"sha256:{archive.digest}" not in known:
            self._call("rmi", "--all", "--force")
            self._call("load", "--quiet", "--input", str(archive.path))
        self.options = next(o for o in self._options() if self._works(o))

    def _options(self):
        for runtime in ("crun", "runc"):
            if shutil.which(runtime):
                yield [f"--runtime={runtime}"]
        raise RuntimeError(f"no runtime starts a container here: {self.trouble[-1500:]}")

    trouble = "neither crun nor runc"

    def _works(self, options):
        done = subprocess.run([*self.base, *options, "run", "--rm", "--network=host", self.archive.tag, "true"], env=self.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.trouble = done.stdout
        return done.returncode == 0

    def _call(self, *words, base=None):
        done = subprocess.run([*(base or self.base), *words], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=600, check=False)
        if done.returncode:
            raise RuntimeError(f"podman {words[0]}: {done.stderr[-1500:]}")
        return done.stdout

    def start(self, args, log, env=None, volumes=(), user=None, read_only=False):
        self.n += 1
        name = f"tern-test-{os.getpid()}-{self.n}"
        words = [*self.base, *self.options, "run", "--rm", "--name", name, "--network=host"]
        words += [f"--env={k}={v}" for k, v in (env or {}).items()]
        words += [f"--volume={host}:{inside}:ro" for host, inside in volumes]
        words += [f"--user={user}:{user}"] if user else []
        words += ["--read-only", "--tmpfs=/tmp"] if read_only else []

        def stop(_, number):
            subprocess.run([*self.base, "kill", f"--signal={int(number)}", name], env=self.env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

        # podman's own environment counts (CONTAINERS_CONF), so it goes through env(1).
        conf = f"CONTAINERS_CONF={self.env['CONTAINERS_CONF']}"
        return Running(["env", conf, *words, self.archive.tag, *args], log, stop)


class Chroot:
    """The entry point as process 1 of namespaces of its own, by unshare(1) and chroot(1)."""

    def __init__(self, archive, folder, why):
        if subprocess.run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            raise Unable(f"podman does not start a container here ({why}), and unshare may not mount")
        self.archive, self.root = archive, archive.unpack(folder)
        self.name = f"chroot in namespaces, as podman does not start it here ({why})"

    def start(self, args, log, env=None, volumes=(), user=None, read_only=False):
        root = self.root
        settings = [*self.archive.config["Env"], *(f"{k}={v}" for k, v in (env or {}).items())]
        inner = ["env", "-i", *settings, "chroot", *([f"--userspec={user}:{user}"] if user else []), str(root),
                 *self.archive.config["Entrypoint"], *args]
        lines = ["set -e", f"mount --bind '{root}' '{root}'", f"cd '{root}'"]
        for host, inside in volumes:
            (root / inside.lstrip("/")).mkdir(parents=True, exist_ok=True)
            lines.append(f"mount --bind '{host}' '{root}{inside}'")
        lines += [f"mount -t tmpfs none '{root}/tmp' -o mode=1777", f"mount -t proc none '{root}/proc'",
                  f"mount --rbind /dev '{root}/dev'"]
        lines += [f"mount -o remount,bind,ro '{root}'"] if read_only else []

        def stop(running, number):
            pid = running.process.pid
            for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
                os.kill(int(child), number)

        return Running(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                        "; ".join(lines) + '; exec "$@"', "sh", *inner], log, stop)


def open_image(archive):
    """-> Podman or Chroot, whichever this machine lets run. Raises Unable."""
    folder = archive.path.parent
    if os.environ.get("TERN_IMAGE_CHROOT"):
        why = "TERN_IMAGE_CHROOT is set"
    elif shutil.which("podman") is None:
        why = "it is not installed"
    else:
        try:
            return Podman(archive, folder / "podman")
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            why = " ".join(str(error).split())[:300]
    return Chroot(archive, folder / "chroot", why)


def scratch():
    """A folder that another user may read."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tern-image-"))
    folder.chmod(0o755)
    return folder


# ---- talking to what runs ----

def free_ports(n):
    """n ports in a row that nobody listens on."""
    while True:
        first, taken = free_port(), []
        try:
            for port in range(first, first + n):
                taken.append(socket.socket())
                taken[-1].bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for s in taken:
                s.close()


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def is_up(port, path="/ping"):
    try:
        return ask(port, "GET", path)[0] == 200
    except OSError:
        return False
