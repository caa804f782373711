"""Inputs to measure losses on."""

import numpy as np
import pytest


@pytest.fixture
def samples():
    """Random stored inputs for the shapes of a model."""

    def samples(*shapes, count=8):
        rng = np.random.default_rng(0)
        return [tuple(rng.integers(-128, 128, shape, np.int8) for shape in shapes) for _ in range(count)]

    return samples
