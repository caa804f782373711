"""Forms that int8 TFLite has no kernel for are written with what it has; the float model stays what it was."""

import numpy as np
import pytest

from converters import quantize
from converters.calibration import synthesis
from converters.float_model import fidelity
from converters.loading import quiet, rewrites
from converters.loading.frozen.graph import become
from tflsplit.graph import flatgraph
from tflsplit.inputs.preprocessing import NAMED


def _after_convolution(make):
    """A convolution, the layer in question, and a dense layer."""

    def build(keras):
        entry = keras.Input((8, 8, 16))
        x = make(keras)(keras.layers.Conv2D(16, 3, padding="same")(entry))
        return keras.Model(entry, keras.layers.Dense(5)(keras.layers.Flatten()(x)))

    return build


def _cosine(keras):
    one, other = keras.Input((16,)), keras.Input((16,))
    dense = keras.layers.Dense(8)
    return keras.Model(
        [one, other], keras.layers.Dense(3)(keras.layers.Dot(1, normalize=True)([dense(one), dense(other)]))
    )


def _attention(keras):
    """A block of a vision transformer, with GELU."""
    entry = keras.Input((16, 32))
    x = keras.layers.LayerNormalization()(entry)
    x = keras.layers.Add()([entry, keras.layers.MultiHeadAttention(4, 8)(x, x)])
    x = keras.layers.Dense(32, activation="gelu")(keras.layers.LayerNormalization()(x))
    return keras.Model(entry, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling1D()(x)))


def _over(keras, make):
    entry = keras.Input((12, 8))
    return keras.Model(entry, keras.layers.Dense(5)(keras.layers.Flatten()(make(entry))))


def _scores(mask):
    """Attention over twelve steps; `mask` makes of its scores those that the softmax takes."""

    def build(keras):
        entry = keras.Input((12, 8))
        dense = keras.layers.Dense
        scores = keras.layers.Dot((2, 2))([dense(8)(entry), dense(8)(entry)])
        weights = keras.layers.Softmax()(mask(keras, scores))
        return keras.Model(
            entry, dense(5)(keras.layers.Flatten()(keras.layers.Dot((2, 1))([weights, dense(8)(entry)])))
        )

    return build


def _causal(keras, x):
    return keras.ops.less_equal(np.arange(12)[None, None, :], keras.ops.abs(x) * 0 + np.arange(12)[None, :, None])


def _cast(keras, mask):
    return keras.ops.cast(mask, "float32")


MASKS = {
    "chosen": lambda keras, x: keras.ops.where(_causal(keras, x), x, -1e9),
    "chosen, infinite": lambda keras, x: keras.ops.where(_causal(keras, x), x, -np.inf),
    "chosen, the other way": lambda keras, x: keras.ops.where(keras.ops.logical_not(_causal(keras, x)), -3e38, x),
    "lowered where": lambda keras, x: keras.ops.where(_causal(keras, x), x, x - 1e9),
    "lowered by a constant": lambda keras, x: x + np.triu(np.full((1, 12, 12), -1e9, np.float32), 1),
    "lowered by what is no": lambda keras, x: x + (1.0 - _cast(keras, _causal(keras, x))) * -1e9,
    "lowered by what is": lambda keras, x: x - 1e4 * _cast(keras, keras.ops.logical_not(_causal(keras, x))),
}


def _masked(keras):
    entry = keras.Input((4, 8))
    return keras.Model(entry, keras.layers.LSTM(4)(keras.layers.Masking()(entry)))


