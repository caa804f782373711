"""A head is tried where it cannot do harm: to the bit on a machine of the same kind, within rounding on another."""

import dataclasses
import sys

import numpy as np
import pytest
import updatable

from edge_runtime.updates import self_test
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import golden

ABACUS = KernelClass("abacus 1.0", "wood", False, {"ADD/int8": "00000001"})


@pytest.fixture
def made(field, tmp_path):
    return updatable.edge_bundle(field.new, tmp_path / "e.tflsplit")


@pytest.fixture
def head(made):
    with Interpreter(made.head_bytes(made.cut("op000"))) as opened:
        yield lambda given: opened.run(*given)


def elsewhere(made, monkeypatch):
    """As if the samples had been made on a machine of another kind."""
    kept = golden.read(made, made.cut("op000"))
    monkeypatch.setattr(golden, "read", lambda *_: dataclasses.replace(kept, made_on=ABACUS))


def off_by(steps, run):
    return lambda given: tuple(
        np.clip(array.astype(int) + steps, -128, 127).astype(array.dtype) for array in run(given)
    )


def test_a_good_head_passes_in_a_process_of_its_own(made):
    assert self_test.run_apart(made.path, "op000") == "8 golden samples, equal"


def test_what_a_process_that_dies_or_hangs_says(made, tmp_path, monkeypatch):
    for code, words in ((-11, "ended with signal 11"), (3, "ended with exit code 3")):
        with pytest.raises(errors.DeviceError, match=words):
            self_test._shown(b"INFO: something\n", code, "op000")
    hanging = tmp_path / "python"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(hanging))
    with pytest.raises(errors.DeviceError, match="gave nothing within 0 s"):
        self_test.run_apart(made.path, "op000", limit_s=0)
    with pytest.raises(errors.DeviceError, match="was stopped"):
        self_test.run_apart(made.path, "op000", is_stopping=lambda: True)


def test_on_a_cpu_of_the_same_kind_each_bit_has_to_agree(made, head):
    cut = made.cut("op000")

    assert self_test.check(head, made, cut, is_cpu=True).endswith("equal")
    with pytest.raises(errors.DeviceError, match="every bit has to agree with"):
        self_test.check(off_by(1, head), made, cut, is_cpu=True)


@pytest.mark.parametrize("where", ["another machine", "an accelerator"])
def test_elsewhere_rounding_is_allowed_and_another_computation_is_not(made, head, where, monkeypatch):
    if where == "another machine":
        elsewhere(made, monkeypatch)
    is_cpu = where == "another machine"
    cut = made.cut("op000")

    assert "8 of 8 differ, by at most 1 step" in self_test.check(off_by(1, head), made, cut, is_cpu=is_cpu)
    with pytest.raises(errors.DeviceError, match="times as far off as other kernels are"):
        self_test.check(off_by(60, head), made, cut, is_cpu=is_cpu)


def test_another_shape_is_another_head(made, head):
    with pytest.raises(errors.DeviceError, match="is not the cut's boundary"):
        self_test.check(
            lambda given: tuple(array[:, :2] for array in head(given)), made, made.cut("op000"), is_cpu=True
        )
