"""Two kernels against their peers, one core, no server: HTML to features against lexbor's parse alone (models/html/floor), and
JSON number arrays into tensors against simdjson (bench/codec)."""
import json
import os
import statistics
import subprocess

from load import Failed


class Floor:
    """models/html/floor over some pages."""

    def __init__(self, build, files):
        self.process = subprocess.Popen([build / "bench" / "html_floor", *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def us(self, what, page, times):
        self.process.stdin.write(f"{what} {page} {times}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Failed("html_floor ended")
        return float(line)

    def stop(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


def measure_html(build, work, pages, rounds, note):
    files = []
    for payload in pages:
        files.append(work / f"floor-{payload.name}.html")
        files[-1].write_bytes(payload.html)
    floor, rows = Floor(build, files), []
    try:
        for i, payload in enumerate(pages):
            note(f"HTML features, {payload.name}")
            once = max(floor.us(what, i, 3) for what in ("parse", "features"))
            times = max(1, int(50e3 / once))
            found = {"parse": [], "features": []}
            for turn in range(2 * rounds):
                for what in sorted(found, reverse=turn % 2):
                    found[what].append(floor.us(what, i, times))
            rows.append({"page": payload.name, "bytes": len(payload.html),
                         "us": {k: statistics.median(v) for k, v in found.items()},
                         "ratios": [f / p for f, p in zip(found["features"], found["parse"])]})
    finally:
        floor.stop()
    return rows


def measure_json(build, rounds, cases, note):
    """What bench/codec prints (its head describes the fields), or None where it was not built. cases: all when empty."""
    program = build / "bench" / "codec"
    if not os.access(program, os.X_OK):
        return None
    note("JSON numbers")
    done = subprocess.run([program, "--json", "--rounds", str(max(5, 3 * rounds)), *cases], stdout=subprocess.PIPE, text=True,
                          check=True)
    return json.loads(done.stdout)


def measure(build, work, pages, rounds, quick, note):
    """quick: of the codec only what reads JSON."""
    return {"html": measure_html(build, work, pages, rounds, note),
            "json": measure_json(build, rounds, ["decode"] if quick else [], note)}


def section(found):
    """The lines of the report."""
    import report
    lines = ["## HTML to features, one core", "",
             "The page's bytes to the model's tensors, against lexbor's parse of it alone.", ""]
    lines += report.table(["page", "lexbor's parse, µs", "features, µs", "features, MB/s", "ratio", "middle half"], [
        [f"{r['page']}, {report.size(r['bytes'])}", f"{r['us']['parse']:.0f}", f"{r['us']['features']:.0f}",
         f"{r['bytes'] / r['us']['features']:.0f}", f"{statistics.median(r['ratios']):.2f}", report.spread(r["ratios"])]
        for r in found["html"]])
    told = found["json"]
    if told:
        lines += ["## Codec, one core", "", f"CPU time; ratio: the peer's time to ours (peer: {told['peer'] or 'printf'}).", ""]
        lines += report.table(["case", "what", "MB/s", "peer", "peer's MB/s", "ratio", "middle half"], [
            [c["name"], c["about"], f"{c['mb_per_second']:.0f}", c["peer"] or "",
             *((f"{c['peer_mb_per_second']:.0f}", f"{c['ratio']:.2f}", f"{c['ratio_low']:.2f} - {c['ratio_high']:.2f}")
               if c["peer"] else ("", "", ""))] for c in told["cases"]])
    return lines
