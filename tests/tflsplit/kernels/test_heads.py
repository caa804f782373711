"""A head's kernels against another machine's: what is exact, what is not, and what nobody knows."""

import kernel_classes
import pytest
from kernel_classes import HERE

from tflsplit.kernels import exactness, heads
from tflsplit.kernels.classes import KernelClass
from tflsplit.kernels.heads import HeadKernels, Standing

CONVOLUTIONS = ("ADD/int8", "CONV_2D/int8", "RESHAPE/int8")


@pytest.mark.parametrize(
    ("theirs", "kinds", "standing"),
    [
        (kernel_classes.unlike("SOFTMAX/int8"), CONVOLUTIONS, Standing.EXACT),
        (kernel_classes.unlike("SOFTMAX/int8"), (*CONVOLUTIONS, "SOFTMAX/int8"), Standing.INEXACT),
        (kernel_classes.unlike("CONV_2D/int8"), (), Standing.EXACT),
        (kernel_classes.unlike(), ("BATCH_MATMUL/int8",), Standing.UNKNOWN),
        (kernel_classes.unlike("ADD/int8"), ("ADD/int8", "BATCH_MATMUL/int8"), Standing.INEXACT),
        (None, CONVOLUTIONS, Standing.UNKNOWN),
    ],
)
def test_two_classes_are_compared_for_the_operators_of_the_head(theirs, kinds, standing):
    found = HeadKernels(HERE, kinds).against(theirs)

    assert found.standing is standing
    assert Standing.of(standing.is_exact) is standing
    assert found.is_exact == (str(found) == "exact")


def test_what_differs_is_named_with_what_settles_it_on_a_machine_that_nobody_measured():
    found = HeadKernels(kernel_classes.unlike("SOFTMAX/int8"), ("ADD/int8", "SOFTMAX/int8")).against(HERE)

    assert str(found).startswith("SOFTMAX/int8 may differ by a step or more; kernels ")
    assert "are none that were measured, `tflsplit verify --record FILE` there" in str(found)


def test_of_a_machine_that_was_measured_no_more_is_asked():
    known = exactness.known()
    arm = next(each for name, each in known.items() if each.is_litert and each.machine == "aarch64")
    intel = next(each for each in known.values() if each.runtime == arm.runtime and each.machine == "x86_64")

    assert str(HeadKernels(arm, ("SOFTMAX/int8",)).against(intel)) == "SOFTMAX/int8 may differ by a step or more"


def test_an_accelerator_is_exact_against_the_same_build_alone():
    kinds = ("CONV_2D/int8", "ADD/int8")
    coral = heads.of_accelerator("coral", ("compiler 16.0", "library 1"), kinds, HERE)
    same = heads.of_accelerator("coral", ("compiler 16.0", "library 1"), kinds, HERE)
    newer = heads.of_accelerator("coral", ("compiler 16.0", "library 2"), kinds, HERE)

    assert HeadKernels(coral, kinds).against(same).is_exact
    for other in (newer, HERE):
        found = HeadKernels(coral, kinds).against(other)
        assert (found.standing, found.agreement.differing) == (Standing.INEXACT, ("ADD/int8", "CONV_2D/int8"))
    assert KernelClass.from_json(coral.as_json()) == coral


@pytest.mark.parametrize("kernels", [HeadKernels(HERE, CONVOLUTIONS), HeadKernels(None, ()), HeadKernels(HERE, ())])
def test_a_heads_kernels_read_back_as_they_were_written(kernels):
    assert HeadKernels.from_json(kernels.as_json()) == kernels


def test_a_birth_of_an_older_version_tells_none():
    assert HeadKernels.from_json({"cut": "op000"}) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"head_operators": "ADD/int8"},
        {"head_operators": [7]},
        {"head_operators": ["ADD/int8\n"]},
        {"head_operators": ["ADD/int8"] * 201},
        {"kernel_class": {"id": "1"}},
        {"kernel_class": HERE.as_json() | {"id": "00000000"}},
    ],
)
def test_what_is_no_heads_kernels_is_refused(changes):
    with pytest.raises(ValueError, match=r"is|are|says"):
        HeadKernels.from_json(HeadKernels(HERE, CONVOLUTIONS).as_json() | changes)
