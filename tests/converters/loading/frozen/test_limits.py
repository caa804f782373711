"""What no int8 model can do is refused in one line with the layer and what to do; names are those people know."""

import numpy as np
import pytest

from converters import quantize
from converters.calibration import synthesis
from converters.loading import formats, quiet
from tflsplit import errors
from tflsplit.inputs.preprocessing import NAMED


def _after_dense(make, shape=(6, 4)):
    def build(keras):
        entry = keras.Input(batch_shape=(1, *shape))
        x = make(keras)(keras.layers.Dense(4, name="first")(entry))
        return keras.Model(entry, keras.layers.Dense(2, name="last")(x))

    return build


def _looked_up(keras):
    entry = keras.Input((3,), dtype="int64")
    x = keras.layers.IntegerLookup(vocabulary=[1, 2, 3], name="ids")(entry)
    return keras.Model(entry, keras.layers.Embedding(6, 2)(x))


def _worded(keras):
    entry = keras.Input((1,), dtype="string", name="words")
    x = keras.layers.StringLookup(vocabulary=["a", "b"])(entry)
    return keras.Model(entry, keras.layers.Embedding(5, 2)(x))


def _random(keras):
    class Noise(keras.layers.Layer):
        def __init__(self, **words):
            super().__init__(**words)
            self.seeds = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal((6, 4), seed=self.seeds)

    return _after_dense(lambda keras: Noise(name="always"))(keras)


def _counting(keras):
    class Count(keras.layers.Layer):
        def build(self, shape):
            self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.seen.assign(self.seen + 1.0)
            return x + self.seen

    return _after_dense(lambda keras: Count(name="still"))(keras)


def _choosing(keras):
    class Choice(keras.layers.Layer):
        def call(self, x):
            return keras.ops.cond(keras.ops.mean(x) > 0, lambda: x, lambda: -x)

    return _after_dense(lambda keras: Choice(name="either"))(keras)


def _looping(keras):
    class Loop(keras.layers.Layer):
        def call(self, x):
            return keras.ops.while_loop(lambda x: keras.ops.sum(x) < 9, lambda x: (x * 2,), (keras.ops.abs(x),))[0]

    return _after_dense(lambda keras: Loop(name="again"))(keras)


REFUSED = {
    "table": (_looked_up, r"layer 'ids' looks values up in a table .*do the look-up before"),
    "texts": (_worded, r"input 'words' takes texts.*before the model"),
    "random numbers": (_random, r"layer 'always' draws random numbers .*training=False"),
    "state": (_counting, r"layer 'still' keeps values from one run to the next .*stateful=True"),
    "choice": (_choosing, r"layer 'either' computes one of two things"),
    "loop": (_looping, r"layer 'again' has a loop .*write its steps out"),
}


@pytest.mark.parametrize(("build", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_converted_is_refused_with_layer_and_remedy(load_built, build, words):
    with pytest.raises(errors.ModelError, match=words) as caught:
        load_built(build).concrete_function()
    assert "\n" not in str(caught.value)


def test_a_loop_in_a_saved_model_is_named_by_its_layer(tf_keras, tmp_path):
    with quiet.silenced():
        entry = tf_keras.Input((5, 4))
        tf_keras.Model(entry, tf_keras.layers.GRU(3, name="steps")(entry)).save(tmp_path / "m")
    with pytest.raises(errors.ModelError, match=r"layer 'steps' has a loop .*the \.keras or \.h5 file"):
        formats.load(tmp_path / "m")


def test_a_choice_by_shapes_alone_is_settled(tf_keras, tmp_path):
    with quiet.silenced():
        entry = tf_keras.Input((8, 8, 3))
        tf_keras.Model(entry, tf_keras.layers.CenterCrop(6, 6)(entry)).save(tmp_path / "m")
    (output,) = formats.load(tmp_path / "m").concrete_function().outputs
    assert tuple(output.shape) == (1, 6, 6, 3)


def test_a_layer_that_only_moves_its_seed_on_is_no_reason_to_refuse(load_built):
    model = load_built(_after_dense(lambda keras: keras.layers.RandomGrayscale(1.0), (8, 8, 3)))
    assert {tuple(tensor.shape) for tensor in model.concrete_function().outputs} == {(1, 8, 8, 2)}


MISSING = {
    "power": (lambda keras: lambda x: keras.ops.power(keras.ops.abs(x), 1.5), "POW", "power"),
    "arctan2": (lambda keras: lambda x: keras.ops.arctan2(x, x + 1.0), "ATAN2", "arctan2"),
    "cumsum": (lambda keras: lambda x: keras.ops.cumsum(x, 1), "CUMSUM", "cumsum"),
}


@pytest.mark.parametrize(("make", "operator", "layer"), MISSING.values(), ids=MISSING)
def test_an_operator_that_int8_lacks_is_named_with_the_layer_that_uses_it(load_built, make, operator, layer):
    model = load_built(_after_dense(make))
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    with pytest.raises(errors.ModelError, match=rf"{operator} \(layer {layer}(_\d+)?\)"):
        quantize.quantise(model, samples)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_model_that_keras_quantised_is_refused_by_the_layer(keras, saved, mode):
    with quiet.silenced():
        model = keras.Sequential([keras.Input((128,)), keras.layers.Dense(8, name="made")])
        model.quantize(mode)
    with pytest.raises(errors.ModelError, match=rf"layer 'made' was quantised to {mode}.*before quantize\(\)"):
        formats.load(saved(model, "m.keras"))


@pytest.mark.parametrize("kind", ["bool", "int8", "int16", "uint8", "int32"])
def test_whole_numbers_that_a_model_makes_float_of_are_given_as_float(load_retyped, kind):
    def build(keras):
        entry = keras.Input((4,), dtype=kind)
        return keras.Model(entry, keras.layers.Dense(2)(keras.ops.cast(entry, "float32")))

    model = load_retyped(build)
    assert model.inputs[0].dtype == "float32"
    assert quantize.quantise(model, (np.random.default_rng(0).random((8, 4), np.float32),))


def test_an_input_without_a_part_in_any_result_is_named(load_built):
    def build(keras):
        used, spare = keras.Input((4,), name="used"), keras.Input((3,), name="spare")
        return keras.Model([used, spare], keras.layers.Dense(2)(used))

    with pytest.raises(errors.ModelError, match="input 'spare' has no part in any result"):
        load_built(build).concrete_function()


def test_a_result_that_is_the_same_for_all_inputs_is_named(load_built):
    def build(keras):
        entry = keras.Input((4,))
        return keras.Model(entry, [keras.layers.Dense(2)(entry), keras.ops.zeros_like(entry)])

    with pytest.raises(errors.ModelError, match="output 1 of 2, counted from 0, is the same for all inputs"):
        load_built(build).concrete_function()


def test_a_layer_that_puts_out_a_constant_is_no_result(load_built):
    """As the places of words in a text."""

    def build(keras):
        entry = keras.Input((4, 2))
        return keras.Model(entry, entry + keras.layers.Dense(2)(keras.ops.ones_like(entry)))

    assert load_built(build).concrete_function()
