"""Size of the request by connections by protocol: what the server can do, and how long answers take below that.

Two models: `half_plus_two`, which costs nothing, and the rows model of bench/endpoint (1 MFLOP a row). Each takes 1 kB,
100 kB, 1.6 MB and 8 MB of JSON, or the same tensors over gRPC, from 1, 8 and 64 connections. Of each round the closed loop
finds the capacity, then an open loop asks at SHARE of it (requests at random distances, as many users make them): those are
the latencies, counted from when a request was due. Medians over the rounds, with the least and the greatest.
"""
import json
import statistics

import load
import prepare
import tern_server

SHARE, ROUNDS, SECONDS = 0.6, 2, 0.4
SIZES = {"1 kB": 1_000, "100 kB": 100_000, "1.6 MB": 1_600_000, "8 MB": 8_000_000}
CONNECTIONS = (1, 8, 64)
PATIENCE = 2.0  # seconds: where all connections' requests take longer one after the other, the step is left out


def requests(folder, model):
    """{size's name: (file of JSON, file of a PredictRequest)}"""
    import numpy as np
    import tern_grpc
    random, found = np.random.default_rng(11), {}
    for name, size in SIZES.items():
        if model == "rows":
            count = max(1, round(size / 785))  # bytes of a row of 160 ids
            tensors = {"ids": random.integers(0, 10_000, size=(count, 160)).astype("i4")}
        else:
            tensors = {"x": random.normal(size=max(1, round(size / 11.2))).astype("f4")}
            tensors["x"] = np.round(tensors["x"], 8).astype("f4")
        files = folder / f"{model}-{size}.json", folder / f"{model}-{size}.bin"
        lists = {k: [float(f"{v:.8g}") for v in a] if a.dtype.kind == "f" else a.tolist() for k, a in tensors.items()}
        files[0].write_bytes(json.dumps({"inputs": lists}, separators=(",", ":")).encode())
        files[1].write_bytes(tern_grpc.predict_request(model, tensors).SerializeToString())
        found[name] = files
    return found


def one(build, server, model, api, files, connections, seconds):
    """-> (capacity, step of the open loop), or None where it would take too long."""
    port, file, kind = (server.grpc, files[1], "grpc") if api == "gRPC" else (server.rest, files[0], "rest")

    def ask(seconds, **more):
        return load.patient(seconds, build, f"http://127.0.0.1:{port}", file, api=kind, model=model, **more)

    alone = ask(0.1)["mean_ms"] / 1e3
    if alone * connections > PATIENCE:
        return None
    window = max(seconds, 6 * alone * connections)
    capacity = ask(window, connections=connections, warmup=min(0.2, window / 4))["per_second"]
    return capacity, ask(max(window, 10 * alone), connections=connections, rate=SHARE * capacity, poisson=True, warmup=0.1)


def measure(build, work, rows_folder, note):
    folders = {"half_plus_two": prepare.half_plus_two(build), "rows": rows_folder}
    folder, rows = work / "sweep", {}
    folder.mkdir()
    files = {model: requests(folder, model) for model in folders}
    servers = {}
    try:
        for model, path in folders.items():
            servers[model] = tern_server.Server(work / f"sweep-{model}", [f"--model_name={model}", f"--model_base_path={path}"],
                                                build=build)
        for turn in range(ROUNDS):
            for model, server in servers.items():
                for size, connections, api in ((s, c, a) for s in SIZES for c in CONNECTIONS for a in ("REST", "gRPC")):
                    note(f"sweep, round {turn + 1}: {model}, {size}, {connections} connections, {api}")
                    found = one(build, server, model, api, files[model][size], connections, SECONDS)
                    row = rows.setdefault((model, size, connections, api), {
                        "model": model, "size": size, "connections": connections, "api": api, "capacity": [], "open": []})
                    if found:
                        row["capacity"].append(found[0])
                        row["open"].append({k: found[1][k] for k in ("p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "requests")})
    finally:
        for server in servers.values():
            server.stop()
    return {"share": SHARE, "rows": list(rows.values())}


def between(values, form):
    """Median, and the least and the greatest where they differ."""
    text = form(statistics.median(values))
    return text if len(values) == 1 else f"{text} ({form(min(values))} - {form(max(values))})"


def section(found):
    """The lines of the report."""
    import report
    lines = ["## Size by connections", "", "![sweep](sweep.png)", "",
             f"Capacity by a closed loop; latency by an open one at {found['share']:.0%} of it, from when a request was due. "
             "An empty row: all connections' requests together take longer than "
             f"{PATIENCE:g} s.", ""]
    out = []
    for r in found["rows"]:
        cells = [r["model"], r["size"], str(r["connections"]), r["api"]]
        if r["capacity"]:
            cells += [between(r["capacity"], lambda v: f"{v:,.0f}" if v >= 100 else f"{v:.1f}"),
                      between([o["p50_ms"] for o in r["open"]], report.number),
                      between([o["p99_ms"] for o in r["open"]], report.number), f"{sum(o['requests'] for o in r['open']):,}"]
        out.append(cells + [""] * (8 - len(cells)))
    return lines + report.table(["model", "JSON of", "connections", "", "capacity/s", "p50 ms", "p99 ms", "requests"], out)


def plot(found, folder):
    """sweep.png and .svg: capacity and latency over size, one line for each number of connections."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    models, pictures = list(dict.fromkeys(r["model"] for r in found["rows"])), ("capacity", "p50", "p99")
    titles = {"capacity": "requests a second, closed loop",
              **{w: f"{w}, ms, at {found['share']:.0%} of that" for w in pictures[1:]}}
    figure, axes = plt.subplots(len(models), 3, figsize=(14, 1 + 3.6 * len(models)), squeeze=False, layout="constrained")
    colours = {"REST": "#1b6ca8", "gRPC": "#e0722a"}
    styles = {1: ("-", "o"), 8: ("--", "s"), 64: (":", "^")}
    for line, model in zip(axes, models):
        for axis, what in zip(line, pictures):
            for api, connections in ((a, c) for a in colours for c in CONNECTIONS):
                rows = [r for r in found["rows"] if (r["model"], r["api"], r["connections"]) == (model, api, connections)
                        and r["capacity"]]
                values = [statistics.median(r["capacity"] if what == "capacity" else [o[f"{what}_ms"] for o in r["open"]])
                          for r in rows]
                style, mark = styles[connections]
                axis.plot([list(SIZES).index(r["size"]) for r in rows], values, style, marker=mark, markersize=4,
                          color=colours[api], label=f"{api}, {connections} connection{'s' * (connections > 1)}")
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
            axis.yaxis.set_minor_formatter(lambda value, _: "")
            axis.set_xticks(range(len(SIZES)), SIZES)
            axis.tick_params(labelsize=8)
            axis.set_title(f"{model}: {titles[what]}", fontsize=9, loc="left")
            axis.grid(True, which="both", axis="y", color="#e8e8e8", linewidth=0.6)
            axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(colours) * len(CONNECTIONS),
                  fontsize=8, frameon=False)
    for form in ("png", "svg"):
        figure.savefig(folder / f"sweep.{form}", dpi=110)
    plt.close(figure)
