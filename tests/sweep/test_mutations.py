"""Twenty thousand damaged files: none raises anything but our errors, and hardly any ends the process that tries it."""

import mutations
import pytest

EACH, PARTS = 2000, 10
# What the file does not tell is left to kernels and to the process that tries files: six of 2,000 LSTMs crash it.
MOST_CRASHES = EACH // 200


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(PARTS))
def test_mutants_raise_our_errors_alone(part):
    found = mutations.outcomes(mutations.mutants(mutations.varied_model(), seed=100 + part, count=EACH))
    assert found["crashed"] <= MOST_CRASHES, found
    assert found["traceback"] == 0, found


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["coral_lstm_mnist", "coral_split_concat", "mlc_resnet_int8"])
def test_mutants_of_public_models_raise_our_errors_alone(shared_data, name):
    model = (shared_data / "models" / f"{name}.tflite").read_bytes()
    found = mutations.outcomes(mutations.mutants(model, seed=1, count=1000))
    assert found["crashed"] <= MOST_CRASHES, found
    assert found["traceback"] == 0, found
