"""Packages of strangers: their models run in a process of their own first."""

import mutations
import pytest
import reaching_out
import tiny_models

from tflsplit import errors
from tflsplit.package import trial


def test_a_package_that_runs_passes(tiny_package):
    trial.check(tiny_package)


def test_a_model_that_ends_the_process_is_named_and_ends_no_other(tiny_package, monkeypatch):
    monkeypatch.setattr(trial, "attempt", reaching_out.crashes_at_a_model)
    with pytest.raises(errors.PackageError, match=r"tiny\.tflsplit: running model\.tflite ended by SIGSEGV"):
        trial.check(tiny_package)


def test_a_half_that_cannot_be_run_is_named(tmp_path, residual_model):
    made = tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model)
    damaged = next(
        data
        for data in mutations.mutants(mutations.varied_model(), seed=1, count=100)
        if mutations.tried(data).kind == "refused"
    )
    (made.path / "cuts/op000/tail.tflite").write_bytes(damaged)
    with pytest.raises(errors.PackageError, match=r"tiny\.tflsplit: cuts/op000/tail\.tflite: .*"):
        trial.check(made)
