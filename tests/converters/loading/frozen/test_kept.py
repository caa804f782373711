"""What a run only writes is left out; what it keeps for the next one is refused by its layer."""

import numpy as np
import pytest

from converters.loading import formats, quiet
from tflsplit import errors


def _counting(keras, *, reads):
    class Counting(keras.layers.Layer):
        def build(self, shape):
            self.runs = self.add_weight(shape=(), initializer="zeros", trainable=False)

        def call(self, x):
            self.runs.assign_add(1.0)
            return x * self.runs if reads else x * 2.0

    given = keras.Input((6,))
    return keras.Model(given, Counting(name="counting")(keras.layers.Dense(3)(given)))


def _exported(model, folder):
    with quiet.silenced():
        model.export(folder)
    return formats.load(folder)


def test_a_variable_that_is_written_and_never_read_is_left_out(keras, tmp_path):
    model = _counting(keras, reads=False)
    sample = np.random.default_rng(0).random((1, 6), np.float32)

    loaded = _exported(model, tmp_path)

    np.testing.assert_allclose(loaded.predict([sample])[0], model(sample), rtol=1e-5)


def test_a_variable_that_a_result_depends_on_is_refused_by_its_layer(keras, tmp_path):
    with pytest.raises(errors.ModelError, match=r"layer 'counting\S*' keeps values from one run to the next"):
        _exported(_counting(keras, reads=True), tmp_path)


def test_a_counter_behind_a_choice_of_a_function_is_found(tmp_path):
    tf = quiet.tensorflow()

    class Model(tf.Module):
        def __init__(self):
            self.seen = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec((None, 4))])
        def serve(self, x):
            if tf.reduce_sum(x) > 0.0:
                self.seen.assign_add(1.0)
            return x + self.seen

    model = Model()
    tf.saved_model.save(model, str(tmp_path), signatures=model.serve)
    with pytest.raises(errors.ModelError, match="keeps values from one run to the next"):
        formats.load(tmp_path)


@pytest.mark.parametrize("is_used", [False, True])
def test_a_generator_of_random_numbers_matters_only_where_it_is_used(tmp_path, is_used):
    tf = quiet.tensorflow()

    class Model(tf.Module):
        def __init__(self):
            self.generator = tf.random.Generator.from_seed(1)
            self.weights = tf.Variable(tf.ones((4, 2)))

        @tf.function(input_signature=[tf.TensorSpec((None, 4))])
        def serve(self, x):
            drawn = self.generator.normal((1, 2))
            return x @ self.weights + drawn if is_used else x @ self.weights

    model = Model()
    tf.saved_model.save(model, str(tmp_path), signatures=model.serve)
    if is_used:
        with pytest.raises(errors.ModelError, match="draws random numbers in every run"):
            formats.load(tmp_path)
    else:
        np.testing.assert_allclose(formats.load(tmp_path).predict([np.ones((1, 4), np.float32)])[0], [[4.0, 4.0]])
