"""Engines against each other: TensorFlow and OpenVINO with nothing around them, and what `--engine=auto` keeps.

auto is asked twice: with the measured request as the version's warm-up record, and without any.

Each engine has its turn once a round, in one process each (bench/bare_engine.c). Besides the time on the clock, the processor
time of a run is told: it says more where the machine has something else to do. A ratio is the median of the rounds' own.
"""
import os
import re
import statistics

import tern_server

ENGINES = ("tensorflow", "openvino")
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_MS


def small_payloads(build):
    """Keras models of the tests: -> [(title, folder of the model, payload)]"""
    import numpy as np
    import payloads as p
    import prepare
    import tern_grpc
    folder = prepare.small_keras_models(build)
    random = np.random.default_rng(1)
    inputs = {"dense": {"x": random.normal(size=(1, 8)).astype("f4")},
              "convolution": {"image": random.normal(size=(1, 64, 64, 3)).astype("f4")},
              "sequence": {"ids": random.integers(0, 50, size=(1, 64))}}
    titles = {"dense": "Keras, dense layers", "convolution": "Keras, convolution of 64 x 64",
              "sequence": "Keras, GRU and attention"}
    return [(titles[name], folder / name, p.encode(p.Payload(name, "", name, None, tensors), tern_grpc))
            for name, tensors in inputs.items()]


def recorded(model, folder, payload):
    """The model's version in that folder, with this payload as its only warm-up record. -> base path"""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2
    source = next(d for d in sorted(model.iterdir()) if d.name.isdigit())
    extra = folder / "recorded" / source.name / "assets.extra"
    extra.mkdir(parents=True)
    for place, into in ((source, extra.parent), (source / "assets.extra", extra)):
        for entry in place.iterdir() if place.is_dir() else ():
            if entry.name not in ("assets.extra", "tf_serving_warmup_requests"):
                (into / entry.name).symlink_to(entry)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.ParseFromString(payload.proto)
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as records:
        records.write(log.SerializeToString())
    return extra.parent.parent


def kept(build, work, model, name):
    """The engine that a server with --engine=auto keeps for this model."""
    server = tern_server.Server(work, [f"--model_name={name}", f"--model_base_path={model}", "--engine=auto"], build=build)
    found = re.search(r'^tern_version_info\{[^}]*engine="(\w+)"', server.get("/metrics").text, re.M)[1]
    server.stop()
    return found


def measure_one(build, work, title, model, payload, rounds):
    import contestants
    folder = work / f"engines-{payload.name}"
    folder.mkdir()
    version = next(d for d in sorted(model.iterdir()) if d.name.isdigit())
    bare = {e: contestants.Bare(build, version, folder, e) for e in ENGINES}
    try:
        first = {e: min(b.call(payload) for _ in range(4)) for e, b in bare.items()}
        times = {e: max(1, int(200 / ms)) for e, ms in first.items()}  # runs a turn: about 0.2 s, for the clock's ticks
        clock, cpu = {e: [] for e in ENGINES}, {e: [] for e in ENGINES}
        for turn in range(rounds):
            for e in ENGINES if turn % 2 else ENGINES[::-1]:
                before = cpu_ms(bare[e].process_of(payload))
                clock[e].append(bare[e].call(payload, times[e]))
                cpu[e].append((cpu_ms(bare[e].process_of(payload)) - before) / times[e])
    finally:
        for b in bare.values():
            b.stop()
    by_record = kept(build, folder / "auto", recorded(model, folder, payload), payload.name)
    ratios = [o / t for o, t in zip(clock["openvino"], clock["tensorflow"])]
    return {"title": title, "kept": kept(build, folder / "made", model, payload.name),
            "kept_recorded": by_record, "ratio": statistics.median(ratios),
            "low": min(ratios), "high": max(ratios), "ms": {e: statistics.median(clock[e]) for e in ENGINES},
            "cpu_ms": {e: statistics.median(cpu[e]) for e in ENGINES}}


def measure(build, work, cases, rounds, note):
    """cases: [(title, folder of the model, payload)]."""
    rows = []
    for title, model, payload in cases:
        note(f"engines: {title}")
        rows.append(measure_one(build, work, title, model, payload, rounds))
    return rows


def section(rows):
    """The lines of the report."""
    import report
    lines = ["## Engines", "", "A run with nothing around it. Ratio: OpenVINO's time on the clock to TensorFlow's.", ""]
    return lines + report.table(
        ["model and input", "TensorFlow ms", "OpenVINO ms", "ratio", "from - to", "processor ms, each", "auto keeps",
         "by inputs that it makes"],
        [[r["title"], report.number(r["ms"]["tensorflow"]), report.number(r["ms"]["openvino"]), f"{r['ratio']:.2f}",
          f"{r['low']:.2f} - {r['high']:.2f}", f"{r['cpu_ms']['tensorflow']:.3g}, {r['cpu_ms']['openvino']:.3g}",
          r["kept_recorded"], r["kept"]]
         for r in rows])
