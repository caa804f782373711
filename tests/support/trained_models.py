"""Small models of which it is known how they take pixels: trained on crops of two photographs, or on digits.

Of a batch normalisation the statistics are what training leaves; they are there after some passes, without any fitting.
"""

import functools

import numpy as np
from PIL import Image
from sklearn import datasets

from tflsplit.inputs.preprocessing import NAMED

SIDE = 32
# What stands inside the model: the preprocessing that has to come before it.
INSIDE = {
    "nothing": None,
    "Rescaling": "raw",
    "x / 255": "raw",
    "augmentation, then Rescaling": "raw",
    "preprocess_input of VGG16": "raw",
    "Normalization of pixels": "raw",
    "Normalization of pixels / 255": "unit",
}


@functools.cache
def crops(count=256):
    """uint8 pixels (count, 32, 32, 3) of a palace and a flower, which scikit-learn ships."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(np.asarray(image)) for image in datasets.load_sample_images().images]
    cut = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(rng.integers(SIDE, min(photograph.size)))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in photograph.size)
        box = (left, top, left + side, top + side)
        cut.append(np.asarray(photograph.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
    return np.stack(cut)


@functools.cache
def digits(count=256):
    """uint8 pixels (count, 32, 32, 1) of handwritten digits, white on black."""
    pixels = np.round(datasets.load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    resized = [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for one in pixels]
    return np.stack([np.asarray(one) for one in resized])[..., None]


def build(keras, way="raw", *, inside="nothing", normalises=True, pixels=None):
    """A model that takes pixels as `way` makes them."""
    pixels = crops() if pixels is None else pixels
    real = NAMED[way].to_real(pixels)
    entry = keras.Input(pixels.shape[1:])
    x = _inside(keras, inside, entry, real)
    for filters in (12, 16):
        x = keras.layers.Conv2D(filters, 3, use_bias=not normalises)(x)
        x = keras.layers.BatchNormalization(momentum=0.5)(x) if normalises else x
        x = keras.layers.ReLU()(x)
    model = keras.Model(entry, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x)))
    for start in range(0, len(real) if normalises else 0, 32):
        model(real[start : start + 32], training=True)
    return model


def _inside(keras, inside, x, real):
    layers = keras.layers
    if inside == "Rescaling":
        return layers.Rescaling(1 / 255)(x)
    if inside == "x / 255":
        return x / 255.0
    if inside == "augmentation, then Rescaling":
        for layer in (layers.RandomFlip(), layers.RandomRotation(0.05), layers.RandomContrast(0.1)):
            x = layer(x)
        return layers.Rescaling(1 / 127.5, offset=-1)(x)
    if inside == "preprocess_input of VGG16":
        return keras.applications.vgg16.preprocess_input(x)
    if inside.startswith("Normalization"):
        layer = layers.Normalization()
        layer.adapt(real)
        return layer(x)
    return x
