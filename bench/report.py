"""bench/report/: report.json (all numbers), report.md (tables), plot.png and plot.svg, sagemaker.png."""
import json
import os
import platform
import statistics
from pathlib import Path


def summary(values):
    """Median and the spread around it: the quartiles' distance."""
    values = sorted(values)
    low, high = statistics.quantiles(values, n=4)[::2] if len(values) > 1 else (values[0], values[0])
    return {"median": statistics.median(values), "low": low, "high": high, "best": values[0], "n": len(values)}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def number(ms):
    return f"{ms:.2f}" if ms < 10 else f"{ms:.1f}" if ms < 100 else f"{ms:.0f}"


def size(n):
    return f"{n / 1e6:.2f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |",
            *("| " + " | ".join(row) + " |" for row in rows), ""]


def payload_section(case):
    lines = [f"## {case['title']}", "", case["about"], ""]
    rows = []
    for row in case["rows"]:
        s = row["ms"]
        rows.append([row["name"], number(s["median"]), f"{number(s['low'])} - {number(s['high'])}",
                     f"{row['ratio']:.2f}" if row.get("ratio") else "", row.get("limit") or ""])
    lines += table(["who", "median ms", "middle half", "ratio", "to which limit"], rows)
    timed = [row for row in case["rows"] if row.get("stages")]
    if timed:
        names = [n for n in ("read", "decode", "preprocess", "queue", "run", "postprocess", "encode")
                 if any(n in row["stages"] for row in timed)]
        lines += ["Where Tern's time goes (medians, ms; the rest is the client, the kernel and the write):", ""]
        lines += table(["path", *names, "sum"], [
            [row["name"], *(f"{row['stages'].get(n, 0):.3f}" for n in names), f"{sum(row['stages'].values()):.2f}"]
            for row in timed])
    if case.get("client_ms"):
        lines += ["Before the call a client pays, in Python: " + ", ".join(
            f"{k} {number(v)} ms" for k, v in case["client_ms"].items()) + " (not in the times above; raw HTML costs nothing).", ""]
    return lines


def small_section(rows):
    lines = ["## Small model (half_plus_two)", "",
             "Requests a second as h2load (one thread on the same machine) sees them, and the server's own CPU time for one "
             "request. The ratio compares CPU time with nginx's `return 200` at the same protocol and number of connections.", ""]
    cpu = {(r["what"], r["connections"]): statistics.median(r["cpu_us"]) for r in rows}
    rate = {(r["what"], r["connections"]): statistics.median(r["rates"]) for r in rows}
    peer = {"Tern REST, HTTP/1.1": "nginx return 200, HTTP/1.1", "Tern gRPC": "nginx return 200, HTTP/2"}
    out = []
    for key in rate:
        other = (peer.get(key[0]), key[1])
        out.append([key[0], str(key[1]), f"{rate[key]:,.0f}", f"{cpu[key]:.1f}", f"{1e6 / cpu[key]:,.0f}",
                    f"{cpu[other] / cpu[key]:.2f}" if other in cpu else "",
                    f"{rate[key] / rate[other]:.2f}" if other in rate else ""])
    return lines + table(["server", "connections", "requests/s", "CPU µs/request", "requests per CPU second",
                          "nginx's CPU / its CPU", "requests/s / nginx's"], out)


AIMS = {"Tern, gRPC": 1.03, "Tern, tensors as JSON": 1.08, "Tern, raw HTML": 1.05}


def short_section(cases):
    """Every payload's ratios beside the design's aims, and how many times slower the old way is."""
    rows = []
    for name, aim in AIMS.items():
        cells = [row["ratio"] for case in cases for row in case["rows"] if row["name"] == name and row.get("ratio")]
        if cells:
            rows.append([f"{name} / its limit", *(cell(case, name) for case in cases), f"at most {aim}"])
    for form in ("tensors as JSON", "raw HTML"):
        for way in ("predict()", "signature"):
            found = [against(case, f"Flask, {form}, {way}", f"Tern, {form}") for case in cases]
            if any(found):
                aim = "at least 5 (median page)" if form != "raw HTML" else ""
                rows.append([f"Flask ({way}) / Tern, {form}", *found, aim])
    return table(["", *(case["title"] for case in cases), "aim"], rows)


def cell(case, name):
    return next((f"{row['ratio']:.2f}" for row in case["rows"] if row["name"] == name and row.get("ratio")), "")


def against(case, one, other):
    medians = {row["name"]: row["ms"]["median"] for row in case["rows"]}
    return f"{medians[one] / medians[other]:.1f}" if one in medians and other in medians else ""


