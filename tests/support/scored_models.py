"""The tiny model as a classifier whose scores a gate can judge, and inputs of which it is sure and others."""

import numpy as np
import tiny_models

from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning

SCORE = 0.9
SCORED = {"meanings": (Meaning.LOGITS,), "labels": ("0", "1", "2", "3")}
INPUTS = np.random.default_rng(3).integers(-6, 7, (200, 4), dtype=np.int8)


def package(folder, name="scored", **changes):
    return tiny_models.write_package(folder / f"{name}.tflsplit", tiny_models.residual_model(), **SCORED | changes)


def float_package(folder):
    return tiny_models.write_float_package(folder / "float.tflsplit", **SCORED)


def scores(package, inputs=INPUTS):
    """Of the whole model, as NumPy sees them."""
    spec = package.manifest.outputs[0]
    with Interpreter(package.model_bytes()) as whole:
        real = np.array([whole.run(row[None])[0].ravel() for row in inputs], np.float64) * np.float32(spec.scale)
    shares = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    return shares.max(axis=1), real.argmax(axis=1)
