"""The check of a runtime's requantisation: this one serves sums, its other kernels do not."""

import numpy as np
import pytest

from tflsplit.graph.interpreter import Kernels
from tflsplit.kernels import requantisation


def test_what_serves_requantises_as_sums_need():
    assert requantisation.differing() == ()


@pytest.mark.parametrize("kernels", [Kernels.BUILTIN, Kernels.REFERENCE])
def test_kernels_that_round_otherwise_are_told_apart(kernels):
    assert requantisation.differing(kernels) == ("CONV_2D", "FULLY_CONNECTED")


def test_ties_go_to_even_and_ends_are_kept():
    sums = np.array([1, 3, -1, -3, 100_000, -100_000], np.int32)
    found = requantisation.requantised(sums, np.full(6, 0.5, np.float32), 0)
    assert found.tolist() == [0, 2, 0, -2, 127, -128]