def markdown(result):
    m = result["machine"]
    lines = ["# Bench", "", f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; TensorFlow {result['tensorflow']}, "
             f"{result['rounds']} rounds, every contestant once a round in turn, client on the same machine. "
             "Times are the client's, from the first byte sent to the last byte read, over a kept connection. A ratio is the "
             "median of the rounds' own ratios.", ""]
    if result["cases"]:
        lines += ["![medians](plot.png)", "", *short_section(result["cases"])]
    for case in result["cases"]:
        lines += payload_section(case)
    if result.get("small"):
        lines += small_section(result["small"])
    if result.get("engines"):
        import engines
        lines += engines.section(result["engines"])
    if result.get("life"):
        import life
        lines += life.section(result["life"])
    if result.get("sagemaker"):
        import sagemaker
        lines += sagemaker.section(result["sagemaker"])
    for text in result.get("notes", []):
        lines += [f"Note: {text}", ""]
    return "\n".join(lines).rstrip() + "\n"


COLOURS = {"Tern": "#1b6ca8", "Flask": "#b8b8b8", "bare": "#e0a030", "C feat": "#e0a030"}
STAGE_COLOURS = {"read": "#4e79a7", "decode": "#f28e2b", "preprocess": "#e15759", "queue": "#bab0ac", "run": "#76b7b2",
                 "postprocess": "#edc948", "encode": "#59a14f", "rest": "#d7d7d7"}


def plot(result, folder):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cases = result["cases"]
    heights = [max(len(c["rows"]), 3) for c in cases]
    figure, axes = plt.subplots(len(cases), 2, figsize=(14, 1.2 + 0.42 * sum(heights) + 0.9 * len(cases)), squeeze=False,
                                gridspec_kw={"height_ratios": heights, "width_ratios": [3, 2]}, layout="constrained")
    for (left, right), case in zip(axes, cases):
        bars(left, case)
        stages(right, case)
    figure.savefig(folder / "plot.png", dpi=110)
    figure.savefig(folder / "plot.svg")
    plt.close(figure)


def bars(axis, case):
    rows = case["rows"][::-1]
    medians = [r["ms"]["median"] for r in rows]
    # Keras' predict() is so far off that it would hide the rest: its bars end at the edge.
    edge = 1.6 * max(m for m, r in zip(medians, rows) if "predict()" not in r["name"])
    errors = [[m - r["ms"]["low"] for m, r in zip(medians, rows)], [r["ms"]["high"] - m for m, r in zip(medians, rows)]]
    colours = [next((c for k, c in COLOURS.items() if r["name"].startswith(k)), "#888888") for r in rows]
    axis.barh([r["name"] for r in rows], medians, xerr=errors, color=colours, error_kw={"ecolor": "#444444", "capsize": 2})
    axis.set_title(case["title"], loc="left", fontsize=10, fontweight="bold")
    axis.set_xlabel("ms (median; whiskers: middle half; x: times its limit)", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.set_xlim(0, edge)
    for i, row in enumerate(rows):
        text = number(medians[i]) + (f"   {row['ratio']:.2f} x" if row.get("ratio") else "")
        if medians[i] > 0.8 * edge:
            axis.annotate(text + ("  \u2192" if medians[i] > edge else ""), (edge, i), xytext=(-5, 0),
                          textcoords="offset points", va="center", ha="right", fontsize=8)
        else:
            axis.annotate(text, (min(row["ms"]["high"], 0.78 * edge), i), xytext=(5, 0), textcoords="offset points",
                          va="center", fontsize=8, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axis.spines[["top", "right"]].set_visible(False)


def stages(axis, case):
    rows = [r for r in case["rows"] if r.get("stages")][::-1]
    for i, row in enumerate(rows):
        at = 0.0
        whole = row["ms"]["median"]
        parts = {k: row["stages"].get(k, 0.0) for k in STAGE_COLOURS if k != "rest"}
        parts["rest"] = max(0.0, whole - sum(parts.values()))
        for name, ms in parts.items():
            axis.barh(i, ms, left=at, color=STAGE_COLOURS[name], label=name if i == 0 else None)
            at += ms
    axis.set_yticks(range(len(rows)), [r["name"] for r in rows])
    axis.set_xlabel("ms by stage (rest: client, kernel, write)", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    if rows:
        axis.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    else:
        axis.set_visible(False)


def write(result, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(result), encoding="utf-8")
    if result["cases"]:
        plot(result, folder)
    if result.get("sagemaker"):
        import sagemaker
        sagemaker.plot(result["sagemaker"], folder)
