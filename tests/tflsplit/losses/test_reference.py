"""The losses of a package, whatever it holds to compare with."""

import pytest
import reaching_out
import tiny_models
from lossy_models import mixing_model

from tflsplit import bundle, errors
from tflsplit.losses import reference
from tflsplit.losses.reference import Reference
from tflsplit.package.manifest import Role


def test_without_a_float_model_its_own_operators_in_float_are_compared(tiny_package, samples):
    found = reference.of_package(tiny_package, samples((1, 4)))
    assert (found.reference, found.samples, found.mixed) == (Reference.DEQUANTISED, 8, None)
    assert [each.tensor for each in found.operators] == ["a", "b", "c"]
    assert found.worst_first[0].least_db == min(each.least_db for each in found.operators)
    assert found.unmeasured == {}


def test_a_float_model_is_compared_where_the_package_has_one(tmp_path, samples):
    made = tiny_models.write_float_package(tmp_path / "f.tflsplit", without="op001")
    found = reference.of_package(made, samples((1, 4)))
    assert found.reference is Reference.FLOAT_MODEL
    assert found.unmeasured == {
        "the float model has no tensor that its result stands for": 1,
        "the float model has not all of its inputs": 1,
    }
    assert [each.tensor for each in found.worst_first] == ["a", "c"]


def test_mixed_columns_are_found_through_the_package(tmp_path, samples):
    made = tiny_models.write_package(tmp_path / "m.tflsplit", mixing_model(), labels=())
    assert reference.of_package(made, samples((1, 4, 9), (1, 2, 9))).mixed.cut == "input"


def test_a_bundle_is_refused(tiny_package, tmp_path, samples):
    made = bundle.write(tmp_path / "e.tflsplit", tiny_package, Role.EDGE, ["op000"])
    with pytest.raises(errors.PackageError, match="without the whole model; look for errors in the package"):
        reference.of_package(made, samples((1, 4)))


def test_a_model_that_ends_the_process_ends_no_other(tiny_package, samples, monkeypatch):
    monkeypatch.setattr(reference, "attempt", reaching_out.crashes)
    with pytest.raises(errors.PackageError, match=r"tiny\.tflsplit: running its models ended by SIG"):
        reference.of_package(tiny_package, samples((1, 4)))


def test_a_process_that_talks_for_ever_is_ended(tiny_package, samples, monkeypatch):
    monkeypatch.setattr(reference, "attempt", reaching_out.names_models_without_end)
    with pytest.raises(errors.PackageError, match="does not end"):
        reference.of_package(tiny_package, samples((1, 4)))
