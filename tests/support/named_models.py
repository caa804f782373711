"""Models that people know, as int8 packages: converted once, and kept in a folder."""

import darknet
import kinds
import tiny_models

from converters import convert

TEACHABLE = "teachable_machine"
_BUILDERS = {
    "unet": kinds.unet,
    "mobilenet_v2": kinds.application("MobileNetV2", input_shape=(224, 224, 3)),
    "mobilenet_v3": kinds.application("MobileNetV3Small", include_preprocessing=False, input_shape=(224, 224, 3)),
    "efficientnet_b0": kinds.application("EfficientNetB0", input_shape=(224, 224, 3)),
    "resnet_50": kinds.application("ResNet50", input_shape=(224, 224, 3)),
}
_VGG = "vgg_16"  # with its weights a conversion takes 11 GB: built as int8, straight from the schema
MODELS = ("mobilenet_v2", TEACHABLE, "mobilenet_v3", "unet", "efficientnet_b0", "resnet_50", _VGG)


def package(name, folder, public):
    """The path of that model's package in the folder; `public` has the file of the one that nobody can build."""
    made = folder / f"{name}.tflsplit"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name == _VGG:
            tiny_models.write_package(made, darknet.int8("vgg16"), labels=())
            return made
        if name == TEACHABLE:
            saved = public / "teachable_machine_keras24.h5"
        else:
            import keras

            saved = folder / f"{name}.keras"
            kinds.randomise(_BUILDERS[name](keras)).save(saved)
        convert.convert(saved, made, convert.Options(pairs="none", quick=True))
    return made
