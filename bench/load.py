"""The load generator of everything that is measured here: `tern bench`, a C program (docs/measuring.md), so that no Python client
stands beside a C server. Closed loop by one connection for single latencies, open loop at a rate for the others."""
import json
import statistics
import subprocess


class Failed(Exception):
    """A contestant that did not answer as it should; the run stops."""


class Nothing(Failed):
    """No request ended in the time that was given."""


def run(build, url, data, *, api="rest", path="", content_type="", connections=1, rate=0, poisson=False,
        seconds=1.0, warmup=0.0, model="m"):
    """One step. -> {"per_second", "p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "mean_ms", "min_ms", "stages_mean_ms", ...}

    data: file of the request's body. A percentile is at most 0.8 % too high (the upper end of its bucket)."""
    command = [build / "tern", "bench", model, f"--url={url}", f"--api={api}", f"--data={data}", f"--connections={connections}",
               f"--rate={rate:g}", f"--seconds={seconds:g}", f"--warmup={warmup:g}", "--timeout_ms=120000", "--json"]
    command += ["--poisson"] if poisson else []
    command += [f"--path={path}"] if path else []
    command += [f"--content_type={content_type}"] if content_type else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          timeout=seconds + warmup + 300)
    try:
        step = json.loads(done.stdout)["steps"][0]
    except (ValueError, LookupError):
        raise Failed(f"tern bench {url}{path}: {done.stderr[-500:] or done.stdout[-500:]}") from None
    if step["errors"]:
        raise Failed(f"{url}{path}: {step['errors']} errors, the first: {step['first_error'][:300]}")
    if not step["requests"]:
        raise Nothing(f"{url}{path}: no request ended within {seconds:g} s")
    return step


class Loaded:
    """A contestant that is a server: asked over one kept connection, again as soon as it was answered."""

    def __init__(self, name, build, work, port, path, body_of, content_type="", api="rest"):
        self.name, self.build, self.work, self.url = name, build, work, f"http://127.0.0.1:{port}"
        self.path, self.body_of, self.content_type, self.api = path, body_of, content_type, api
        self.files = {}

    def takes(self, payload):
        return bool(self.body_of(payload))

    def file_of(self, payload):
        if payload.name not in self.files:
            file = self.work / f"{payload.name}-{len(list(self.work.glob('*.body')))}.body"
            file.write_bytes(self.body_of(payload))
            self.files[payload.name] = file
        return self.files[payload.name]

    def round(self, payload, seconds, expected_ms):
        """-> ([median ms], {stage: mean ms}). A window of two requests and more."""
        step = patient(max(seconds, 2.5e-3 * expected_ms), self.build, self.url, self.file_of(payload), api=self.api,
                       path=self.path.format(model=payload.model), content_type=self.content_type, model=payload.model)
        return [step["p50_ms"]], step["stages_mean_ms"]


def patient(seconds, *where, **how):
    """run(), with a window 4, 16 and 64 times as long where no request ends in it."""
    for factor in (1, 4, 16, 64):
        try:
            return run(*where, seconds=seconds * factor, **how)
        except Nothing:
            if factor == 64:
                raise
    raise AssertionError


class Called:
    """What has call(payload) -> ms as a contestant with rounds. Two calls where nothing is known (expected_ms 0)."""

    def round(self, payload, seconds, expected_ms):
        fitting = int(seconds * 1e3 / expected_ms) if expected_ms else 0
        times = [self.call(payload) for _ in range(max(2, min(40, fitting)))]
        return [statistics.median(times)], {}
