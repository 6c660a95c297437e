#!/usr/bin/python3
"""Builds the SageMaker image out of Debian packages and the release build, without a container engine or a registry.

    deploy/sagemaker/build.py [--build build] [--out build/image/tern-sagemaker.tar] [--tag tern-sagemaker:VERSION]

Four layers: Debian (mmdebstrap, the packages of packages.txt), TensorFlow's libraries, OpenVINO's, Tern. The archive is an OCI
image layout that docker's loader understands, too:

    docker load -i tern-sagemaker.tar      podman load -i tern-sagemaker.tar
    skopeo copy oci-archive:tern-sagemaker.tar docker://REGISTRY/tern-sagemaker:VERSION

Needs mmdebstrap and Debian's package sources of this machine (or --sources FILE), and root or user namespaces; `make image`
sees to that. A layer that was built from the same things is taken from the folder of the archive (the Debian one for a week,
--fresh builds it anew for its security updates).
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WEEK = 7 * 24 * 3600
LEFT_OUT = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*", "/usr/share/doc/*",
            "/usr/share/doc-base/*", "/usr/share/bash-completion/*", "/var/cache/apt/*", "/var/log/*")
KEPT = ("/usr/share/doc/*/copyright",)
LAYOUT = "1"  # raise it when the same inputs are to make another layer


class Failure(Exception):
    """Ends the program with a sentence."""


# ---- settings ----

def packages(more=""):
    lines = (HERE / "packages.txt").read_text(encoding="utf-8").splitlines()
    return sorted({line.split()[0] for line in lines if line and line[0].isalpha()} | set(more.split()))


def settings(text):
    """The OCI config of a Containerfile's last stage; takes the few instructions that set one, and knows what it may skip."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    stage = [n for n, line in enumerate(lines) if line.startswith("FROM ")][-1]
    config = {"Env": [], "Labels": {}, "ExposedPorts": {}}
    for line in lines[stage + 1:]:
        word, _, rest = line.partition(" ")
        if word in ("LABEL", "ENV"):
            name, _, value = rest.partition("=")
            value = "".join(shlex.split(value))
            if word == "ENV":
                config["Env"].append(f"{name}={value}")
            else:
                config["Labels"][name] = value
        elif word == "EXPOSE":
            config["ExposedPorts"].update({f"{port}/tcp": {} for port in rest.split()})
        elif word in ("ENTRYPOINT", "CMD"):
            config[word.capitalize()] = json.loads(rest)
        elif word in ("STOPSIGNAL", "USER", "WORKDIR"):
            config[{"STOPSIGNAL": "StopSignal", "USER": "User", "WORKDIR": "WorkingDir"}[word]] = rest.strip()
        elif word and not word.startswith("#") and word not in ("RUN", "COPY"):
            raise Failure(f"Containerfile: this script does not know the instruction {word}")
    return config


# ---- layers ----

