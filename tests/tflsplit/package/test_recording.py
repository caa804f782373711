"""A record says what one machine computes, and is taken only whole and for the package that it is of."""

import json
import zipfile

import numpy as np
import pytest
import tiny_models

from tflsplit import bundle, errors
from tflsplit.package import recording, verify
from tflsplit.package.manifest import Role


@pytest.fixture
def whole(tmp_path):
    return tiny_models.write_package(tmp_path / "w.tflsplit", tiny_models.residual_model())


@pytest.fixture
def edge(whole, tmp_path):
    return bundle.write(tmp_path / "e.tflsplit", whole, Role.EDGE, (whole.cut("op000"), whole.cut("op001")))


@pytest.fixture
def file(edge, tmp_path):
    recording.write(tmp_path / "r", edge, recording.heads_of(edge, "op000"), 6)
    return tmp_path / "r"


def changed(file, header=None, **parts):
    """The record with another header, or other parts."""
    with zipfile.ZipFile(file) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    if header is not None:
        found["record.json"] = json.dumps(json.loads(found["record.json"]) | header).encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (found | {name.replace("__", "/"): data for name, data in parts.items()}).items():
            archive.writestr(name, data)
    return file


def test_what_an_edge_recorded_is_equal_to_the_whole_package_of_the_same_machine(whole, file):
    record = recording.read(file, whole)
    (pair,) = recording.compare(record, whole)

    assert len(record.inputs) == 6
    assert (pair.cut, pair.is_equal, pair.is_expected_equal) == ("op000", True, True)
    assert pair.boundary.samples == pair.result.samples == 6


def test_a_boundary_that_differs_is_counted_in_steps_and_elements(whole, file):
    with zipfile.ZipFile(file) as archive:
        data = bytearray(archive.read("op000/0"))
    data[0] ^= 1
    (pair,) = recording.compare(recording.read(changed(file, op000__0=bytes(data)), whole), whole)

    assert (pair.boundary.differing, pair.boundary.differing_elements, pair.boundary.steps) == (1, 1, 1)
    assert pair.is_wrong


def test_given_inputs_are_kept_in_the_record(edge, whole, tmp_path):
    given = verify.random_samples(edge.manifest.inputs, 3, seed=9)
    recording.write(tmp_path / "g", edge, (edge.cut("op001"),), given)
    record = recording.read(tmp_path / "g", whole)

    assert all(np.array_equal(ours[0], theirs[0]) for ours, theirs in zip(record.inputs, given, strict=True))


def test_a_cloud_bundle_compares_results_where_the_record_has_them(whole, file, tmp_path):
    cloud = bundle.write(tmp_path / "c.tflsplit", whole, Role.CLOUD, (whole.cut("op000"),))
    with pytest.raises(errors.PackageError, match="nor its tail with results to compare"):
        recording.compare(recording.read(file, cloud), cloud)
    recording.write(tmp_path / "full", whole, (whole.cut("op000"),), 4)
    (pair,) = recording.compare(recording.read(tmp_path / "full", cloud), cloud)
    assert pair.boundary is None
    assert pair.result.is_equal


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"format": 2}, "a record of format 2, this tflsplit reads 1"),
        ({"digest": "0" * 64}, "recorded with another package"),
        ({"cuts": ["op999"]}, "op999"),
        ({"samples": 7}, "expected"),
        ({"samples": -1}, "no whole record"),
        ({"cuts": []}, "no whole record"),
        ({"inputs_sha256": ""}, "its inputs are others than are made here"),
        ({"kernel_class": {}}, "no whole record"),
    ],
)
def test_what_is_no_record_of_this_package_is_refused_in_one_line(whole, file, header, said):
    with pytest.raises(errors.TflsplitError, match=said) as refused:
        recording.read(changed(file, header), whole)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("left", [0, 10, 200, -30, -1])
def test_a_truncated_record_is_refused(whole, file, left):
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(errors.DataError, match="no whole record"):
        recording.read(file, whole)


def test_a_missing_record_and_one_that_unpacks_to_more_are_refused(whole, file):
    with pytest.raises(errors.DataError, match="cannot be read"):
        recording.read(file.with_name("none"), whole)
    with pytest.raises(errors.DataError, match="bytes or more, expected"):
        recording.read(changed(file, op000__0=bytes(1 << 20)), whole)
