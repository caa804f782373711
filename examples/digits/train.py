"""Trains the model that `tflsplit demo` cuts in two, and writes it and its data beside the command that uses them.

The data are the 1,797 handwritten digits inside scikit-learn: nothing is downloaded. They are 8×8 pictures with 17 grey
levels; they are enlarged to 32×32 bytes with Pillow, the size and type that a camera's crop would have, so that the
demo starts from a raw picture of 1,024 bytes. Enlarging adds no information.

    python examples/digits/train.py

Run it with the oldest Keras that the project takes (README.md says how): older ones may refuse what newer ones save.
Seed, split and number of epochs are fixed beforehand; the held-out fifth is looked at once, after training.
"""

import pathlib

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn import datasets, model_selection

SEED = 20
SIDE = 32
EPOCHS = 40
BATCH = 32
CALIBRATION_IMAGES = 128
DESTINATION = pathlib.Path(__file__).resolve().parents[2] / "tflsplit" / "demo"


def main() -> None:
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    images, labels = enlarged_digits()
    train_images, test_images, train_labels, test_labels = model_selection.train_test_split(
        images, labels, test_size=0.2, stratify=labels, random_state=SEED
    )
    model = build()
    train(model, train_images, train_labels)
    accuracy = share_correct(model, test_images, test_labels)

    DESTINATION.mkdir(exist_ok=True)
    model.save(DESTINATION / "digits.h5", include_optimizer=False)
    np.savez_compressed(
        DESTINATION / "digits.npz",
        calibration=train_images[:CALIBRATION_IMAGES],
        test_images=test_images,
        test_labels=test_labels.astype(np.uint8),
    )
    print(f"{len(train_images)} training and {len(test_images)} held-out pictures, {model.count_params():,} parameters")
    print(f"held-out accuracy {accuracy:.4f} ({round(accuracy * len(test_images))} of {len(test_images)})")
    for file in ("digits.h5", "digits.npz"):
        print(f"{file} {(DESTINATION / file).stat().st_size:,} bytes")


def enlarged_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 32, 32, 1) uint8 and their digits."""
    digits = datasets.load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    enlarged = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for one in pixels]
    return np.stack(enlarged)[..., None], digits.target


def build() -> keras.Model:
    """A small residual network whose feature maps narrow twice: 512 bytes after `narrow`, 256 after `squeeze`."""
    picture = keras.Input((SIDE, SIDE, 1), name="picture")
    x = conv(picture, 8, "stem", strides=2)
    x = residual(x, 8, "early")
    x = conv(x, 8, "narrow", strides=2)
    x = residual(x, 8, "middle")
    x = conv(x, 16, "squeeze", strides=2)
    x = conv(x, 40, "widen", size=1)
    x = residual(x, 40, "late")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, seed=SEED, name="dropout")(x)
    return keras.Model(picture, keras.layers.Dense(10, activation="softmax", name="digit")(x), name="digits")


def conv(
    x: keras.KerasTensor, channels: int, name: str, *, size: int = 3, strides: int = 1, relu: bool = True
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, size, strides, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x


def residual(x: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    """Two convolutions and the way around them: a cut inside carries two tensors."""
    y = conv(x, channels, f"{name}_1")
    y = conv(y, channels, f"{name}_2", relu=False)
    y = keras.layers.Add(name=f"{name}_add")([x, y])
    return keras.layers.ReLU(name=f"{name}_relu")(y)


def train(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    steps = EPOCHS * -(-len(images) // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        loss="sparse_categorical_crossentropy",
    )
    model.fit(images / np.float32(255), labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)


def share_correct(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    guesses = model.predict(images / np.float32(255), verbose=0).argmax(axis=-1)
    return float(np.mean(guesses == labels))


if __name__ == "__main__":
    main()