class Layer:
    """A gzipped tar in the blob folder. made_from: what decides whether a cached one still holds."""

    def __init__(self, folder, name, comment, made_from, fresh_for=None):
        self.name, self.comment, self.folder = name, comment, folder
        self.key = hashlib.sha256("\0".join((LAYOUT, name, *made_from)).encode()).hexdigest()
        self.note = folder / f"{name}.json"
        self.facts = None
        try:
            facts = json.loads(self.note.read_text(encoding="ascii"))
            old = time.time() - self.note.stat().st_mtime
            if facts["key"] == self.key and (fresh_for is None or old < fresh_for) and self.blob(facts).exists():
                self.facts = facts
        except (OSError, ValueError, KeyError):
            pass

    def blob(self, facts=None):
        return self.folder / "blobs" / "sha256" / (facts or self.facts)["digest"]

    def write(self, chunks):
        """chunks: the tar's bytes, piece by piece."""
        blobs = self.folder / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        plain, size, part = hashlib.sha256(), 0, blobs / f".{self.name}.part"
        with open(part, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed:
            for chunk in chunks:
                plain.update(chunk)
                size += len(chunk)
                packed.write(chunk)
        digest = hashlib.sha256()
        with open(part, "rb") as data:
            while block := data.read(1 << 20):
                digest.update(block)
        self.facts = {"key": self.key, "digest": digest.hexdigest(), "diff_id": plain.hexdigest(), "size": size}
        part.rename(self.blob())
        self.note.write_text(json.dumps(self.facts), encoding="ascii")


def read_all(stream):
    while chunk := stream.read(1 << 20):
        yield chunk


def debian_sources(given):
    """Files that say where Debian's packages come from."""
    if given:
        return [str(given)]
    for file in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        if Path(file).exists() and re.search(r"^(deb |Types:)", Path(file).read_text(encoding="utf-8"), re.M):
            return [file]
    raise Failure("this machine has no Debian package sources: name a file of them by --sources")


def debian_layer(folder, args, epoch):
    sources, wanted = debian_sources(args.sources), packages(args.more)
    command = ["mmdebstrap", "--quiet", "--format=tar", "--variant=apt", "--architectures=amd64",
               # With /usr merged from the start no package has to bring perl to do it.
               "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=usr-is-merged",
               "--include=" + ",".join(wanted),
               *(f"--dpkgopt=path-exclude={p}" for p in LEFT_OUT), *(f"--dpkgopt=path-include={p}" for p in KEPT),
               # What tells one build from another of the same packages.
               '--customize-hook=rm -rf "$1"/var/log/* "$1"/var/cache/* "$1"/etc/machine-id "$1"/etc/hostname',
               '--customize-hook=rm -f "$1"/etc/resolv.conf', "bookworm", "-", *sources]
    layer = Layer(folder, "debian", "Debian 12 and " + " ".join(wanted),
                  [*command, *(Path(s).read_text(encoding="utf-8") for s in sources)], 0 if args.fresh else WEEK)
    if layer.facts:
        return layer
    log = folder / "mmdebstrap.log"
    with open(log, "wb") as told:
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=told,
                                       env={**os.environ, "SOURCE_DATE_EPOCH": str(epoch)})
        except FileNotFoundError:
            raise Failure("there is no mmdebstrap: install it, or let `make image` do it") from None
        layer.write(read_all(process.stdout))
        if process.wait():
            layer.note.unlink()
            raise Failure(f"mmdebstrap failed:\n{log.read_text(errors='replace')[-3000:]}")
    return layer


class Pieces(io.RawIOBase):
    """What tarfile writes, as chunks to take."""

    def __init__(self):
        super().__init__()
        self.held = []

    def writable(self):
        return True

    def write(self, data):
        self.held.append(bytes(data))
        return len(data)


def tar_of(tree, epoch):
    """The tar of a folder's content, the same for the same content: sorted, root's, of one time."""
    pieces = Pieces()
    with tarfile.open(fileobj=pieces, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            info = tar.gettarinfo(str(path), str(path.relative_to(tree)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = epoch
            if info.isfile():
                info.type, info.linkname = tarfile.REGTYPE, ""
                info.size = path.stat().st_size
                with open(path, "rb") as data:
                    tar.addfile(info, data)
            else:
                tar.addfile(info)
            yield from pieces.held
            pieces.held = []
    yield from pieces.held


def print_of(tree):
    """What a tree holds, as one digest."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        digest.update(f"{path.relative_to(tree)}\0{path.lstat().st_mode}\0".encode())
        if path.is_symlink():
            digest.update(os.readlink(path).encode())
        elif path.is_file():
            with open(path, "rb") as data:
                while block := data.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def tree_layer(folder, name, comment, tree, epoch):
    layer = Layer(folder, name, comment, [print_of(tree), str(epoch)])
    if not layer.facts:
        layer.write(tar_of(tree, epoch))
    return layer


# ---- the image ----

def write_archive(out, layers, config, tag, created):
    """An OCI image layout with manifest.json for docker's older loaders, in one tar without compression of its own."""
    image = {"created": created, "architecture": "amd64", "os": "linux", "config": config,
             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer.facts["diff_id"] for layer in layers]},
             "history": [{"created": created, "created_by": "deploy/sagemaker/build.py", "comment": layer.comment}
                         for layer in layers]}
    blobs = {}

    def blob(value, kind):
        data = json.dumps(value, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}.v1+json", "digest": "sha256:" + digest, "size": len(data)}

    config_at = blob(image, "config")
    manifest_at = blob({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config_at,
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + layer.facts["digest"],
                    "size": layer.blob().stat().st_size} for layer in layers]}, "manifest")
    manifest_at["annotations"] = {"org.opencontainers.image.ref.name": tag.partition(":")[2] or "latest",
                                  "io.containerd.image.name": tag}
    old = [{"Config": "blobs/sha256/" + config_at["digest"][7:], "RepoTags": [tag],
            "Layers": ["blobs/sha256/" + layer.facts["digest"] for layer in layers]}]
    part = out.with_suffix(".part")
    with tarfile.open(part, "w") as tar:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        add("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        add("index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest_at]}).encode())
        add("manifest.json", json.dumps(old).encode())
        for digest, data in blobs.items():
            add("blobs/sha256/" + digest, data)
        for layer in layers:
            info = tarfile.TarInfo("blobs/sha256/" + layer.facts["digest"])
            info.size = layer.blob().stat().st_size
            with open(layer.blob(), "rb") as data:
                tar.addfile(info, data)
    part.replace(out)


