#!/usr/bin/env python3
"""Packs a SavedModel and its code into model.tar.gz, and says what the server will find in it.

    pack.py MODEL [MODEL...] [--code FOLDER] [--out model.tar.gz]     write it
    pack.py --check model.tar.gz                                      look at one that is there

MODEL is a SavedModel (becomes version 1), a folder of numbered versions, or either as NAME=FOLDER to give it a name; its
name is otherwise the folder's. --code holds inference.py, requirements.txt, lib/, wheels/ or handler.so.

What would not start, or would not be used, is told here instead of on the endpoint: errors end with 1 and write nothing.
--json prints the same as JSON. Needs Python 3.9 or newer and nothing else.
"""
import argparse
import ast
import gzip
import json
import os
import sys
import tarfile
from pathlib import Path, PurePosixPath

SKIPPED = {"__pycache__", ".git", ".DS_Store", ".ipynb_checkpoints"}
PEEKED = ("code/inference.py", "code/requirements.txt", "code/handler.so")


class Problem(Exception):
    """Ends the program with a sentence."""


# ---- what is to be packed: {path in the archive: file} ----

def files_below(folder):
    for path in sorted(folder.rglob("*")):
        if not SKIPPED.intersection(path.relative_to(folder).parts) and not path.name.endswith(".pyc"):
            if path.is_symlink() and not path.exists():
                raise Problem(f"{path} is a link to nothing")
            if path.is_file():
                yield path


def is_version(folder):
    return folder.is_dir() and folder.name.isdecimal() and (folder / "saved_model.pb").is_file()


def plan_model(text):
    """-> {path in the archive: file} of one MODEL argument."""
    name, equals, where = text.partition("=")
    folder = Path(where if equals else text).resolve()
    if not folder.is_dir():
        raise Problem(f"{folder} is not a folder")
    if (folder / "saved_model.pb").is_file():
        versions = {"1": folder}
        if not equals:
            name = folder.parent.name if folder.name.isdecimal() else folder.name
            versions = {folder.name if folder.name.isdecimal() else "1": folder}
    else:
        versions = {v.name: v for v in sorted(folder.iterdir()) if is_version(v)}
        name = name if equals else folder.name
    if not versions:
        raise Problem(f"{folder} has neither a saved_model.pb nor folders named by numbers that have one")
    return {f"{name}/{version}/{file.relative_to(at).as_posix()}": file
            for version, at in versions.items() for file in files_below(at)}


def plan(models, code):
    files = {}
    for text in models:
        for path, file in plan_model(text).items():
            if path in files:
                raise Problem(f"{path} comes from two folders: give one of the models another name (NAME=FOLDER)")
            files[path] = file
    if code:
        folder = Path(code).resolve()
        if not folder.is_dir():
            raise Problem(f"{folder} is not a folder")
        files.update({f"code/{file.relative_to(folder).as_posix()}": file for file in files_below(folder)})
    return files


# ---- what the server will find ----

def names_of(tree):
    """Names that a module has at its top level, as far as can be seen without running it."""
    found, stack = set(), list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            found.update(t.id for t in getattr(node, "targets", [getattr(node, "target", None)]) if isinstance(t, ast.Name))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found.update((a.asname or a.name).partition(".")[0] for a in node.names)
        elif isinstance(node, (ast.If, ast.Try, ast.With)):
            stack += [n for part in ("body", "orelse", "finalbody") for n in getattr(node, part, [])]
            stack += [n for handler in getattr(node, "handlers", []) for n in handler.body]
    return found


def look_at_script(text, errors):
    """-> how a script handles requests."""
    try:
        names = names_of(ast.parse(text))
    except (SyntaxError, ValueError) as error:
        errors.append(f"code/inference.py: {getattr(error, 'msg', error)} (line {getattr(error, 'lineno', '?')})")
        return None
    if "handler" in names:
        return "handler"
    if {"input_handler", "output_handler"} <= names:
        return "input_handler and output_handler"
    if "*" in names:
        return "what it imports with *"
    half = names & {"input_handler", "output_handler"}
    errors.append("code/inference.py defines " + (f"{half.pop()}() without the other of the pair" if half else
                  "neither handler nor input_handler and output_handler"))
    return None


