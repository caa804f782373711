"""Which layer each operator ends, one small model for each feature of Keras."""

import numpy as np
import pytest

from converters import quantize
from converters.float_model import layers
from converters.loading import formats
from tflsplit.graph import flatgraph


@pytest.fixture
def mapped(load_built, samples):
    def mapped(build, **options):
        model = load_built(build, **options)
        data = quantize.quantise(model, samples(model))
        operators = flatgraph.read(data).operators
        found = layers.map_layers(model, data, samples(model))
        return [(operators[entry.operator].name, entry.layer, entry.aliases) for entry in found.operators], found.fused

    return mapped


def trained_like(k, model):
    """Normalisations with statistics, as training leaves them: they change what passes."""
    rng = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, k.layers.BatchNormalization):
            channels = layer.moving_mean.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 2, channels),
                    rng.normal(0, 1, channels),
                    rng.normal(0, 0.3, channels),
                    rng.uniform(0.2, 1, channels),
                ]
            )
    return model


def test_fused_layers_are_named_by_the_last_and_the_others_are_said_to_end_inside(mapped):
    def build(k):
        entry = k.Input((12, 12, 3))
        x = k.layers.Conv2D(6, 3, use_bias=False, name="conv")(entry)
        x = k.layers.BatchNormalization(name="bn")(x)
        x = k.layers.ReLU(name="relu")(x)
        x = k.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
        return trained_like(k, k.Model(entry, k.layers.BatchNormalization(name="last")(x)))

    assert mapped(build) == (
        [("CONV_2D", "relu", ()), ("DEPTHWISE_CONV_2D", "last", ())],
        {"conv": 0, "bn": 0, "depthwise": 1},
    )


def test_untrained_normalisations_that_change_nothing_still_end_the_operator(mapped):
    def build(k):
        entry = k.Input((12, 12, 3))
        x = k.layers.BatchNormalization(name="bn")(k.layers.Conv2D(6, 3, name="conv")(entry))
        return k.Model(entry, k.layers.MaxPooling2D(name="pool")(x))

    assert mapped(build)[0] == [("CONV_2D", "bn", ()), ("MAX_POOL_2D", "pool", ())]


def test_both_ways_of_a_residual_block_are_told_apart(mapped):
    def build(k):
        entry = k.Input((8, 8, 4))
        x = k.layers.Conv2D(4, 3, padding="same", name="a")(entry)
        y = k.layers.Conv2D(4, 3, padding="same", name="b")(x)
        z = k.layers.Add(name="add")([x, y])
        return k.Model(entry, k.layers.Conv2D(4, 3, padding="same", name="c")(z))

    assert [layer for _, layer, _ in mapped(build)[0]] == ["a", "b", "add", "c"]


def test_layers_that_change_nothing_are_other_names_of_the_one_that_computes(mapped):
    def build(k):
        return k.Sequential([
            k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, name="conv"), k.layers.Activation("linear", name="linear"),
            k.layers.Dropout(0.5, name="drop"), k.layers.GlobalAveragePooling2D(name="pool"),
            k.layers.Dense(4, name="dense"),
        ])  # fmt: skip

    assert mapped(build)[0] == [
        ("CONV_2D", "conv", ("linear", "drop")), ("MEAN", "pool", ()), ("FULLY_CONNECTED", "dense", ()),
    ]  # fmt: skip


def test_a_flatten_is_a_layer_of_its_own_where_the_file_keeps_it(mapped):
    def build(k):
        return k.Sequential([
            k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, name="conv"), k.layers.Flatten(name="flat"),
            k.layers.Dense(4, name="d"),
        ])  # fmt: skip

    assert mapped(build)[0] == [("CONV_2D", "conv", ()), ("RESHAPE", "flat", ()), ("FULLY_CONNECTED", "d", ())]


def test_inner_layers_of_nested_models_are_named(mapped):
    def build(k):
        inner = k.Sequential(
            [k.Input((8, 8, 3)), k.layers.Conv2D(4, 3, activation="relu", name="inner_conv")], name="inner"
        )
        return k.Sequential([k.Input((8, 8, 3)), inner, k.layers.MaxPooling2D(name="pool")])

    assert [layer for _, layer, _ in mapped(build)[0]] == ["inner_conv", "pool"]


