"""Models of many kinds, with random weights and small inputs: what a claim about every model is tried on.

Keras comes in as an argument. Logits come out without a softmax where nothing else is said: over classes of equal
chance an int8 softmax is the same constant for every input, and any two such outputs are equal.
"""

import numpy as np


def randomise(model, seed=7):
    """What training would have left: no two channels alike, and none dead."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.__class__.__name__ == "BatchNormalization":
            channels = layer.moving_mean.shape
            if layer.gamma is not None:  # InceptionV3 has none
                layer.gamma.assign(rng.uniform(0.5, 1.5, channels))
            layer.beta.assign(rng.normal(0, 0.3, channels))
            layer.moving_mean.assign(rng.normal(0, 0.3, channels))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, channels))
    return model


def unet(keras):
    """Two levels down and up, with a skip connection at each."""

    def block(x, channels, name):
        x = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return keras.layers.ReLU(name=f"{name}_relu")(keras.layers.BatchNormalization(name=f"{name}_bn")(x))

    picture = keras.Input((32, 32, 3), name="picture")
    first = block(picture, 8, "first")
    second = block(keras.layers.MaxPooling2D(name="down_1")(first), 16, "second")
    bottom = block(keras.layers.MaxPooling2D(name="down_2")(second), 32, "bottom")
    up = keras.layers.Conv2DTranspose(16, 2, strides=2, name="up_2")(bottom)
    third = block(keras.layers.Concatenate(name="skip_2")([second, up]), 16, "third")
    up = keras.layers.UpSampling2D(name="up_1")(third)
    fourth = block(keras.layers.Concatenate(name="skip_1")([first, up]), 8, "fourth")
    return keras.Model(picture, keras.layers.Conv2D(4, 1, name="mask")(fourth), name="unet")


def two_inputs(keras):
    picture, vector = keras.Input((16, 16, 3), name="picture"), keras.Input((6,), name="vector")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(picture)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    y = keras.layers.Dense(8, activation="relu", name="embed")(vector)
    x = keras.layers.Concatenate(name="join")([x, y])
    return keras.Model([picture, vector], keras.layers.Dense(5, name="logits")(x), name="two_inputs")


def two_outputs(keras):
    picture = keras.Input((16, 16, 3), name="picture")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(picture)
    early = keras.layers.Dense(3, name="early")(keras.layers.GlobalAveragePooling2D(name="early_pool")(x))
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="deeper")(x)
    late = keras.layers.Dense(5, name="late")(keras.layers.GlobalMaxPooling2D(name="late_pool")(x))
    return keras.Model(picture, [early, late], name="two_outputs")


def mlp(keras):
    vector = keras.Input((20,), name="vector")
    x = keras.layers.Dense(32, activation="relu", name="hidden_1")(vector)
    x = keras.layers.Dense(16, activation="tanh", name="hidden_2")(x)
    return keras.Model(vector, keras.layers.Dense(4, name="logits")(x), name="mlp")


def lstm(keras):
    series = keras.Input((12, 6), name="series")
    x = keras.layers.Dense(8, activation="relu", name="embed")(series)
    x = keras.layers.LSTM(10, name="lstm")(x)
    return keras.Model(series, keras.layers.Dense(4, name="logits")(x), name="lstm")


def dense_on_3d(keras):
    """A block of an MLP-mixer: dense layers along both axes of (batch, tokens, channels), one after a transposition."""
    tokens = keras.Input((9, 16), name="tokens")
    x = keras.layers.Permute((2, 1), name="turn")(tokens)
    x = keras.layers.Dense(9, activation="relu", name="mix_tokens")(x)
    x = keras.layers.Add(name="add")([tokens, keras.layers.Permute((2, 1), name="turn_back")(x)])
    x = keras.layers.Dense(16, activation="relu", name="mix_channels")(x)
    return keras.Model(tokens, keras.layers.Dense(3, name="logits")(x), name="dense_on_3d")


def application(name, **options):
    fixed = {"weights": None, "classifier_activation": None} | options
    return lambda keras: getattr(keras.applications, name)(**fixed)


def gru(keras):
    """Unrolled: multiplications, sigmoids and hyperbolic tangents."""
    series = keras.Input((8, 6), name="series")
    x = keras.layers.GRU(10, unroll=True, name="gru")(series)
    return keras.Model(series, keras.layers.Dense(4, name="logits")(x), name="gru")


def attention(keras):
    """Two blocks of self-attention, each with two products of activations and a softmax within."""
    tokens = keras.Input((16, 12), name="tokens")
    x = keras.layers.Dense(16, name="embed")(tokens)
    for block in ("first", "second"):
        query, key, value = (keras.layers.Dense(16, name=f"{block}_{part}")(x) for part in ("query", "key", "value"))
        scores = keras.layers.Dot((2, 2), name=f"{block}_scores")([query, key])
        mixed = keras.layers.Dot((2, 1), name=f"{block}_mixed")(
            [keras.layers.Softmax(name=f"{block}_heed")(scores), value]
        )
        x = keras.layers.Add(name=f"{block}_sum")([x, keras.layers.Dense(16, name=f"{block}_out")(mixed)])
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(tokens, keras.layers.Dense(5, name="logits")(x), name="attention")


def squeeze_excite(keras):
    """Channels weighed by a branch, with a hard swish, as MobileNetV3 has them."""
    picture = keras.Input((24, 24, 3), name="picture")
    x = keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="hard_silu", name="conv")(picture)
    x = keras.layers.DepthwiseConv2D(5, padding="same", activation="relu", name="wide")(x)
    weight = keras.layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    weight = keras.layers.Conv2D(4, 1, activation="relu", name="reduce")(weight)
    weight = keras.layers.Conv2D(16, 1, activation="hard_sigmoid", name="excite")(weight)
    x = keras.layers.Multiply(name="weighed")([x, weight])
    x = keras.layers.Conv2D(12, 1, activation="hard_silu", name="mix")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(picture, keras.layers.Dense(7, name="logits")(x), name="squeeze_excite")


def denoiser(keras):
    """Down and up by transposed convolutions, with leaky activations and a bounded end."""
    picture = keras.Input((20, 20, 1), name="picture")
    x = keras.layers.LeakyReLU(negative_slope=0.1, name="leaky_1")(
        keras.layers.Conv2D(12, 3, strides=2, padding="same", name="down_1")(picture)
    )
    x = keras.layers.PReLU(shared_axes=(1, 2), name="prelu")(
        keras.layers.Conv2D(20, 3, strides=2, padding="same", name="down_2")(x)
    )
    x = keras.layers.Conv2DTranspose(12, 3, strides=2, padding="same", name="up_1")(x)
    x = keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="tanh", name="up_2")(x)
    return keras.Model(picture, keras.layers.Subtract(name="clean")([picture, x]), name="denoiser")


def shuffle(keras):
    """Grouped and separable convolutions whose channels are shuffled, with pads, pools and a resize."""
    picture = keras.Input((24, 24, 4), name="picture")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu6", name="conv")(picture)
    x = keras.layers.Reshape((24, 24, 2, 4), name="grouped")(x)
    x = keras.layers.Reshape((24, 24, 8), name="shuffled")(keras.layers.Permute((1, 2, 4, 3), name="turned")(x))
    x = keras.layers.SeparableConv2D(12, 3, activation="relu", name="separable")(
        keras.layers.ZeroPadding2D(name="padded")(x)
    )
    pooled = keras.layers.AveragePooling2D(2, name="average")(x), keras.layers.MaxPooling2D(2, name="most")(x)
    x = keras.layers.Maximum(name="larger")([keras.layers.Conv2D(12, 1, name="mixed")(pooled[0]), pooled[1]])
    x = keras.layers.UpSampling2D(interpolation="bilinear", name="resized")(x)
    x = keras.layers.Conv2D(6, 5, strides=3, name="last")(x)
    return keras.Model(
        picture, keras.layers.Dense(5, name="logits")(keras.layers.Flatten(name="flat")(x)), name="shuffle"
    )


def series(keras):
    """Convolutions along time, one of them dilated."""
    series = keras.Input((40, 6), name="series")
    x = keras.layers.Conv1D(12, 5, activation="relu", name="conv")(series)
    x = keras.layers.Conv1D(12, 3, dilation_rate=2, padding="same", activation="relu", name="dilated")(x)
    x = keras.layers.MaxPooling1D(name="pool")(x)
    x = keras.layers.Dense(10, activation="sigmoid", name="gate")(keras.layers.Flatten(name="flat")(x))
    return keras.Model(series, keras.layers.Dense(4, name="logits")(x), name="series")
