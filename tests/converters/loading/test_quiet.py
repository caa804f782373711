"""Of what the libraries raise, the sentence that says what is wrong is kept."""

import pytest

from converters.loading import quiet

SAID = {
    "reason behind a configuration": (
        "<class 'keras.Functional'> could not be deserialized. config={'a': 1}.\n\nException encountered: no units",
        "no units",
    ),
    "colours and arguments": (
        "Exception encountered when calling Functional.call().\n\n\x1b[1mwrong axis\x1b[0m\n\nArguments received by x",
        "wrong axis",
    ),
    "the layer that failed": (
        "Exception encountered when calling Lambda.call().\n\n\x1b[1m13\x1b[0m\n\nArguments received by Lambda.call()",
        "calling Lambda.call(): 13",
    ),
    "places of the installation": (
        "/usr/site-packages/a.py:16:1: error: 'tfl.x' op is wrong\n  y = f(x)\n  ^\n/b.py:2:3: note: called",
        "'tfl.x' op is wrong",
    ),
    "nothing but a configuration": ("Full object config: {}", "Full object config: {}"),
}


@pytest.mark.parametrize(("message", "expected"), SAID.values(), ids=SAID)
def test_the_reason_is_kept_and_nothing_around_it(message, expected):
    assert quiet.reason(ValueError(message)) == expected
