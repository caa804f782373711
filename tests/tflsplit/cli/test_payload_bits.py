"""Features in fewer bits on a real broker: each result is that of what NumPy makes of the frame, and says so."""

import os

import numpy as np
import pytest
from in_bits import received

from broker.messages import wire
from edge_runtime.delivery import framing
from edge_runtime.head import Head
from edge_runtime.sources import frames
from tflsplit.coding import precisions
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import outputs, reading
from tflsplit.planning import planfile

FRAMES = 40


def inputs(digits, package, count):
    source = frames.open_source(digits.parent / "test.npy", package.manifest)
    return [taken.arrays for taken, _ in zip(source.inputs(), range(count), strict=False)]


def test_every_cut_in_every_number_of_bits_is_decoded_as_numpy_makes_it(digits):
    package = reading.open_package(digits)
    measured = precisions.of_package(package)
    assert {(each.cut, each.bits) for each in measured} >= {("input", 2), ("op004", 4), ("op008", 3)}

    for each in measured:
        cut = package.cut(each.cut)
        sending = framing.of(package, cut, None, each.bits)
        with Head(package, cut) as head:
            for arrays in inputs(digits, package, 8):
                boundary = head.run(arrays)
                times = {"captured_ns": 1, "captured_at_s": 0.0, "head_s": 0.0, "wants_ack": False}
                packed = sending.pack(boundary, key=(1, 2), **times)
                frame, decoded = wire.decode(packed.encoded)
                expected = [received(one, own) for one, own in zip(boundary, each.levels, strict=True)]
                assert all(map(np.array_equal, decoded, expected))
                assert len(wire.unseal(packed.encoded).coded) == each.payload_bytes(cut) < cut.payload_bytes
                assert (frame.bits, frame.is_lossy) == (each.bits, True)


def planned(digits, folder, cut, bits):
    opened = reading.open_package(digits)
    made = planfile.Plan(
        package_digest=opened.digest,
        package_name=opened.manifest.name,
        package_path=os.path.relpath(digits, folder),
        cut=cut,
        layer=None,
        input_codec=None,
        rate_fps=None,
        window=4,
        reason="for this test",
        bits=bits,
    )
    path = folder / "plan.json"
    path.write_text(planfile.render(made))
    return path


@pytest.mark.parametrize("form", [("input", 2), ("op008", 3)])
def test_results_are_those_of_the_near_features_and_say_so(deployment, start, digits, tmp_path, form):
    (cut, bits), seen = form, deployment
    package = reading.open_package(digits)
    path = planned(digits, tmp_path, cut, bits)
    common = ("--broker", deployment.url, "--deployment", "d")
    cloud = start("cloud", "--plan", path, *common)
    seen.wait_for_cloud()
    source = ("--device", "n", "--source", digits.parent / "test.npy", "--count", FRAMES, "--json")
    edge = start("edge", "--plan", path, *common, *source).done()
    seen.wait_for_results(FRAMES)
    cloud.terminate()
    served = cloud.done()

    assert (edge.json()["results"], edge.json()["refused"]) == (FRAMES, 0)
    found = sorted(seen.results, key=lambda one: one.sequence)
    assert {(one.bits, one.is_exact) for one in found} == {(bits, False)}
    own = precisions.of_cut(package, package.cut(cut), bits).levels[0]
    with Head(package, package.cut(cut)) as head, Interpreter(package.tail_bytes(package.cut(cut))) as tail:
        for one, arrays in zip(found, inputs(digits, package, FRAMES), strict=True):
            expected = outputs.read(package.manifest.outputs, tail.run(received(head.run(arrays)[0], own)), ())
            assert (one.label, one.score) == (expected.label, expected.score)
    birth = seen.births["n"]
    assert (birth["bits"], birth["lossy"], birth["codec"]) == (bits, True, f"bits_{bits}")
    assert "results are near, not exact device=n" in served.err


@pytest.mark.parametrize(
    ("form", "options", "said"),
    [
        (("op008", 5), (), "features of op008 in 5 bits were not measured, only in"),
        (("op001", 4), (), "features of op001 in 4 bits were not measured"),
        (("op008", 4), ("--exact", "require"), "exact require, and features in 4 bits, which loses detail"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_line(  # noqa: PLR0917 - fixtures
    typed, digits, tmp_path, form, options, said
):
    path = planned(digits, tmp_path, *form)
    common = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n")

    refused = typed("edge", "--plan", path, *common, "--source", digits.parent / "test.npy", *options)
    assert said in refused.refusal()


def test_inspect_shows_what_each_number_of_bits_loses(typed, digits):
    shown = typed("inspect", digits).out
    told = typed("inspect", digits, "--json").json()

    assert "features in fewer bits" in shown
    cut = next(each for each in told["cuts"] if each["id"] == "op008")
    assert [each["bits"] for each in cut["in_bits"]] == [4, 3, 2]
    assert all(0.9 <= each["top1_agreement"] <= 1 and each["samples"] == 28 for each in cut["in_bits"])
