"""Packages of many kinds, with which two machines are compared: made here, or on another machine and brought.

`python zoo.py FOLDER PUBLIC` makes them, with samples and what this machine makes of these, for another machine to
compare itself with. PUBLIC is the folder of public models, which may be absent; kinds named after it are the only ones.
"""

import json
import pathlib
import shutil
import sys
from dataclasses import dataclass

import across
import booted
import kinds
import recorder

from converters import convert
from converters.loading import quiet
from tflsplit.kernels import probe
from tflsplit.package import reading

SAMPLES = 20


@dataclass(frozen=True, slots=True)
class Kind:
    """A package's source: a Keras model that is built, a file of the checkout, or a public model beside it."""

    build: object = None
    shipped: str = ""
    public: str = ""
    samples: int = SAMPLES


_SMALL = {"input_shape": (64, 64, 3), "classes": 20}

# Int8, as `convert` makes it or as it was published, but for those called uint8.
KINDS = {
    "digits": Kind(shipped="tflsplit/demo/digits.h5"),
    "teachable_machine": Kind(public="teachable_machine_keras24.h5"),
    "driving": Kind(public="driving_keras224.h5"),
    "tiny_resnet": Kind(public="models/mlc_resnet_int8.tflite"),
    "attention": Kind(kinds.attention),
    "unet": Kind(kinds.unet),
    "gru": Kind(kinds.gru),
    "mobilenet_v1_uint8": Kind(public="mobilenet_v1_0.25_128_quant.tflite"),
    "mobilenet_v2": Kind(kinds.application("MobileNetV2", alpha=0.35, **_SMALL | {"input_shape": (96, 96, 3)})),
    "mobilenet_v3": Kind(kinds.application("MobileNetV3Small", **_SMALL)),
    "efficientnet_b0": Kind(kinds.application("EfficientNetB0", **_SMALL), samples=8),
    "lstm": Kind(kinds.lstm),
    "fused_lstm": Kind(public="models/coral_lstm_mnist.tflite"),
    "squeeze_excite": Kind(kinds.squeeze_excite),
    "denoiser": Kind(kinds.denoiser),
    "shuffle": Kind(kinds.shuffle),
    "series": Kind(kinds.series),
    "dense_on_3d": Kind(kinds.dense_on_3d),
    "two_inputs": Kind(kinds.two_inputs),
    "two_outputs": Kind(kinds.two_outputs),
    "mlp": Kind(kinds.mlp),
    "speech": Kind(public="models/mlc_kws_int8.tflite"),
    "anomaly": Kind(public="models/mlc_ad_toycar_fullint.tflite"),
    "faces": Kind(public="models/blazeface_128_int8_float_ends.tflite"),
}
# Kinds of which the device itself proves every cut, as `tflsplit verify` does.
VERIFIED = tuple(KINDS)[:8]


def make(name, folder, public):
    """The package of a kind; None where it is made of a public model, and these are not in the folder `public`."""
    kind = KINDS[name]
    source = folder / f"{name}.keras"
    if kind.shipped:
        source = pathlib.Path(shutil.copy(booted.CHECKOUT / kind.shipped, folder))
    elif kind.public:
        if not (public / kind.public).is_file():
            return None
        source = pathlib.Path(shutil.copy(public / kind.public, folder))
    else:
        quiet.tensorflow()
        with quiet.silenced():
            import keras

            keras.utils.set_random_seed(7)
            kinds.randomise(kind.build(keras)).save(source)
    return convert.convert(source, folder / f"{name}.tflsplit", convert.Options(pairs="useful", quick=True))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A package, samples of its inputs, and the boundaries of all its cuts on the machine where they were recorded."""

    package: reading.Package
    samples: list
    boundaries: dict


def made(name, folder, public, machine):
    package = make(name, folder, public)
    if package is None:
        return None
    given = across.samples(package.manifest.inputs, KINDS[name].samples)
    return Recorded(package, given, across.boundaries(machine, package, given))


def keep(name, folder, recorded):
    """What `load` gives on another machine, beside the package."""
    recorder.write(folder / f"{name}.samples.npz", recorded.samples)
    ran = [tuple(array for cut in each for array in cut) for each in zip(*recorded.boundaries.values(), strict=True)]
    recorder.write(folder / f"{name}.boundaries.npz", ran)


def load(name, folder):
    """What was recorded on another machine; None where that had no such package."""
    if not (folder / f"{name}.tflsplit").is_dir():
        return None
    package = reading.open_package(folder / f"{name}.tflsplit")
    ran = recorder.read(folder / f"{name}.boundaries.npz")
    boundaries = {cut.id: [] for cut in package.cuts}
    for each in map(iter, ran):
        for cut in package.cuts:
            boundaries[cut.id].append(tuple(next(each) for _ in cut.tensors))
    return Recorded(package, recorder.read(folder / f"{name}.samples.npz"), boundaries)


def main(folder, public, *names):
    folder, public = pathlib.Path(folder), pathlib.Path(public)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "class.json").write_text(json.dumps(probe.measure().as_json()))
    for name in names or KINDS:
        recorded = made(name, folder, public, across.Here(folder))
        if recorded is not None:
            keep(name, folder, recorded)


if __name__ == "__main__":
    main(*sys.argv[1:])
