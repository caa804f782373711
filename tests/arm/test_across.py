"""Heads on an edge of 64-bit Arm, tails in a cloud of x86-64: every cut that is called exact is so, and no other."""

import across
import arm_edge
import numpy as np
import pytest
import zoo

from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import classes, exactness
from tflsplit.kernels.exactness import Exactness

pytestmark = [pytest.mark.arm, pytest.mark.timeout(3600)]
EXACT_IN_LITERT = {Exactness.EVERYWHERE, Exactness.LITERT}


def agreement(kernel_classes, cpu, package, cut):
    return classes.compare(kernel_classes["cloud"], kernel_classes[cpu], package.head_kinds(cut))


def static(package, cut):
    """What is said of it where no class of the edge is known."""
    return exactness.of_kinds(package.head_kinds(package.cut(cut))).exact_on


def is_plain_int8(package, cut):
    """Without SOFTMAX, and without products and means between two integers."""
    of_head = package.head_kinds(package.cut(cut))
    return not any(kind.startswith("SOFTMAX/") or kind.endswith(":ties") or "/uint8" in kind for kind in of_head)


@pytest.mark.parametrize("cpu", arm_edge.CPUS)
@pytest.mark.parametrize("name", zoo.KINDS)
def test_pairs_across_machines_are_exact_where_that_is_said(machine, recorded, *, kernel_classes, report, name, cpu):
    made = recorded(name)
    there = across.boundaries(across.There(machine, cpu), made.package, made.samples)

    rows = across.compare(made.package, made.boundaries, there)

    said = {cut.id: agreement(kernel_classes, cpu, made.package, cut) for cut in made.package.cuts}
    report.pairs[name, cpu] = rows, said, len(made.samples)
    wrong = [row for row in rows if said[row.cut].is_exact and (row.boundary.differing or row.pairs)]
    assert not wrong
    table = [row for row in rows if static(made.package, row.cut) in EXACT_IN_LITERT and row.boundary.differing]
    assert not table
    moved = [row for row in rows if is_plain_int8(made.package, row.cut) and row.boundary.differing]
    assert not moved


@pytest.mark.parametrize(("name", "from_operator"), [("attention", "SOFTMAX"), ("mobilenet_v1_uint8", "CONV_2D")])
def test_what_is_not_exact_is_seen(machine, recorded, name, from_operator):
    made, cpu = recorded(name), arm_edge.CPUS[0]
    operators = [operator.name for operator in made.package.graph.operators]

    rows = across.compare(
        made.package, made.boundaries, across.boundaries(across.There(machine, cpu), made.package, made.samples)
    )

    differing = [made.package.cut(row.cut).position for row in rows if row.boundary.differing]
    assert min(differing) > operators.index(from_operator)


@pytest.mark.parametrize("name", zoo.KINDS)
def test_one_run_of_the_whole_gives_the_boundaries_of_all_heads(recorded, name):
    made = recorded(name)

    for cut in made.package.cuts:
        with Interpreter(made.package.head_bytes(cut)) as head:
            alone = head.run(*made.samples[0])
        for one, other in zip(alone, made.boundaries[cut.id][0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_head_alone_gives_there_what_the_run_of_the_whole_gives(machine, recorded):
    made = recorded("digits")
    there = across.There(machine, arm_edge.CPUS[0])
    heads = {cut.id: made.package.head_bytes(cut) for cut in made.package.cuts[1:]}

    ran = across.record(there, heads, made.samples[:3])

    together = across.boundaries(there, made.package, made.samples[:3])
    assert not any(
        across.apart(one, other).differing
        for cut, each in ran.items()
        for one, other in zip(each, together[cut], strict=True)
    )
