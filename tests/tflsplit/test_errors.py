"""Messages of foreign exceptions, on one line."""

from tflsplit import errors


def test_a_sentence_that_a_runtime_repeats_is_said_once():
    said = "tensor 3 is wrong.\n" * 14 + "Node number 5 failed to prepare.\n"
    assert errors.one_line(RuntimeError(said)) == "tensor 3 is wrong. Node number 5 failed to prepare."
