import itertools

import known_classes
import pytest

from tflsplit.kernels import classes, exactness, probe
from tflsplit.kernels.exactness import Exactness

A53, A72, A76, X86 = (f"{machine}, LiteRT 2.3.0" for machine in ("Cortex-A53", "Cortex-A72", "Cortex-A76", "x86-64"))
OLDEST = "x86-64, LiteRT 1.4.0"
WITHOUT_XNNPACK = "x86-64, tflite-runtime 2.14.0"


def differing(one: str, other: str) -> set[str]:
    known = exactness.known()
    return set(classes.compare(known[one], known[other]).differing)


def test_what_was_measured_of_two_machines():
    """The differences between processors and versions that whole models showed."""
    rounded_otherwise = {f"{name}/uint8" for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")}
    on_arm = rounded_otherwise | {
        f"{kind}/{dtype}{ties}"
        for kind, ties in (("SOFTMAX", ""), ("MUL", ":ties"), ("MEAN", ":ties"))
        for dtype in ("int8", "uint8")
    }

    assert not differing(A72, A76)
    assert differing(X86, A72) == on_arm
    assert differing(A53, A72) == {f"{name}/uint8" for name in ("CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")}
    assert differing(X86, OLDEST) == {"BATCH_MATMUL/int8", "MEAN/uint8:ties"}
    of_most_models = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN")
    assert differing(X86, WITHOUT_XNNPACK) >= {f"{name}/int8" for name in of_most_models}


@pytest.mark.parametrize(
    ("kinds", "verdict"),
    [
        ((), "exact everywhere measured"),
        (("RESHAPE/int8", "MAX_POOL_2D/int8", "LOGISTIC/int8"), "exact everywhere measured"),
        (("CONV_2D/int8", "PAD/int8"), "not exact with tflite-runtime (CONV_2D/int8)"),
        (("MUL/int8",), "not exact with tflite-runtime (MUL/int8)"),
        (("MUL/int8:ties",), "exact on one kernel class (MUL/int8:ties)"),
        (("MEAN/int8:ties",), "exact on one kernel class (MEAN/int8:ties)"),
        (("UNIDIRECTIONAL_SEQUENCE_LSTM/int8",), "not exact with tflite-runtime (UNIDIRECTIONAL_SEQUENCE_LSTM/int8)"),
        (
            ("CONV_2D/int8", "SOFTMAX/int8", "BATCH_MATMUL/int8"),
            "exact on one kernel class (BATCH_MATMUL/int8, SOFTMAX/int8)",
        ),
        (("CONV_2D/uint8", "RESHAPE/uint8"), "exact on one kernel class (CONV_2D/uint8)"),
        (("SOFTMAX/int8", "FLOOR_DIV/int8"), "not measured (FLOOR_DIV/int8)"),
    ],
    ids=str,
)
def test_a_head_is_as_exact_as_the_least_exact_of_its_operators(kinds, verdict):
    assert str(exactness.of_kinds(kinds)) == verdict


def test_a_verdict_never_says_more_than_two_measured_machines_do():
    for one, other in itertools.combinations(exactness.known().values(), 2):
        told = classes.compare(one, other)
        for kind in (*told.differing, *told.unknown):
            verdict = exactness.of_kind(kind)
            assert verdict is not Exactness.EVERYWHERE
            assert verdict is Exactness.ONE_CLASS or not (one.is_litert and other.is_litert)


def test_each_class_has_every_kind_that_its_runtime_can_run():
    for name, each in exactness.known().items():
        lacking = set(probe.kinds()) - set(each.operators)
        assert lacking <= ({"LOG/int8"} if "tflite-runtime" in name else set())
        assert each.is_delegated is each.is_litert


def test_the_supported_versions_of_litert_are_those_that_were_measured():
    oldest, below = known_classes.supported()
    measured = [tuple(map(int, name.split()[1].split("."))) for name in known_classes.RUNTIMES if "LiteRT" in name]

    assert ".".join(map(str, min(measured))).startswith(oldest)
    assert f"{max(measured)[0]}.{max(measured)[1] + 1}" == below


def test_a_class_is_known_by_the_machines_that_have_it():
    known = exactness.known()

    assert exactness.names_of(known[A72]) == (A72, A76)
    assert exactness.names_of(classes.KernelClass("abacus 1.0", "wood", False, {})) == ()


@pytest.mark.sweep
@pytest.mark.parametrize("runtime", known_classes.RUNTIMES)
def test_the_table_is_what_this_machine_measures(tmp_path, runtime):
    """With each runtime that the table has, in an environment of its own; `known_classes.py` writes the table."""
    try:
        found = known_classes.measured_here(runtime, tmp_path)
    except known_classes.NotInstallableError as reason:
        pytest.skip(f"{runtime} cannot be installed here: {reason}")
    assert found == exactness.known()[f"x86-64, {runtime}"]