FORMS = {
    "LayerNormalization": _after_convolution(lambda keras: keras.layers.LayerNormalization()),
    "GroupNormalization": _after_convolution(lambda keras: keras.layers.GroupNormalization(4)),
    "RMSNormalization": _after_convolution(lambda keras: keras.layers.RMSNormalization()),
    "UnitNormalization": _after_convolution(lambda keras: keras.layers.UnitNormalization()),
    "elu": _after_convolution(lambda keras: keras.layers.Activation("elu")),
    "selu": _after_convolution(lambda keras: keras.layers.Activation("selu")),
    "celu": _after_convolution(lambda keras: keras.layers.Activation("celu")),
    "clipped": _after_convolution(lambda keras: lambda x: keras.ops.minimum(x, 1.5)),
    "clipped at 6": _after_convolution(lambda keras: keras.layers.ReLU(max_value=6)),
    "sloped": _after_convolution(lambda keras: lambda x: keras.ops.maximum(x, 0.1 * x)),
    "maximum of two": _after_convolution(lambda keras: lambda x: keras.ops.maximum(x, 1.0 - x)),
    "where above 0, leaky": _after_convolution(lambda keras: lambda x: keras.ops.where(x > 0, x, x * 0.1)),
    "where below 0, leaky": _after_convolution(lambda keras: lambda x: keras.ops.where(x <= 0.0, 0.1 * x, x)),
    "where, elu": _after_convolution(lambda keras: lambda x: keras.ops.where(x > 0, x, keras.ops.exp(x) - 1.0)),
    "where, relu": _after_convolution(lambda keras: lambda x: keras.ops.where(x > 0, x, 0.0)),
    "elu of another alpha": _after_convolution(lambda keras: keras.layers.ELU(0.5)),
    "softplus": _after_convolution(lambda keras: keras.layers.Activation("softplus")),
    "softplus as written": _after_convolution(lambda keras: lambda x: keras.ops.log(1.0 + keras.ops.exp(x))),
    "softplus by log1p": _after_convolution(lambda keras: lambda x: keras.ops.log1p(keras.ops.exp(x))),
    "log sigmoid": _after_convolution(lambda keras: keras.layers.Activation("log_sigmoid")),
    "mish": _after_convolution(lambda keras: keras.layers.Activation("mish")),
    "leaky": _after_convolution(lambda keras: keras.layers.LeakyReLU(0.1)),
    "leaky of two": _after_convolution(lambda keras: lambda x: keras.ops.relu(x) - 0.1 * keras.ops.relu(-x)),
    "gelu by tanh": _after_convolution(lambda keras: lambda x: keras.ops.gelu(x, approximate=True)),
    "gelu by a power": _after_convolution(
        lambda keras: lambda x: 0.5 * x * (1.0 + keras.ops.tanh(0.7978845608 * (x + 0.044715 * x**3)))
    ),
    "gelu by sigmoid": _after_convolution(lambda keras: lambda x: x * keras.ops.sigmoid(1.702 * x)),
    "swish": _after_convolution(lambda keras: lambda x: x * keras.ops.sigmoid(x)),
    "hard swish": _after_convolution(lambda keras: lambda x: x * keras.ops.relu6(x + 3.0) / 6.0),
    "hard sigmoid": _after_convolution(lambda keras: lambda x: keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)),
    "clipped on both sides": _after_convolution(lambda keras: lambda x: keras.ops.clip(x, -0.5, 0.5)),
    "clipped and sloped": _after_convolution(lambda keras: keras.layers.ReLU(max_value=1.5, negative_slope=0.1)),
    "masked by a comparison": _after_convolution(lambda keras: lambda x: x * keras.ops.cast(x > 0.2, "float32")),
    "some parts of a split": _after_convolution(
        lambda keras: lambda x: keras.ops.concatenate(keras.ops.split(x, 4, -1)[1:3], -1)
    ),
    "without numbers that are none": _after_convolution(lambda keras: keras.ops.nan_to_num),
    "cosine": _cosine,
    "attention": _attention,
    "causal attention": lambda keras: _over(
        keras, lambda x: keras.layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    ),
    "scores lowered causally": lambda keras: _over(
        keras, lambda x: keras.layers.Attention()([x, x], use_causal_mask=True)
    ),
    **{f"scores {name}": _scores(mask) for name, mask in MASKS.items()},
    "masked": _masked,
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_converts_and_keeps_what_eight_bits_can_keep(load_built, form):
    model = load_built(FORMS[form])
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    data = quantize.quantise(model, samples)
    (measured,) = fidelity.measure(model, data, samples)
    # Measured at 29.9 to 45 dB, but for the comparison, which a step may turn (25); the forms as they were: -1.5 to 24
    # dB, or none.
    assert measured.sqnr_db > (27 if form != "masked by a comparison" else 15)


def test_an_arg_max_converts_without_keras_3s_care_for_zeros(load_built):
    def build(keras):
        entry = keras.Input((8, 8, 8))
        return keras.Model(entry, keras.ops.argmax(keras.layers.Conv2D(8, 3)(entry), -1))

    model = load_built(build)
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    assert quantize.quantise(model, samples)


def test_the_float_results_are_those_of_the_model_itself(load_built):
    """Not of another trace of it: Keras computes them eagerly."""
    model = load_built(FORMS["attention"])
    sample = np.random.default_rng(1).standard_normal((1, 16, 32)).astype(np.float32)
    with quiet.silenced():
        expected = model.keras_model(sample, training=False).numpy()
    np.testing.assert_allclose(model.predict((sample,))[0], expected, rtol=1e-4, atol=1e-5)


def test_a_rewrite_that_would_change_results_is_not_used(load_built, monkeypatch):
    def wrong(graph, node):
        become(node, "Mul", (node.input[0], node.input[0]))
        return True

    monkeypatch.setitem(rewrites._RULES, "Elu", wrong)
    model = load_built(FORMS["elu"])
    assert "Elu" in {operation.type for operation in model.concrete_function().graph.get_operations()}


def test_a_graph_without_such_forms_is_left_alone(load_built):
    model = load_built(_after_convolution(lambda keras: keras.layers.ReLU()))
    function = model.concrete_function()
    assert rewrites.rewritten(function, model.specs(quiet.tensorflow()), 1) is function


def test_a_normalisation_behind_a_convolution_is_left_without_another_graph(load_built, monkeypatch):
    """A deep network has a hundred; each constant that is computed, and each graph anew, takes all weights in hand."""
    for name in ("array", "function"):
        monkeypatch.setattr(rewrites.Graph, name, lambda *others: pytest.fail(f"made for {others[1:]}"))

    load_built(_after_convolution(lambda keras: keras.layers.BatchNormalization())).concrete_function()


