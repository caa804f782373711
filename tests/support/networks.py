"""Networks that people deploy, small, with random weights that behave as trained ones do.

Keras comes in as an argument. What tells a network from another is its graph; `settled` gives its normalisations the
statistics that they would have learnt, without which signals die or explode on their way.
"""

import numpy as np

from tflsplit.inputs import pictures as input_pictures

CLASSES = 10


def pictures(shape, count, seed=3):
    """Pictures of few smooth shapes in changing light, uint8: neighbours are alike, and no two pictures."""
    rng = np.random.default_rng(seed)
    height, width, channels = shape
    made = []
    for _ in range(count):
        coarse = rng.normal(0, 1, (5, 5, channels)) + rng.normal(0, 0.8, (1, 1, channels))
        rows, columns = np.linspace(0, 4, height), np.linspace(0, 4, width)
        picture = np.stack([_stretched(coarse[..., c], rows, columns) for c in range(channels)], axis=-1)
        picture += rng.normal(0, 0.05, picture.shape)
        made.append(128 + 50 * picture * rng.uniform(0.5, 1.5))
    return np.clip(made, 0, 255).round().astype(np.uint8)


def _stretched(coarse, rows, columns):
    """Bilinear."""
    top, left = np.minimum(rows.astype(int), 3), np.minimum(columns.astype(int), 3)
    down, right = (rows - top)[:, None], (columns - left)[None, :]
    corner = [coarse[np.ix_(top + i, left + j)] for i in (0, 1) for j in (0, 1)]
    upper, lower = corner[0] * (1 - right) + corner[1] * right, corner[2] * (1 - right) + corner[3] * right
    return upper * (1 - down) + lower * down


def samples(model, count, seed=3):
    """Inputs of a model of one: pictures, else series that swing slowly, as real values."""
    shape = model.inputs[0].shape[1:]
    if input_pictures.is_picture((1, *shape)):
        return pictures(shape, count, seed)
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 1, (count, *shape))
    return (np.cumsum(steps, axis=1) / np.sqrt(np.arange(1, shape[0] + 1)).reshape(-1, *[1] * (len(shape) - 1))).astype(
        np.float32
    )


def settled(model, given, seed=7):
    """Filters, factors and offsets as training leaves them, and statistics of the inputs `given`.

    A deep network of independent random weights is chaotic: what disturbs its input by 1 % changes every result.
    Filters of one sign and offsets above zero keep it calm, as training does.
    """
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.__class__.__name__ in ("Conv2D", "DepthwiseConv2D", "SeparableConv2D"):
            kernel = layer.weights[0]
            kernel.assign(_smoothed(np.asarray(kernel), rng))
    normalisations = [layer for layer in model.layers if layer.__class__.__name__ == "BatchNormalization"]
    for layer in normalisations:
        channels = layer.moving_mean.shape
        if layer.gamma is not None:
            layer.gamma.assign(rng.uniform(0.5, 1.5, channels))
        if layer.beta is not None:
            layer.beta.assign(rng.normal(0.7, 0.3, channels))
    for layer in model.layers:  # LayerScale of ConvNeXt begins at 1e-6, with which a block does nothing
        if layer.__class__.__name__ == "LayerScale":
            layer.gamma.assign(rng.uniform(0.1, 0.5, layer.gamma.shape))
    momenta = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 0.0
    model(given, training=True)
    for layer, momentum in zip(normalisations, momenta, strict=True):
        layer.momentum = momentum
    return model


def _smoothed(kernel, rng):
    """Mostly one value for a pair of channels, less towards the edges of the filter; as large as before."""
    if kernel.shape[0] * kernel.shape[1] == 1:
        return kernel
    window = np.outer(*(np.hanning(extent + 2)[1:-1] for extent in kernel.shape[:2]))[..., None, None]
    common = rng.normal(0, kernel.std(), kernel.shape[2:]) * window / np.sqrt(np.mean(window**2))
    return (np.sqrt(0.8) * common + np.sqrt(0.2) * kernel).astype(np.float32)


def application(name, side, **options):
    """One of Keras' own, with its preprocessing inside where it has one."""
    fixed = {"weights": None, "classifier_activation": None, "classes": CLASSES, "input_shape": (side, side, 3)}
    return lambda keras: getattr(keras.applications, name)(**fixed | options)


def _normalised(keras, x, activation="relu"):
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.Activation(activation)(x) if activation else x


def _scaled(keras, side):
    entry = keras.Input((side, side, 3))
    return entry, keras.layers.Rescaling(1 / 127.5, -1)(entry)


