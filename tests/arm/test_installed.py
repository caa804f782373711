"""What docs/service.md installs on an edge of 64-bit Arm: it is complete there, and proves what it proves anywhere."""

import json
import re

import arm_edge
import arm_root
import booted
import pytest
import zoo

PYTHONS = re.findall(r":: (3\.\d+)\"", (booted.CHECKOUT / "pyproject.toml").read_text("utf-8"))

pytestmark = [pytest.mark.arm, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("cpu", arm_edge.CPUS)
def test_doctor_finds_all_that_an_edge_needs(machine, cpu):
    found = json.loads(machine.run("tflsplit", "doctor", "--role", "edge", "--json", cpu=cpu))

    assert found["ready"]
    (interpreter,) = (each for each in found["findings"] if each["name"] == "interpreter")
    assert "opens and runs a model" in interpreter["detail"]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_supported_python_has_wheels_of_all_that_an_edge_needs(machine, python):
    (wheel,) = machine.exchange.glob("tflsplit-*.whl")

    # Those of the index, whatever it has now: a device is given no lock.
    assert booted.has_wheels(wheel, "edge,metrics,update", python, arm_root.PLATFORMS) == ""


@pytest.mark.parametrize("name", zoo.VERIFIED)
def test_every_cut_is_proven_on_the_device(machine, recorded, bring, report, name):
    package = recorded(name).package

    said = machine.run("tflsplit", "verify", bring(package), "--samples", 2, "--json", "--log-level", "error")

    proof = json.loads(said)
    report.proofs[name] = proof
    assert proof["bit_exact"]
    assert proof["cuts_checked"] == len(package.cuts)