def look(sizes, read):
    """sizes: {path: bytes}; read(path) -> its bytes, for the few that are looked into. -> the report."""
    errors, warnings, models = [], [], {}
    for path in sizes:
        parts = PurePosixPath(path).parts
        if parts[-1] == "saved_model.pb" and len(parts) >= 2:
            if not parts[-2].isdecimal():
                warnings.append(f"{path} is not below a folder named by a number: it is not found")
                continue
            folder = parts[:-2]
            name = folder[-1] if folder else "model"
            entry = models.setdefault(name, {"folder": "/".join(folder), "versions": []})
            if entry["folder"] != "/".join(folder):
                errors.append(f"two models are called {name}: {entry['folder']} and {'/'.join(folder)}")
                continue
            entry["versions"].append(int(parts[-2]))
            if not sizes[path]:
                errors.append(f"{path} is empty")
            if "code" in folder:
                warnings.append(f"{path} lies below code and is served, too")
    if not models:
        errors.append("there is no model: no saved_model.pb below a folder named by a number")
    for entry in models.values():
        entry["versions"].sort()
    code = {p.partition("/")[2] for p in sizes if p.startswith("code/")}
    has = {word: any(p == word or p.startswith(word + "/") for p in code)
           for word in ("inference.py", "requirements.txt", "lib", "wheels", "handler.so")}
    handler = "none: JSON, JSON lines and CSV go to the model as they come"
    if has["inference.py"]:
        handler = f"code/inference.py ({look_at_script(read('code/inference.py'), errors)})"
    elif has["requirements.txt"] or has["lib"]:
        warnings.append("code has no inference.py, but requirements.txt or lib starts Python, and then CSV is not converted")
    if has["handler.so"]:
        if b"tern_handler_entry" not in read("code/handler.so"):
            errors.append("code/handler.so does not export tern_handler_entry")
        if has["inference.py"]:
            warnings.append("code has handler.so and inference.py: the C handler takes the content types that it names")
        else:
            handler = "code/handler.so"
    if has["requirements.txt"] and has["lib"]:
        warnings.append("code/lib is there, so code/requirements.txt is not installed")
    elif has["requirements.txt"] and not has["wheels"] and read("code/requirements.txt").strip():
        warnings.append("code/requirements.txt is installed from the network at each start; "
                        "pip download -d code/wheels avoids that")
    for path in sizes:
        if path.endswith("inference.py") and path != "code/inference.py" and "lib/" not in path:
            warnings.append(f"{path} is not used: the script is code/inference.py")
    return {"models": models, "default_model": min(models, key=lambda n: models[n]["folder"]) if models else None,
            "handler": handler, "bytes": sum(sizes.values()), "files": len(sizes), "warnings": warnings, "errors": errors}


def look_at_plan(files):
    return look({path: file.stat().st_size for path, file in files.items()}, lambda path: files[path].read_bytes())


def look_at_archive(path):
    """The report of a model.tar.gz."""
    sizes, peeked, wrong = {}, {}, []
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                if name.startswith(("/", "..")):
                    wrong.append(f"{member.name} leads out of the folder")
                elif member.isfile() or member.issym() or member.islnk():
                    sizes[name] = member.size
                    if name in PEEKED and member.isfile():
                        peeked[name] = tar.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Problem(f"{path} is not a whole tar.gz: {error}") from None
    report = look(sizes, lambda name: peeked.get(name, b""))
    tops = {p.partition("/")[0] for p in sizes}
    if len(tops) == 1 and report["models"] and any(p.startswith(f"{next(iter(tops))}/code/") for p in sizes):
        report["errors"].append(f"everything lies below {next(iter(tops))}/, so its code is not found: pack the folder's content")
    report["errors"] += wrong
    return report


# ---- out ----

def write(out, files):
    """Sorted, root's, without times: the same files make the same archive."""
    part = out.with_name(out.name + ".part")
    with open(part, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed, \
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(files):
            info = tarfile.TarInfo(path)
            info.size = files[path].stat().st_size
            info.mode = 0o755 if path.endswith(".so") else 0o644
            with open(files[path], "rb") as data:
                tar.addfile(info, data)
    part.replace(out)


def lines_of(report):
    for name, model in sorted(report["models"].items()):
        default = "  (default)" if name == report["default_model"] and len(report["models"]) > 1 else ""
        yield f"model    {name}, versions {', '.join(map(str, model['versions']))}{default}"
    yield f"handler  {report['handler']}"
    yield f"size     {report['bytes'] / 1e6:.1f} MB in {report['files']} files"
    yield from (f"warning  {text}" for text in report["warnings"])
    yield from (f"error    {text}" for text in report["errors"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="SavedModel, folder of versions, or NAME=FOLDER")
    parser.add_argument("--code", metavar="FOLDER", help="inference.py and what belongs to it")
    parser.add_argument("--out", type=Path, default=Path("model.tar.gz"))
    parser.add_argument("--check", type=Path, metavar="FILE", help="look at this archive and write nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args()
    if bool(args.check) == bool(args.models):
        parser.error("give MODEL folders, or --check FILE")
    try:
        files = None if args.check else plan(args.models, args.code)
        report = look_at_archive(args.check) if args.check else look_at_plan(files)
        if files and not report["errors"]:
            write(args.out, files)
            report["written"] = str(args.out)
    except (Problem, OSError) as problem:
        sys.exit(f"pack: {problem}")
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        print("\n".join(lines_of(report)))
        if "written" in report:
            print(f"written  {args.out}, {args.out.stat().st_size / 1e6:.1f} MB")
    sys.exit(1 if report["errors"] else 0)


if __name__ == "__main__":
    main()
