"""MobileNetV2 with random weights, as files in a folder: made once a run by a process of its own, so that no benchmark
carries TensorFlow in its memory while it measures."""

import subprocess
import sys
from pathlib import Path

import harness
import numpy as np

from tflsplit.graph.cuts import Cut
from tflsplit.package import reading

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from tests import conftest

SIDE = 224
# After block 6, 1/16 of the side and 64 channels of int8: 12,544 bytes at 224 pixels.
CUT_LAYER = "block_6_project_BN"
INPUTS = 16

_MAKE = """
import sys, keras
keras.utils.set_random_seed(1)
shape = (int(sys.argv[2]), int(sys.argv[2]), 3)
keras.applications.MobileNetV2(input_shape=shape, weights=None).save(sys.argv[1], include_optimizer=False)
"""

_MAKE_EFFICIENTNET = """
import sys, keras
keras.utils.set_random_seed(1)
keras.applications.EfficientNetB0(weights=None).save(sys.argv[1])
"""


def keras_file(folder: Path, side: int = SIDE) -> Path:
    path = folder / f"mobilenet_v2_{side}.h5"
    if not path.exists():
        subprocess.run([sys.executable, "-c", _MAKE, str(path), str(side)], check=True, stderr=subprocess.DEVNULL)
    return path


def both(folder: Path) -> dict[str, reading.Package]:
    """MobileNetV2 and EfficientNet-B0 without written pairs: with ImageNet's weights where these are at hand
    (TFLSPLIT_TEST_DATA names their folder), else random."""
    random = folder / "efficientnet_b0.keras"
    subprocess.run([sys.executable, "-c", _MAKE_EFFICIENTNET, str(random)], check=True, stderr=subprocess.DEVNULL)
    return {"MobileNetV2": mobilenet(folder), "EfficientNet-B0": _without_pairs("EfficientNet-B0", random, folder)}


def mobilenet(folder: Path) -> reading.Package:
    """The one of `both`."""
    published = conftest.SHARED_DATA / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    return _without_pairs("MobileNetV2", published if published.exists() else keras_file(folder), folder)


def _without_pairs(name: str, file: Path, folder: Path) -> reading.Package:
    target = folder / f"{name}.tflsplit"
    if not target.exists():
        command = [harness.TFLSPLIT, "convert", str(file), "-o", str(target), "--pairs", "none"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return reading.open_package(target)


def pictures(folder: Path, side: int = SIDE) -> Path:
    """Random pixels, uint8."""
    path = folder / f"pictures_{side}.npy"
    if not path.exists():
        random = np.random.default_rng(1)
        np.save(path, random.integers(0, 256, (INPUTS, side, side, 3), dtype=np.uint8))
    return path


def stored_inputs(folder: Path, side: int = SIDE) -> Path:
    """Random inputs in the model's stored type: nothing is left to do with them before the head."""
    path = folder / f"stored_{side}.npy"
    if not path.exists():
        random = np.random.default_rng(2)
        np.save(path, random.integers(-128, 128, (INPUTS, side, side, 3), dtype=np.int8))
    return path


def converted(folder: Path, side: int = SIDE) -> tuple[reading.Package, Cut]:
    """The package with the useful pairs, and the cut that is measured."""
    path = folder / f"mobilenet_v2_{side}.tflsplit"
    if not path.exists():
        command = [harness.TFLSPLIT, "convert", str(keras_file(folder, side)), "-o", str(path)]
        command += ["--calibration", str(pictures(folder, side)), "--preprocess", "symmetric"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opened = reading.open_package(path)
    return opened, opened.cut(CUT_LAYER)
