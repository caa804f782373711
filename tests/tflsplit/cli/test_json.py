"""What machines read: one JSON document on stdout, with the keys and types that are promised."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.sources import frames
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import manifest, reading, verify

TEXT, WHOLE, REAL, TRUTH = str, int, (int, float), bool
TENSOR = {"name": TEXT, "shape": [WHOLE], "dtype": TEXT, "scale": REAL, "zero_point": WHOLE, "bytes": WHOLE}
KERNEL_CLASS = {"id": TEXT, "runtime": TEXT, "machine": TEXT, "delegated": TRUTH, "operators": dict}
CUT = {
    "id": TEXT,
    "layer": (str, type(None)),
    "after_operator": WHOLE,
    "payload_bytes": WHOLE,
    "useful": TRUTH,
    "exact_on": TEXT,
    "exact_because": [TEXT],
    "boundary": [TENSOR],
    "head": (str, type(None)),
    "tail": (str, type(None)),
}
INSPECTED = {
    "digest": TEXT,
    "model": TEXT,
    "calibration": TEXT,
    "input": {key: TENSOR[key] for key in ("shape", "dtype", "scale", "zero_point")},
    "cuts": [CUT],
    "cuts_not_listed": WHOLE,
}
VERIFIED = {
    "samples": WHOLE,
    "cuts_checked": WHOLE,
    "bit_exact": TRUTH,
    "kernel_class": KERNEL_CLASS,
    "mismatches": [{"cut": TEXT, "samples": WHOLE, "max_lsb": WHOLE}],
}
PERCENTILES = {"p50": REAL, "p95": REAL, "p99": REAL}
DEMONSTRATED = {
    "frames": WHOLE,
    "results": WHOLE,
    "lost": WHOLE,
    "duplicates": WHOLE,
    "agree_with_whole": REAL,
    "accuracy": {"float": REAL, "int8": REAL, "split": REAL},
    "payload_bytes": WHOLE,
    "latency_ms": PERCENTILES,
    "parts_ms": {"head": PERCENTILES, "wire": PERCENTILES, "tail": PERCENTILES},
}
EDGE = {
    "frames": WHOLE,
    "results": WHOLE,
    "refused": WHOLE,
    "unanswered": WHOLE,
    "resent": WHOLE,
    "duplicates": WHOLE,
    "busy": WHOLE,
    "early": WHOLE,
    "restarts": WHOLE,
    "replayed": WHOLE,
    "dropped": dict,
    "latency_ms": PERCENTILES,
    "link": {"reconnects": WHOLE, "dropped": dict},
    "accelerator": {"failures": WHOLE, "reopenings": WHOLE, "frames_on_fallback": WHOLE},
}
CLOUD = dict.fromkeys(
    (
        "frames",
        "results",
        "duplicates",
        "unpublished",
        "unfinished",
        "dead_letters",
        "dead_letters_left_out",
        "requeued",
        "workers_replaced",
        "states_forgotten",
    ),
    WHOLE,
) | {"refused": dict, "chunked": {"completed": WHOLE, "duplicates": WHOLE, "given_up": dict}}


def check(value, promised, place="$"):
    """Every promised key is there with its type; further keys may be."""
    if isinstance(promised, dict):
        assert isinstance(value, dict), place
        for key, expected in promised.items():
            assert key in value, f"{place}.{key}"
            check(value[key], expected, f"{place}.{key}")
    elif isinstance(promised, list):
        assert isinstance(value, list), place
        for number, entry in enumerate(value):
            check(entry, promised[0], f"{place}[{number}]")
    else:
        assert isinstance(value, promised), f"{place} is {value!r}"
        assert promised is bool or not isinstance(value, bool), place


def test_inspect_of_a_package(typed, digits):
    described = typed("inspect", digits, "--json").json()

    check(described, INSPECTED)
    assert (described["model"], described["calibration"]) == ("digits.h5", "data")
    check_cuts(described["cuts"])
    for cut in described["cuts"]:
        assert all((digits / cut[side]).is_file() for side in ("head", "tail") if cut[side])
    assert [cut["id"] for cut in described["cuts"] if cut["head"] and cut["tail"]] == [
        cut["id"] for cut in described["cuts"][1:-1] if cut["useful"]
    ]


def check_cuts(cuts):
    places = [cut["after_operator"] for cut in cuts]
    assert places == sorted(set(places))
    assert (cuts[0]["id"], cuts[-1]["id"]) == ("input", "output")
    least = float("inf")
    for cut in cuts:
        assert cut["payload_bytes"] == sum(tensor["bytes"] for tensor in cut["boundary"])
        assert cut["useful"] == (cut["payload_bytes"] < least)
        least = min(least, cut["payload_bytes"])


def test_inspect_of_a_model_that_is_not_converted_names_no_files(typed, demo_model, tmp_path):
    described = typed("inspect", demo_model, "--json").json()

    check(described, INSPECTED)
    check_cuts(described["cuts"])
    assert described["calibration"] == "synthetic"
    assert {cut[side] for cut in described["cuts"] for side in ("head", "tail")} == {None}
    assert list(tmp_path.iterdir()) == []


def test_a_model_and_its_package_have_the_same_cuts(typed, demo_model, digits):
    def places(path):
        cuts = typed("inspect", path, "--json").json()["cuts"]
        return [(cut["id"], cut["layer"], cut["payload_bytes"], cut["useful"]) for cut in cuts]

    assert places(demo_model) == places(digits)


def test_convert_prints_what_inspect_prints(typed, bad, tmp_path):
    converted = typed("convert", bad / "plain.keras", "--split-at", "first", "--json").json()

    check(converted, INSPECTED)
    assert converted["calibration"] == "synthetic"
    assert converted == typed("inspect", tmp_path / "plain.tflsplit", "--json").json()
    assert [cut["layer"] for cut in converted["cuts"] if cut["head"] and cut["tail"]] == ["first"]


@pytest.mark.parametrize(("wanted", "count"), [("all", 17), ("useful", 5), ("input,pool,output", 3)])
def test_verify(typed, digits, wanted, count):
    report = typed("verify", digits, "--samples", "3", "--cuts", wanted, "--json").json()

    check(report, VERIFIED)
    promised = {"samples": 3, "cuts_checked": count, "bit_exact": True, "mismatches": []}
    assert {key: report[key] for key in promised} == promised


def test_verify_takes_inputs_from_a_file(typed, tiny_package, source):
    report = typed("verify", tiny_package.path, "--samples", source, "--json").json()

    assert (report["samples"], report["bit_exact"]) == (40, True)


def test_verify_tells_which_cut_differs_and_by_how_much(typed, tiny_package):
    """The tail has other scales inside, and the manifest was made to fit it."""
    name = "cuts/op000/tail.tflite"
    doubled = np.float32(0.4).tobytes()  # the scale of `b`, which stays inside this tail
    data = (tiny_package.path / name).read_bytes()
    assert data.count(doubled) == 1
    data = data.replace(doubled, np.float32(0.8).tobytes())
    (tiny_package.path / name).write_bytes(data)
    described = tiny_package.manifest
    files = dict(described.files) | {name: manifest.File(hashlib.sha256(data).hexdigest(), len(data))}
    text = manifest.render(replace(described, files=files))
    (tiny_package.path / reading.MANIFEST).write_text(text, encoding="utf-8")
    done = typed("verify", tiny_package.path, "--json")
    report = replace(done, code=0).json()

    assert done.code == 1
    check(report, VERIFIED)
    assert (report["cuts_checked"], report["bit_exact"]) == (4, False)
    (mismatch,) = report["mismatches"]
    assert mismatch["cut"] == "op000"
    assert 1 <= mismatch["samples"] <= report["samples"]
    assert mismatch["max_lsb"] >= 1


@pytest.mark.parametrize("cut", ["input", "op008", "late_1_relu", "output"])
def test_slice_writes_two_halves_that_make_the_whole(typed, digits, tmp_path, cut):
    made = typed("slice", digits, "--cut", cut, "-o", "halves")

    assert made.out.split() == ["halves/head.tflite", "halves/tail.tflite"]
    assert sorted(file.name for file in (tmp_path / "halves").iterdir()) == ["head.tflite", "tail.tflite"]
    opened = reading.open_package(digits)
    source = frames.open_source(str(digits.parent / "test.npy"), opened.manifest)
    samples = [taken.arrays for _, taken in zip(range(5), source.inputs(), strict=False)]
    samples += verify.random_samples(opened.manifest.inputs, 5)
    with (
        Interpreter(opened.model_bytes()) as whole,
        Interpreter(tmp_path / "halves" / "head.tflite") as head,
        Interpreter(tmp_path / "halves" / "tail.tflite") as tail,
    ):
        for sample in samples:
            (expected,) = whole.run(*sample)
            assert tail.run(*head.run(*sample))[0].tobytes() == expected.tobytes()


def test_edge_and_cloud(start, brokers, watch, tiny_package, source):
    url = brokers.start()
    deployment = watch(url)
    common = (tiny_package.path, "--broker", url, "--deployment", "d", "--json")
    cloud = start("cloud", *common, "--count", "40")
    deployment.wait_for_cloud()
    edge = start("edge", *common, "--device", "n", "--source", source)
    edge_summary, cloud_summary = (process.done().json() for process in (edge, cloud))

    check(edge_summary, EDGE | {"latency_ms": PERCENTILES, "parts_ms": DEMONSTRATED["parts_ms"]})
    check(cloud_summary, CLOUD | {"tail_ms": PERCENTILES, "queue_ms": PERCENTILES})
    assert (edge_summary["frames"], edge_summary["results"], edge_summary["unanswered"]) == (40, 40, 0)
    assert cloud_summary["results"] == 40


def test_broker_run_prints_where_it_serves_and_stops_on_sigterm(start, watch):
    broker = start("broker", "run", "--port", "0", "--json")
    serving = json.loads(broker.stdout.readline())

    check(serving, {"broker": TEXT, "url": TEXT})
    watch(serving["url"])
    broker.terminate()
    assert broker.done().code == 0


def test_demo(run):
    report = run("demo", "--json").json()

    check(report, DEMONSTRATED)
    assert (report["frames"], report["results"], report["lost"], report["duplicates"]) == (360, 360, 0, 0)
    assert report["agree_with_whole"] == 1.0
    assert report["accuracy"]["split"] == report["accuracy"]["int8"] > 0.9
    assert report["payload_bytes"] < report["jpeg_bytes"] < report["raw_bytes"]