def _attend(keras, x, width, heads, *, before):
    """A block of a transformer, with its normalisations before (ViT) or behind (Vaswani et al.) what they normalise."""
    normed = keras.layers.LayerNormalization(epsilon=1e-6)(x) if before else x
    mixed = keras.layers.MultiHeadAttention(heads, width // heads)(normed, normed)
    x = keras.layers.Add()([x, mixed])
    x = x if before else keras.layers.LayerNormalization(epsilon=1e-6)(x)
    y = keras.layers.LayerNormalization(epsilon=1e-6)(x) if before else x
    y = keras.layers.Dense(4 * width, activation="gelu" if before else "relu")(y)
    x = keras.layers.Add()([x, keras.layers.Dense(width)(y)])
    return x if before else keras.layers.LayerNormalization(epsilon=1e-6)(x)


def vit_tiny(keras, blocks=12, width=192, heads=3, side=64):
    """Patches of 16 pixels, learnt places, no class token: the mean of all tokens is classified."""
    entry, x = _scaled(keras, side)
    tokens = (side // 16) ** 2
    x = keras.layers.Conv2D(width, 16, strides=16)(x)
    x = keras.layers.Reshape((tokens, width))(x)
    x = _Places(keras, tokens, width)(x)
    for _ in range(blocks):
        x = _attend(keras, x, width, heads, before=True)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(entry, keras.layers.Dense(CLASSES)(x))


def _Places(keras, tokens, width):
    """Adds an embedding of each place: an Embedding over constants is folded by the converter."""
    places = np.arange(tokens)[None]

    def add(x):
        table = keras.layers.Embedding(tokens, width)(keras.ops.convert_to_tensor(places))
        return x + table

    return add


def transformer_encoder(keras):
    """Over a series of 32 steps of 16 features, as of sensors."""
    entry = keras.Input((32, 16))
    x = keras.layers.Dense(64)(entry)
    for _ in range(4):
        x = _attend(keras, x, 64, 4, before=False)
    x = keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(entry, keras.layers.Dense(CLASSES)(x))


def ds_cnn(keras):
    """Zhang et al., arXiv 1711.07128: keyword spotting on 49 steps of 10 MFCCs."""
    entry = keras.Input((49, 10, 1))
    x = keras.layers.Conv2D(64, (10, 4), strides=(2, 2), padding="same", use_bias=False)(entry)
    x = _normalised(keras, x)
    for _ in range(4):
        x = _normalised(keras, keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = _normalised(keras, keras.layers.Conv2D(64, 1, use_bias=False)(x))
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(entry, keras.layers.Dense(12)(x))


def gru(keras, steps=98, units=64):
    """Keyword spotting on 98 steps of 40 features."""
    entry = keras.Input((steps, 40))
    return keras.Model(entry, keras.layers.Dense(12)(keras.layers.GRU(units)(entry)))


def _conv(keras, x, channels, size=3, strides=1):
    """Of the YOLOs: convolution, normalisation, swish."""
    x = keras.layers.Conv2D(channels, size, strides, padding="same", use_bias=False)(x)
    return _normalised(keras, x, "silu")


def _csp(keras, x, channels):
    """Half of the channels through a bottleneck, all joined."""
    x = _conv(keras, x, channels, 1)
    left, right = x[..., : channels // 2], x[..., channels // 2 :]
    y = _conv(keras, _conv(keras, right, channels // 2), channels // 2)
    y = keras.layers.Add()([right, y])
    return _conv(keras, keras.layers.Concatenate()([left, right, y]), channels, 1)


def _backbone(keras, side):
    entry = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 255)(entry)
    x = _csp(keras, _conv(keras, _conv(keras, x, 16, 3, 2), 32, 3, 2), 32)
    small = _csp(keras, _conv(keras, x, 64, 3, 2), 64)
    middle = _csp(keras, _conv(keras, small, 96, 3, 2), 96)
    pooled = [_conv(keras, middle, 48, 1)]
    for _ in range(3):
        pooled.append(keras.layers.MaxPooling2D(5, 1, padding="same")(pooled[-1]))
    middle = _conv(keras, keras.layers.Concatenate()(pooled), 96, 1)
    up = keras.layers.Concatenate()([keras.layers.UpSampling2D()(middle), small])
    small = _csp(keras, up, 64)
    middle = _csp(keras, keras.layers.Concatenate()([_conv(keras, small, 64, 3, 2), middle]), 96)
    return entry, (small, middle)


def yolo_v5(keras, side=96, classes=4):
    """Three anchors a place; boxes and scores come out as they are learnt, a tensor for each size."""
    entry, features = _backbone(keras, side)
    return keras.Model(entry, [keras.layers.Conv2D(3 * (5 + classes), 1, activation="sigmoid")(x) for x in features])


def yolo_v8(keras, side=96, classes=4, bins=16):
    """Without anchors: four distances, each the mean of a softmax over bins, and scores, decoded in the network."""
    entry, features = _backbone(keras, side)
    boxes, scores = [], []
    for x in features:
        box = keras.layers.Conv2D(4 * bins, 1)(_conv(keras, x, 32))
        score = keras.layers.Conv2D(classes, 1, activation="sigmoid")(_conv(keras, x, 32))
        boxes.append(keras.layers.Reshape((-1, 4, bins))(box))
        scores.append(keras.layers.Reshape((-1, classes))(score))
    mean = keras.layers.Softmax()(keras.layers.Concatenate(axis=1)(boxes))
    counted = keras.layers.Conv2D(1, 1, use_bias=False)
    mean = keras.layers.Reshape((-1, 4))(counted(mean))
    counted.set_weights([np.arange(bins, dtype=np.float32).reshape(1, 1, bins, 1)])
    return keras.Model(entry, [mean, keras.layers.Concatenate(axis=1)(scores)])


def u_net(keras, side=64):
    """Ronneberger et al., arXiv 1505.04597, three levels of it."""
    entry = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 255)(entry)
    skips = []
    for channels in (16, 32, 64):
        x = _double(keras, x, channels)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = _double(keras, x, 128)
    for skip in reversed(skips):
        channels = skip.shape[-1]
        x = keras.layers.Conv2DTranspose(channels, 2, strides=2)(x)
        x = _double(keras, keras.layers.Concatenate()([skip, x]), channels)
    return keras.Model(entry, keras.layers.Conv2D(3, 1)(x))


def _double(keras, x, channels):
    for _ in range(2):
        x = _normalised(keras, keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(x))
    return x


def squeezenet(keras, side=96):
    """Iandola et al., arXiv 1602.07360, version 1.1: no normalisation."""
    entry, x = _scaled(keras, side)
    relu = {"activation": "relu", "kernel_initializer": "he_normal"}
    x = keras.layers.MaxPooling2D(3, 2)(keras.layers.Conv2D(64, 3, strides=2, **relu)(x))
    for place, (few, many) in enumerate(((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256))):
        if place in (2, 4):
            x = keras.layers.MaxPooling2D(3, 2)(x)
        x = keras.layers.Conv2D(few, 1, **relu)(x)
        wide = keras.layers.Conv2D(many, 1, **relu)(x), keras.layers.Conv2D(many, 3, padding="same", **relu)(x)
        x = keras.layers.Concatenate()(wide)
    x = keras.layers.Conv2D(CLASSES, 1, kernel_initializer="he_normal")(x)
    return keras.Model(entry, keras.layers.GlobalAveragePooling2D()(x))


def efficientnet_lite(keras, side=96):
    """EfficientNet-lite0: inverted bottlenecks with ReLU6, without squeeze and excitation."""
    entry, x = _scaled(keras, side)
    x = _normalised(keras, keras.layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(x), "relu6")
    table = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
             (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip  # expansion, channels, repeats, stride, size
    for expansion, channels, repeats, stride, size in table:
        for repeat in range(repeats):
            x = _inverted(keras, x, expansion, channels, stride=stride if repeat == 0 else 1, size=size)
    x = _normalised(keras, keras.layers.Conv2D(1280, 1, use_bias=False)(x), "relu6")
    return keras.Model(entry, keras.layers.Dense(CLASSES)(keras.layers.GlobalAveragePooling2D()(x)))


def _inverted(keras, x, expansion, channels, *, stride, size):
    y = x
    if expansion > 1:
        y = _normalised(keras, keras.layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False)(y), "relu6")
    y = _normalised(keras, keras.layers.DepthwiseConv2D(size, stride, padding="same", use_bias=False)(y), "relu6")
    y = _normalised(keras, keras.layers.Conv2D(channels, 1, use_bias=False)(y), None)
    return keras.layers.Add()([x, y]) if y.shape == x.shape else y


NETWORKS = {
    "ViT-tiny": vit_tiny,
    "Transformer encoder": transformer_encoder,
    "ConvNeXtTiny": application("ConvNeXtTiny", 64),
    "EfficientNetB0": application("EfficientNetB0", 64),
    "EfficientNetV2B0": application("EfficientNetV2B0", 64),
    "EfficientNet-lite0": efficientnet_lite,
    "MobileNet": application("MobileNet", 96),
    "MobileNetV2": application("MobileNetV2", 96),
    "MobileNetV3Small": application("MobileNetV3Small", 96),
    "MobileNetV3Large": application("MobileNetV3Large", 96),
    "MobileNetV3Small, minimalistic": application("MobileNetV3Small", 96, minimalistic=True),
    "MobileNetV3Large, minimalistic": application("MobileNetV3Large", 96, minimalistic=True),
    "NASNetMobile": application("NASNetMobile", 96),
    "ResNet50": application("ResNet50", 64),
    "ResNet50V2": application("ResNet50V2", 64),
    "DenseNet121": application("DenseNet121", 64),
    "Xception": application("Xception", 96),
    "InceptionV3": application("InceptionV3", 96),
    "InceptionResNetV2": application("InceptionResNetV2", 96),
    "SqueezeNet 1.1": squeezenet,
    "U-Net": u_net,
    "YOLOv5-like": yolo_v5,
    "YOLOv8-like": yolo_v8,
    "DS-CNN": ds_cnn,
    "GRU, 98 steps": gru,
}
