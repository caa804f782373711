"""A head on a real delegate beside the same head on the CPU: how far apart, and what the tail makes of it."""

import json

import pytest
import tiny_models
from click.testing import CliRunner

from edge_runtime.accelerators import choice
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import equivalence
from tflsplit import errors
from tflsplit.cli import main
from tflsplit.package import verify


def compared(package, accelerator):
    samples = verify.random_samples(package.manifest.inputs, 16)
    return equivalence.compare(package, package.cuts, samples, accelerator)


def test_the_cpu_agrees_with_itself(tiny_package):
    found = compared(tiny_package, Cpu())

    assert [agreement.cut for agreement in found.cuts] == ["op000", "op001", "output"]
    assert {(one.max_steps, one.equal_share, one.top1_agreement) for one in found.cuts} == {(0, 1.0, 1.0)}


def test_a_delegate_that_rounds_otherwise_is_measured_in_steps(library, tiny_package):
    found = compared(tiny_package, choice.parse(f"delegate:{library}?off_by=2"))

    first = found.cuts[0]
    assert first.max_steps == 2
    # The delegate computes `a` alone, and does not step beyond the end of int8.
    assert 0.0 <= first.equal_share < 0.2
    assert 0.0 < first.top1_agreement <= 1.0


def test_a_delegate_that_computes_the_same_agrees_wholly(library, tiny_package):
    found = compared(tiny_package, choice.parse(f"delegate:{library}"))

    assert {(one.max_steps, one.equal_share, one.top1_agreement) for one in found.cuts} == {(0, 1.0, 1.0)}


def test_a_head_without_work_for_the_delegate_says_so(library, builder, tmp_path):
    x = builder.tensor("x", (1, 4))
    y = builder.tensor("y", (1, 4))
    builder.operator("RELU", (x,), (y,), version=2)
    z = builder.add(y, y, "z", (1, 4))
    package = tiny_models.write_package(tmp_path / "p.tflsplit", builder.build((x,), (z,)))
    found = compared(package, choice.parse(f"delegate:{library}"))

    assert found.cuts[0].max_steps is None
    assert "takes over none of the operators" in found.cuts[0].reason
    assert found.cuts[1].max_steps == 0


def test_a_delegate_that_runs_nothing_is_refused(library, tiny_package):
    with pytest.raises(errors.DeviceError, match="all devices are busy"):
        compared(tiny_package, choice.parse(f"delegate:{library}?create=complain"))


def test_an_edge_tpu_without_any_compiled_head_is_refused(tiny_package):
    with pytest.raises(errors.PackageError, match="is not compiled for the Edge TPU"):
        compared(tiny_package, choice.parse("coral"))


def test_the_command_reports_beside_the_exact_proof(library, tiny_package):
    arguments = ["verify", str(tiny_package.path), "--accelerator", f"delegate:{library}?off_by=1"]
    as_json = CliRunner().invoke(main.cli, [*arguments, "--json"])
    as_text = CliRunner().invoke(main.cli, arguments)

    assert (as_json.exit_code, as_text.exit_code) == (0, 0)
    report = json.loads(as_json.stdout)
    assert report["bit_exact"]
    assert report["accelerator"]["name"] == f"delegate:{library}"
    assert report["accelerator"]["cuts"][0]["max_steps"] == 1
    assert f"op000 on delegate:{library}: 1 step apart at most" in as_text.stdout
