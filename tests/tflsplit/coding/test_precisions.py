"""The file that says what fewer bits lose: what is written is read, and what does not fit its package is refused."""

import json
import shutil

import in_bits
import pytest

from tflsplit import bundle, errors
from tflsplit.coding import precisions
from tflsplit.package import reading, writing


@pytest.fixture
def package(tmp_path):
    return in_bits.write_package(tmp_path / "lossy.tflsplit")


def test_what_is_written_is_read(package):
    found = precisions.of_package(package)

    assert precisions.render(found) == (package.path / reading.PRECISIONS).read_bytes()
    assert {each.cut for each in found} == {cut.id for cut in package.cuts[:-1]}
    assert [each.bits for each in found if each.cut == "op000"] == [6, 4, 3, 2]
    assert precisions.of_cut(package, package.cut("op000"), 3).fidelity.top1_agreement == 0.97


def test_a_package_where_nothing_was_measured_has_none(tiny_package):
    assert precisions.of_package(tiny_package) == ()
    with pytest.raises(errors.DataError, match="op000 in 4 bits were not measured; convert again"):
        precisions.of_cut(tiny_package, tiny_package.cut("op000"), 4)


def test_bits_that_were_not_measured_are_refused_with_those_that_were(package):
    with pytest.raises(errors.DataError, match="op000 in 5 bits were not measured, only in 6, 4, 3, 2"):
        precisions.of_cut(package, package.cut("op000"), 5)


@pytest.mark.parametrize("role", ["edge", "cloud"])
def test_a_bundle_has_those_of_its_cuts(package, tmp_path, role):
    made = bundle.write(tmp_path / "b.tflsplit", package, role, ["op001"])

    found = precisions.of_package(reading.open_package(made.path))
    assert found == tuple(each for each in precisions.of_package(package) if each.cut == "op001")


def with_file(package, tmp_path, change):
    fields = json.loads((package.path / reading.PRECISIONS).read_text())
    change(fields)
    place = tmp_path / "changed.tflsplit"
    shutil.copytree(package.path, place)
    data = json.dumps(fields).encode()
    return writing.update(reading.open_package(place), package.manifest, (), {reading.PRECISIONS: data})


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(schema=2),
        lambda fields: fields.pop("cuts"),
        lambda fields: fields["cuts"].update(op099=fields["cuts"]["op000"]),
        lambda fields: fields["cuts"]["op000"].update({"5": fields["cuts"]["op000"]["4"]}),
        lambda fields: fields["cuts"]["op000"]["2"].update(levels=[[0, 1, 2, 300]]),
        lambda fields: fields["cuts"]["op000"]["2"].update(levels=[[0, 2, 1, 3]]),
        lambda fields: fields["cuts"]["op000"]["2"].update(levels=[[0, 1, 2, 3, 4]]),
        lambda fields: fields["cuts"]["op000"]["2"].update(levels=[]),
        lambda fields: fields["cuts"]["op000"]["2"].update(levels=[["a"]]),
    ],
)
def test_a_file_that_does_not_fit_the_package_is_refused(package, tmp_path, change):
    changed = with_file(package, tmp_path, change)

    with pytest.raises(errors.PackageError, match=r"precisions\.json cannot be read"):
        precisions.of_package(changed)
