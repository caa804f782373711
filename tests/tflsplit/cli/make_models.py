"""Writes Keras models and files that are none into the folder named on the command line; each is bad in its own way."""

import pathlib
import sys

import keras

layers = keras.layers
folder = pathlib.Path(sys.argv[1])


def save(name, shape, *between):
    """A model with a dense layer before and after what is to be tried."""
    inputs = keras.Input(shape)
    outputs = layers.Dense(8, name="first")(inputs)
    for function in between:
        outputs = function(outputs)
    keras.Model(inputs, layers.Dense(2, name="last")(outputs)).save(folder / name)


save("plain.keras", (8,))
save("sine.keras", (8,), keras.ops.sin)
save("lambda.keras", (8,), layers.Lambda(lambda tensor: tensor * 2, name="twice"))
keras.Sequential(
    [keras.Input((None, None, 3)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)]
).save(folder / "any_size.keras")
