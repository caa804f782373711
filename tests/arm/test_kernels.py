"""The probe tells the processors of Raspberry Pis apart where their kernels differ, and only there."""

import itertools
import json

import arm_edge
import pytest

from tflsplit.kernels import classes, exactness, probe
from tflsplit.kernels.exactness import Exactness

pytestmark = [pytest.mark.arm, pytest.mark.timeout(3600)]
of_three = pytest.mark.skipif(len(arm_edge.CPUS) < 3, reason="this edge is one machine")

# As `known.json` names them.
MEASURED = {} if arm_edge.RECORDED else {cpu: cpu.title() for cpu in arm_edge.CPUS}


@pytest.mark.parametrize("cpu", arm_edge.CPUS)
def test_every_piece_of_the_probe_runs_and_int8_goes_to_xnnpack(kernel_classes, cpu):
    assert set(kernel_classes[cpu].operators) == set(kernel_classes["cloud"].operators)
    assert kernel_classes[cpu].is_delegated


@pytest.mark.parametrize("cpu", arm_edge.CPUS)
def test_what_differs_from_the_cloud_is_what_is_known_to(kernel_classes, cpu):
    agreement = classes.compare(kernel_classes["cloud"], kernel_classes[cpu], probe.kinds())

    assert {exactness.of_kind(kind) for kind in agreement.differing} <= {Exactness.ONE_CLASS}
    assert not agreement.unknown


@pytest.mark.parametrize(("cpu", "runtime"), [*itertools.product(MEASURED, arm_edge.RUNTIMES)])
def test_the_classes_that_are_known_are_those_that_are_measured(machine, runtimes, cpu, runtime):
    known = exactness.known()[f"{MEASURED[cpu]}, {runtime}"]

    found = json.loads(machine.run(runtimes(runtime), "-c", arm_edge.PROBE, cpu=cpu, PYTHONPATH="/exchange/unpacked"))

    assert found["operators"] == known.as_json()["operators"]
    assert found["id"] == known.id


@of_three
def test_pi_4_and_pi_5_are_of_one_class(kernel_classes):
    assert kernel_classes["cortex-a72"].id == kernel_classes["cortex-a76"].id


@of_three
def test_zero_2_w_is_of_another_class_in_uint8_alone(kernel_classes):
    agreement = classes.compare(kernel_classes["cortex-a53"], kernel_classes["cortex-a72"], probe.kinds())

    assert agreement.differing
    assert all("/uint8" in kind for kind in agreement.differing)
