"""Float tails: int8 in, the float model's own operators behind a door, and what a package with them promises."""

import dataclasses

import numpy as np
import pytest
import tiny_models

from broker.cloud import tail
from broker.messages import wire
from tflsplit import bundle, errors
from tflsplit.graph import cuts, flatgraph, float_tail
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import TensorSpec
from tflsplit.package import reading, verify, writing
from tflsplit.package.manifest import Role

X, A, B, C = range(4)  # the float twin's tensors: a = x + x, b = a + a, c = a + b


@pytest.fixture
def twin():
    return flatgraph.read(tiny_models.float_twin())


@pytest.fixture
def made(tmp_path):
    return tiny_models.write_float_package(tmp_path / "float.tflsplit")


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -3), ("uint8", 125), ("int16", 0)])
def test_the_door_turns_every_stored_type_into_real_values(twin, dtype, zero_point):
    boundary = (TensorSpec("a", (1, 4), dtype, 0.5, zero_point), TensorSpec("b", (1, 4), dtype, 0.25, zero_point))
    stored = np.array([[1, 2, 3, 4]], dtype)

    with Interpreter(float_tail.tail_bytes(twin, boundary, (A, B))) as opened:
        assert opened.inputs == boundary
        (found,) = opened.run(stored, stored)
    assert found.dtype == np.float32
    assert np.array_equal(found, (stored.astype(np.float32) - zero_point) * 0.75)


def test_of_two_tensors_for_one_counterpart_the_first_counts(twin):
    boundary = (TensorSpec("a", (1, 4), "int8", 0.5, 0), TensorSpec("a, coarser", (1, 4), "int8", 8.0, 0))
    stored = np.array([[1, 2, 3, 4]], np.int8)

    with Interpreter(float_tail.tail_bytes(twin, boundary, (A, A))) as opened:
        assert opened.inputs == boundary
        assert np.array_equal(opened.run(stored, stored + 9)[0], stored * np.float32(1.5))


def test_what_is_not_quantised_passes_the_door_as_it_is(twin):
    boundary = (TensorSpec("a", (1, 4), "float32"),)
    real = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)

    with Interpreter(float_tail.tail_bytes(twin, boundary, (A,))) as opened:
        assert np.array_equal(opened.run(real)[0], real + (real + real))


def test_a_boundary_that_leaves_something_out_is_refused(twin):
    with pytest.raises(errors.CutError, match="still needs its input 'x'"):
        float_tail.remainder(twin, (B,))


def test_state_on_both_sides_is_refused(builder):
    x = builder.tensor("x", (1, 4), scale=None, kind="FLOAT32")
    state = builder.tensor("state", (1, 4), scale=None, kind="FLOAT32", variable=True)
    y, z = (builder.tensor(name, (1, 4), scale=None, kind="FLOAT32") for name in "yz")
    builder.operator("ADD", (x, state), (y,), tiny_models.schema.AddOptionsT(), options_type="AddOptions")
    builder.operator("ADD", (y, state), (z,), tiny_models.schema.AddOptionsT(), options_type="AddOptions")
    graph = flatgraph.read(builder.build((x,), (z,)))

    with pytest.raises(errors.CutError, match="state 'state' of the float model is used on both sides"):
        float_tail.remainder(graph, (y,))


def test_every_float_tail_of_a_package_is_proven_and_measured(made):
    report = verify.verify(made, made.cuts, verify.random_samples(made.manifest.inputs, 4))

    assert report.is_bit_exact
    assert report.holds
    assert [found.cut for found in report.float_tails] == ["input", "op000", "op001", "output"]
    assert report.float_tails[0].sqnr_db == 300.0  # the float model itself
    assert report.as_json()["float_tails"][1]["exact"]


def test_a_tail_that_is_not_the_remainder_is_found(made, tmp_path):
    contents = {name: (made.path / name).read_bytes() for name in made.manifest.files}
    cut = made.cut("op000")
    scaled = (dataclasses.replace(cut.boundary[0], scale=0.7),)
    contents["cuts/op000/tail.tflite"] = float_tail.tail_bytes(made.float_graph, scaled, (A,))
    forged = writing.write_files(tmp_path / "forged.tflsplit", made.manifest, contents.items())
    report = verify.verify(forged, forged.cuts, verify.random_samples(made.manifest.inputs, 4))

    assert report.is_bit_exact  # of the int8 model nothing was changed
    assert not report.holds
    assert [(found.cut, found.door_differs) for found in report.float_tails if not found.is_exact] == [("op000", 4)]


def test_a_package_opens_with_its_float_tails_and_its_digest_covers_them(made, tiny_package, tmp_path):
    opened = reading.open_package(made.path)
    other = tiny_models.write_float_package(tmp_path / "other.tflsplit", without="op001")

    assert opened.manifest == made.manifest
    assert len({opened.digest, tiny_package.digest, other.digest}) == 3
    assert [spec.dtype for spec in opened.manifest.results] == ["float32"]
    assert [spec.dtype for spec in tiny_package.manifest.results] == ["int8"]


def test_written_and_sliced_tails_are_the_same_and_the_model_is_no_tail(made, tmp_path):
    contents = {name: (made.path / name).read_bytes() for name in (reading.MODEL, reading.FLOAT_MODEL)}
    bare = writing.write_files(tmp_path / "bare.tflsplit", made.manifest, contents.items())

    assert bare.digest == made.digest
    assert bare.tail_bytes(bare.cut("op001")) == made.tail_bytes(made.cut("op001"))
    assert made.file(made.cut("input"), "tail") is None
    assert made.integer_tail_bytes(made.cut("op001")) == cuts.tail_bytes(made.graph, made.cut("op001"))


def test_a_cut_without_float_tail_says_why_and_is_served_by_nobody(tmp_path):
    made = tiny_models.write_float_package(tmp_path / "float.tflsplit", without="op001")
    cut = made.cut("op001")
    frame = wire.Frame(bytes.fromhex(made.digest)[:16], cut.position, 0, 0, 0, 0, tail._unnamed(cut.boundary))

    assert cut not in made.served_cuts
    with pytest.raises(errors.CutError, match="cut op001 has no float tail: fused differently"):
        made.tail_bytes(cut)
    with pytest.raises(errors.FrameError, match="no float tail: fused differently"):
        tail.Tails(made).cut_of(frame)


def test_a_cloud_bundle_serves_float_tails_without_either_model(made, tmp_path):
    chosen = (made.cut("input"), made.cut("op001"))
    bundled = bundle.write(tmp_path / "cloud.tflsplit", made, Role.CLOUD, chosen)
    opened = reading.open_package(bundled.path)
    (sample,) = verify.random_samples(made.manifest.inputs, 1)
    whole, part = tail.Tails(made), tail.Tails(opened)

    assert sorted(opened.manifest.files) == ["cuts/input/tail.tflite", "cuts/op001/tail.tflite"]
    assert opened.digest == made.digest
    assert np.array_equal(whole.run(chosen[0], sample)[0], part.run(chosen[0], sample)[0])
    with pytest.raises(errors.PackageError, match="without the float model"):
        opened.float_model_bytes()
