"""A script for any machine with an edge's installation: runs models on samples and keeps all that comes out.

    python recorder.py SAMPLES.npz MODEL.tflite …

MODEL.npz, beside each model, has the outputs. Arrays are named SAMPLE.PLACE, both from 0.
"""

import pathlib
import sys

import numpy as np

from tflsplit.graph.interpreter import Interpreter


def read(file):
    """The arrays of each sample, in their order."""
    samples = []
    with np.load(file) as arrays:
        for key in sorted(arrays, key=lambda key: tuple(map(int, key.split(".")))):
            if key.endswith(".0"):
                samples.append(())
            samples[-1] += (arrays[key],)
    return samples


def write(file, samples):
    np.savez(
        file, **{f"{number}.{place}": array for number, each in enumerate(samples) for place, array in enumerate(each)}
    )


def record(model, samples):
    with Interpreter(model) as opened:
        return [opened.run(*sample) for sample in samples]


if __name__ == "__main__":
    given = read(sys.argv[1])
    for model in map(pathlib.Path, sys.argv[2:]):
        write(model.with_suffix(".npz"), record(model, given))
