"""bench/report/: report.json (all numbers), report.md (tables), plots as PNG and SVG. By hand:

    bench/report.py [--report FILE]                 writes the report of report.json anew
    bench/report.py --into docs/performance.md      puts the table of "the numbers to hold" between its marks there
"""
import argparse
import importlib
import json
import os
import platform
import statistics
from pathlib import Path

MARKS = ("<!-- bench/report.py --into writes from here -->", "<!-- to here -->")


def summary(values):
    """Median and the spread around it: the quartiles' distance."""
    values = sorted(values)
    low, high = statistics.quantiles(values, n=4)[::2] if len(values) > 1 else (values[0], values[0])
    return {"median": statistics.median(values), "low": low, "high": high, "best": values[0], "n": len(values)}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release()}


def spread(values):
    """"1.02 - 1.05": see targets.spread()."""
    import targets
    low, high = targets.spread(values)
    return f"{low:.2f} - {high:.2f}"


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
                     *((f"{row['ratio']:.2f}", spread(row["ratios"])) if row.get("ratio") else ("", "")), row.get("limit") or ""])
    lines += table(["who", "median ms", "middle half", "ratio", "its middle half", "to which limit"], rows)
    timed = [row for row in case["rows"] if row.get("stages")]
    if timed:
        names = [n for n in ("read", "decode", "preprocess", "queue", "run", "postprocess", "encode")
                 if any(n in row["stages"] for row in timed)]
        lines += ["Where Tern's time goes (means, ms; the rest is the client, the kernel and the write):", ""]
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


def short_section(cases):
    """Every payload's ratios side by side, and how many times slower the old way is."""
    rows = []
    for name in ("Tern, gRPC", "Tern, tensors as JSON", "Tern, raw HTML"):
        if any(cell(case, name) for case in cases):
            rows.append([f"{name} / its limit", *(cell(case, name) for case in cases)])
    for form in ("tensors as JSON", "raw HTML"):
        for who in ("Flask, {}, predict()", "Flask, {}, signature", "Flask's own server, {}, predict()"):
            found = [against(case, who.format(form), f"Tern, {form}") for case in cases]
            if any(found):
                rows.append([f"{who.format(form)} / Tern's", *found])
    return table(["", *(case["title"] for case in cases)], rows)


def cell(case, name):
    return next((f"{row['ratio']:.2f}" for row in case["rows"] if row["name"] == name and row.get("ratio")), "")


def against(case, one, other):
    medians = {row["name"]: row["ms"]["median"] for row in case["rows"]}
    return f"{medians[one] / medians[other]:.1f}" if one in medians and other in medians else ""


def markdown(result):
    import targets
    m = result["machine"]
    lines = ["# Bench", "", f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; TensorFlow {result['tensorflow']}, "
             f"{result['rounds']} rounds{', the quick form' if result['quick'] else ''}, {result['seconds'] / 60:.0f} minutes. "
             "Everybody has one turn a round; the client (`tern bench`) is on the same machine. Times are from the first byte "
             "sent to the last byte read, over a kept connection. A ratio is the median of the rounds' own ratios.", ""]
    lines += ["## The numbers to hold", "", *targets.lines(result["targets"]), "", "![part of what is allowed](targets.png)", ""]
    if result["cases"]:
        lines += ["## Ways to ask", "", "![medians](plot.png)", "", *short_section(result["cases"])]
    for case in result["cases"]:
        lines += payload_section(case)
    if result.get("small"):
        lines += small_section(result["small"])
    for part in ("micro", "limits", "sweep", "engines", "life", "sagemaker", "flame"):
        if result.get(part):
            lines += importlib.import_module(part).section(result[part])
    lines += ["## How long it took", "", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result["took"].items()) + ".", ""]
    for text in result["notes"]:
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
    import targets
    folder.mkdir(parents=True, exist_ok=True)
    result["targets"] = targets.rows(result)
    (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(markdown(result), encoding="utf-8")
    targets.plot(result["targets"], [folder / "targets.png", folder / "targets.svg"])
    if result["cases"]:
        plot(result, folder)
    for part in ("sweep", "sagemaker"):
        if result.get(part):
            importlib.import_module(part).plot(result[part], folder)


def into(page, result):
    """Puts the table of a run between the marks of a page, and its picture beside the page."""
    import targets
    found, picture = targets.rows(result), page.with_suffix(".png")
    m, text = result["machine"], page.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    head = (f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}, TensorFlow {result['tensorflow']}; {result['rounds']} rounds"
            f"{' (quick form)' if result['quick'] else ''}:")
    body = "\n".join([MARKS[0], head, "", *targets.lines(found), "", f"![part of what is allowed]({picture.name})", "", ""])
    targets.plot(found, [picture])
    page.write_text(text[:start] + body + text[end:], encoding="utf-8")


def main():
    """report.py [--report bench/report/report.json] [--into PAGE]: writes the report anew, or its table into a page."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--report", type=Path, default=Path(__file__).resolve().parent / "report" / "report.json")
    parser.add_argument("--into", type=Path, help="page with the two marks of the table, such as docs/performance.md")
    args = parser.parse_args()
    result = json.loads(args.report.read_text(encoding="utf-8"))
    if args.into:
        into(args.into, result)
    else:
        write(result, args.report.parent)


if __name__ == "__main__":
    main()