def commit_time():
    """Seconds of the last commit, so that the same sources make the same image."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    done = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else int((ROOT / "VERSION").stat().st_mtime)


def arguments():
    version = (ROOT / "VERSION").read_text(encoding="utf-8").strip()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="folder of the release build")
    parser.add_argument("--out", type=Path, help="the archive (default: BUILD/image/tern-sagemaker.tar)")
    parser.add_argument("--tag", default=f"tern-sagemaker:{version}")
    parser.add_argument("--with", dest="more", default="", metavar="PACKAGES", help="more Debian packages for your scripts")
    parser.add_argument("--sources", type=Path, help="apt's sources file for Debian 12 (default: this machine's)")
    parser.add_argument("--fresh", action="store_true", help="build the Debian layer anew")
    args = parser.parse_args()
    args.build = args.build.resolve()
    args.out = (args.out or args.build / "image" / "tern-sagemaker.tar").resolve()
    return args


def main():
    args, start, epoch = arguments(), time.monotonic(), commit_time()
    folder = args.out.parent
    folder.mkdir(parents=True, exist_ok=True)

    def say(text):
        print(f"image: {time.monotonic() - start:4.0f} s  {text}", flush=True)

    try:
        config = settings((HERE / "Containerfile").read_text(encoding="utf-8"))
        say("Debian")
        layers = [debian_layer(folder, args, epoch)]
        say("Tern and its engines")
        stage = folder / "stage"
        subprocess.run([HERE / "stage.sh", args.build, stage], check=True)
        layers.append(tree_layer(folder, "tensorflow", "TensorFlow's libraries, without symbols for debuggers",
                                 stage / "tensorflow", 0))
        layers.append(tree_layer(folder, "openvino", "OpenVINO's libraries, for models that ask for that engine",
                                 stage / "openvino", 0))
        layers.append(tree_layer(folder, "tern", "Tern", stage / "tern", epoch))
        write_archive(args.out, layers, config, args.tag, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)))
        used = {layer.facts["digest"] for layer in layers}
        for old in (folder / "blobs" / "sha256").iterdir():
            if old.name not in used:
                old.unlink()
    except Failure as failure:
        sys.exit(f"image: {failure}")
    except subprocess.CalledProcessError as failure:
        sys.exit(f"image: {Path(failure.cmd[0]).name} failed")
    for layer in layers:
        say(f"{layer.name:11s} {layer.facts['size'] / 1e6:6.0f} MB, {layer.blob().stat().st_size / 1e6:4.0f} MB packed")
    say(f"{args.out}: {args.tag}, {sum(la.facts['size'] for la in layers) / 1e6:.0f} MB, packed "
        f"{args.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
