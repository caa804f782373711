import pytest

from broker.messages.watched import load
from tflsplit import errors

BUSY = load.Load(7, "ok", None, 10, 9, 4.5, 2, 1, None, {"busy": 1}, {"p95": 1.5, "p99": None}, {"p50": 5.0})


def test_a_load_is_read_as_it_was_written():
    assert load.parse(BUSY.as_json()) == BUSY


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"held":2', b'"held":-2'),
        (b'"held":2', b'"held":true'),
        (b'"fps":4.5', b'"fps":NaN'),
        (b'"busy":1', b'"busy":"x"'),
    ],
)
def test_numbers_are_numbers(old, new):
    payload = BUSY.as_json().replace(old, new)

    assert payload != BUSY.as_json()
    with pytest.raises(errors.FrameError, match="load is"):
        load.parse(payload)