def test_two_inputs_and_two_outputs(mapped):
    def build(k):
        left, right = k.Input((8, 8, 3), name="left"), k.Input((4,), name="right")
        x = k.layers.GlobalAveragePooling2D(name="pool")(k.layers.Conv2D(4, 3, name="conv")(left))
        joined = k.layers.Concatenate(name="join")([x, k.layers.Dense(6, activation="relu", name="dense")(right)])
        return k.Model([left, right], [
            k.layers.Dense(3, activation="softmax", name="z_class")(joined), k.layers.Dense(1, name="a_value")(joined)
        ])  # fmt: skip

    named = dict.fromkeys(layer for _, layer, _ in mapped(build)[0] if layer)

    assert set(named) == {"conv", "pool", "dense", "join", "z_class", "a_value"}


def test_an_operator_inside_a_layer_has_no_name(mapped):
    def build(k):
        return k.Sequential([k.Input((8,)), k.layers.Dense(5, activation="softmax", name="class")])

    assert [entry[:2] for entry in mapped(build)[0]] == [("FULLY_CONNECTED", None), ("SOFTMAX", "class")]


def test_a_unet_with_upsampling_and_concatenation(mapped):
    def build(k):
        entry = k.Input((16, 16, 3))
        down = k.layers.Conv2D(4, 3, padding="same", activation="relu", name="down")(entry)
        deep = k.layers.Conv2D(8, 3, padding="same", activation="relu", name="deep")(
            k.layers.MaxPooling2D(name="pool")(down)
        )
        up = k.layers.Conv2DTranspose(4, 2, strides=2, name="up")(deep)
        joined = k.layers.Concatenate(name="join")([down, up])
        return k.Model(entry, k.layers.Conv2D(2, 1, name="mask")(joined))

    assert [layer for _, layer, _ in mapped(build)[0]] == ["down", "pool", "deep", "up", "join", "mask"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_are_unrolled_into_integer_operators_and_named(mapped, either_keras, kind):
    def build(k):
        entry = k.Input((5, 6))
        x = getattr(k.layers, kind)(4, return_sequences=True, name="recurrent")(entry)
        return k.Model(entry, k.layers.Dense(3, name="dense")(x))

    named = [layer for _, layer, _ in mapped(build, library=either_keras)[0]]

    assert named[-1] == "dense"
    assert "recurrent" in named


def test_a_dense_layer_on_three_dimensions(mapped):
    def build(k):
        return k.Sequential(
            [k.Input((5, 6)), k.layers.Dense(4, activation="relu", name="a"), k.layers.Dense(3, name="b")]
        )

    assert list(dict.fromkeys(layer for _, layer, _ in mapped(build)[0])) == ["a", "b"]


def test_a_rescaling_folded_into_the_first_convolution_ends_inside_it(mapped):
    def build(k):
        return k.Sequential(
            [k.Input((12, 12, 3)), k.layers.Rescaling(1 / 127.5, name="scale"), k.layers.Conv2D(4, 3, name="conv")]
        )

    found, fused = mapped(build)

    assert found[-1][1] == "conv"
    assert fused.get("scale", 0) == 0


def test_a_signal_below_the_resolution_is_named_by_name_only_where_no_number_contradicts(mapped):
    def build(k):
        entry = k.Input((8, 8, 4))
        small = k.initializers.RandomNormal(stddev=1e-4, seed=1)
        x = k.layers.Conv2D(4, 1, kernel_initializer=small, name="tiny")(entry)
        return k.Model(entry, k.layers.Conv2D(4, 1, name="next")(k.layers.Add(name="add")([x, entry])))

    assert [layer for _, layer, _ in mapped(build)[0]] == ["tiny", "add", "next"]


def test_every_block_of_a_teachable_machine_export_is_named(shared_data, samples):
    model = formats.load(shared_data / "teachable_machine_keras24.h5")
    data = quantize.quantise(model, samples(model, 4))
    found = layers.map_layers(model, data, samples(model, 4))
    named = [entry.layer for entry in found.operators]

    assert [f"block_{block}_project_BN" in named for block in range(1, 17)] == [True] * 16
    assert named.count(None) == 1  # the logits, inside the last dense layer
    assert found.fused["Conv1"] == 0