def _varied(model):
    """Normalisations whose factors differ by hundreds, as networks of faces have them; some are negative."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        if "gamma" in weight.path:
            weight.assign(
                np.exp(random.normal(0, 1.5, weight.shape)) * np.where(np.arange(weight.shape[0]) == 1, -1, 1)
            )
        if "moving_variance" in weight.path:
            weight.assign(np.exp(random.normal(-2, 2, weight.shape)))


@pytest.mark.parametrize("first", ["Conv2D", "DepthwiseConv2D"])
def test_factors_behind_a_relu_move_into_the_convolution_before_it(load_built, first):
    def build(keras):
        entry = keras.Input((16, 16, 8))
        x = entry
        for _ in range(2):
            x = keras.layers.Conv2D(8, 3)(x) if first == "Conv2D" else keras.layers.DepthwiseConv2D(3)(x)
            x = keras.layers.BatchNormalization()(keras.layers.ReLU()(x))
        made = keras.Model(entry, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
        _varied(made)
        return made

    model = load_built(build)
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    data = quantize.quantise(model, samples)
    (measured,) = fidelity.measure(model, data, samples)
    assert measured.sqnr_db > 25  # 11 where one scale holds all channels
    with quiet.silenced():
        expected = model.keras_model(samples[0][:1], training=False).numpy()
    np.testing.assert_allclose(model.predict([samples[0][:1]])[0], expected, rtol=1e-3, atol=1e-3 * abs(expected).max())


def test_forms_are_known_in_a_saved_model_too(tf_keras, tmp_path):
    """There, every constant is tied to the inputs by an edge that only orders."""
    from converters.loading import formats

    tf = quiet.tensorflow()
    with quiet.silenced():
        entry = tf_keras.Input((8, 8, 4))
        x = tf_keras.layers.Conv2D(4, 3)(entry)
        made = tf_keras.Model(entry, tf.where(x > 0, x, x * 0.1))
        made.save(tmp_path / "m")
        sample = np.random.default_rng(0).standard_normal((1, 8, 8, 4)).astype(np.float32)
        expected = made(sample).numpy()
    model = formats.load(tmp_path / "m")
    kinds = {operation.type for operation in model.concrete_function().graph.get_operations()}
    assert "LeakyRelu" in kinds
    assert not kinds & {"Select", "SelectV2"}
    np.testing.assert_allclose(model.predict([sample])[0], expected, atol=1e-5)


def test_a_normalisation_that_no_convolution_takes_in_is_rounded_once(either_keras, load_built):
    """As in ResNetV2 and DenseNet."""

    def build(keras):
        entry = keras.Input((8, 8, 16))
        alone = keras.layers.BatchNormalization()
        x = keras.layers.ReLU()(alone(keras.layers.MaxPooling2D(2)(entry)))
        model = keras.Model(entry, keras.layers.Conv2D(8, 3)(x))
        factors = np.linspace(0.2, 1, 16)
        alone.set_weights([factors, np.zeros(16), np.linspace(-1, 1, 16), np.full(16, 0.5)])
        return model

    model = load_built(build, library=either_keras)
    samples = (np.random.default_rng(1).normal(0, 1, (64, 8, 8, 16)).astype(np.float32),)
    data = quantize.quantise(model, samples)
    names = [operator.name for operator in flatgraph.read(data).operators]

    assert names == ["MAX_POOL_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    assert fidelity.measure(model, data, samples)[0].sqnr_db > 33


def test_parts_of_a_split_that_are_multiplied_by_zeros_are_not_split_in_float(tf_keras, tmp_path):
    """The first state of a recurrent layer is zero; in a SavedModel nobody takes its joint product apart."""
    from converters.loading import formats

    with quiet.silenced():
        tf_keras.utils.set_random_seed(7)
        entry = tf_keras.Input((3, 4))
        steps = tf_keras.layers.GRU(3, unroll=True, reset_after=False)
        tf_keras.Model(entry, steps(entry)).save(tmp_path / "m")
    model = formats.load(tmp_path / "m")
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    (measured,) = fidelity.measure(model, quantize.quantise(model, samples), samples)
    assert measured.sqnr_db > 27


def test_a_vector_of_zeros_takes_the_scale_from_no_other(either_keras, load_built):
    def build(keras):
        one, other = keras.Input((16,)), keras.Input((16,))
        return keras.Model([one, other], keras.layers.Dot(1, normalize=True)([one, other]))

    model = load_built(build, library=either_keras)
    samples = tuple(np.random.default_rng(0).standard_normal((2, 32, 16)).astype(np.float32))
    samples[0][3] = 0.0
    (measured,) = fidelity.measure(model, quantize.quantise(model, samples), samples)
    assert measured.sqnr_db > 27  # -8 to -6 where 1/length of nothing was a million
