"""The compiler's text, as people posted it, read into data. The stand-in prints the same text from the same tables."""

import pytest

from converters.edgetpu import log
from tflsplit.package.manifest import MappedOperators

PARTIAL = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.
Model compiled successfully in 4035 ms.

Input model: m.tflite
Input size: 4.24MiB
Output model: m_edgetpu.tflite
Output size: 5.57MiB
On-chip memory used for caching model parameters: 4.21MiB
On-chip memory remaining for caching model parameters: 3.29MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 267
Operation log: m_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model …
Number of operations that will run on Edge TPU: 264
Number of operations that will run on CPU: 3

Operator                       Count      Status

ADD                            42         Mapped to Edge TPU
RESIZE_NEAREST_NEIGHBOR        4          Operation version not supported
CUSTOM                         1          Operation is working on an unsupported data type
RESHAPE                        1          Operation is otherwise supported, but not mapped due to {unspecified}
CONV_2D                        12         More than one subgraph is not supported
Compilation child process completed within timeout period.
Compilation succeeded!
""".format(unspecified="some unspecified limitation")

# Version 15 as posted: no timer, no table, few operators on the TPU.
WITHOUT_TABLE = """Edge TPU Compiler version 15.0.340273435

Model compiled successfully in 577 ms.

Input model: m.tflite
Input size: 8.58MiB
Output model: m_edgetpu.tflite
Output size: 8.66MiB
On-chip memory used for caching model parameters: 3.00KiB
On-chip memory remaining for caching model parameters: 7.67MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 36
Operation log: m_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model …
Number of operations that will run on Edge TPU: 2
Number of operations that will run on CPU: 34
See the operation log file for individual operation details.
"""


def test_a_partial_mapping_is_read_whole() -> None:
    parsed = log.parse(PARTIAL)
    (model,) = parsed.models

    assert (parsed.version, parsed.milliseconds) == ("16.0.384591198", 4035)
    assert (model.model, model.tpu_operators, model.cpu_operators, model.subgraphs) == ("m.tflite", 264, 3, 1)
    assert (model.on_chip_used_bytes, model.on_chip_remaining_bytes) == (round(4.21 * 2**20), round(3.29 * 2**20))
    assert model.off_chip_bytes == 0
    assert [row.op for row in model.operators] == ["ADD", "RESIZE_NEAREST_NEIGHBOR", "CUSTOM", "RESHAPE", "CONV_2D"]
    assert model.operators[-1] == MappedOperators("CONV_2D", 12, "More than one subgraph is not supported")


def test_an_older_version_without_a_table_is_read() -> None:
    (model,) = log.parse(WITHOUT_TABLE).models

    assert (model.tpu_operators, model.cpu_operators, model.operators) == (2, 34, ())
    assert model.on_chip_used_bytes == 3072


def test_where_everything_maps_the_counts_come_from_the_table_or_the_total() -> None:
    lines = [line for line in PARTIAL.splitlines() if "will run on" not in line and "supported" not in line]
    (with_table,) = log.parse("\n".join(lines)).models
    (without,) = log.parse("\n".join(line for line in lines if "      " not in line)).models

    assert (with_table.tpu_operators, with_table.cpu_operators) == (42, 0)
    assert (without.tpu_operators, without.cpu_operators) == (267, 0)


def test_models_compiled_together_are_told_apart() -> None:
    second = PARTIAL[PARTIAL.index("Input model") :].replace("m.tflite", "n.tflite").replace("4.21MiB", "1.00GiB")
    first, other = log.parse(PARTIAL.replace("Model compiled", "Models compiled") + second).models

    assert (first.model, other.model) == ("m.tflite", "n.tflite")
    assert other.on_chip_used_bytes == 2**30


@pytest.mark.parametrize("text", ["", "Edge TPU Compiler version 16.0.384591198\n", "garbage\n\n\x00"])
def test_text_that_says_nothing_gives_nothing(text: str) -> None:
    assert log.parse(text).models == ()
    assert log.operators(text) == ()
    assert log.failure(text) is None


@pytest.mark.parametrize(
    ("text", "words", "is_final"),
    [
        ("ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
         "dynamic-sized tensors.", "shapes are not fixed", True),
        ("Invalid model: m.tflite", "full int8", True),
        ("ERROR: Didn't find op for builtin opcode 'X' version 'N'", "newer than the compiler", True),
        ("Internal compiler error. Aborting!", "no reason", False),
        ("Compilation failed due to large activation tensors in model.", "cut earlier", False),
        ("Compilation timed out", "--timeout", False),
        ("ERROR: never seen before", "never seen before", False),
    ],
)  # fmt: skip  # one failure a line
def test_every_known_failure_keeps_its_words_and_says_what_to_do(text: str, words: str, is_final: bool) -> None:
    found = log.failure(f"Edge TPU Compiler version 16.0.384591198\n{text}\nCompilation failed!\n")

    assert found is not None
    assert words in found.reason
    assert found.is_final == is_final
