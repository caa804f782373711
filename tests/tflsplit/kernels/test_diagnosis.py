import dataclasses
import subprocess
import sys

import pytest

from tflsplit.findings import State
from tflsplit.kernels import diagnosis, exactness, keeping

ON_ARM = exactness.known()["Cortex-A72, LiteRT 2.3.0"]
ELSEWHERE = exactness.known()["x86-64, tflite-runtime 2.14.0"]
UNKNOWN = dataclasses.replace(ON_ARM, operators={**ON_ARM.operators, "SOFTMAX/int8": "00000000"})


def test_this_machine_is_told_with_its_class():
    found, kernel_class = diagnosis.kernel_class()

    assert kernel_class == keeping.here()
    assert found.detail.startswith(f"class {kernel_class}")


@pytest.mark.parametrize(
    ("kernel_class", "state", "words"),
    [
        (ON_ARM, State.OK, "as measured on Cortex-A72, LiteRT 2.3.0; Cortex-A76, LiteRT 2.3.0"),
        (UNKNOWN, State.INFO, "none of those that were measured"),
        (ELSEWHERE, State.CAUTION, "nearly every head gives other integers than with LiteRT"),
        (dataclasses.replace(ON_ARM, is_delegated=False), State.WRONG, "expected to hand int8 to XNNPACK"),
    ],
    ids=["known", "unknown", "another runtime", "without XNNPACK"],
)
def test_what_is_said_of_a_class(kernel_class, state, words):
    found = diagnosis.finding(kernel_class)

    assert (found.state, words in found.detail) == (state, True)
    assert found.remedy or state is State.OK


def test_a_change_since_the_last_start_is_said():
    assert "; changed, " in diagnosis.finding(ON_ARM, "changed").detail + ", "


@pytest.mark.parametrize("said", ["", "no interpreter here", "{}", '{"class": {}}'], ids=str)
def test_what_cannot_be_found_out_is_no_failure(monkeypatch, said):
    monkeypatch.setattr(diagnosis, "_CHILD", f"import sys; print({said!r}); sys.exit(1)")

    found, kernel_class = diagnosis.kernel_class()

    assert (found.state, kernel_class) == (State.INFO, None)
    assert found.detail.startswith("not known: ")


def test_a_probe_that_hangs_is_no_failure(monkeypatch):
    monkeypatch.setattr(diagnosis, "_CHILD", "import signal; signal.pause()")

    found, kernel_class = diagnosis.kernel_class(timeout_s=0.5)

    assert (found.state, kernel_class) == (State.INFO, None)
    assert "did not end within 0.5 s" in found.detail


def test_the_interpreter_is_not_loaded_by_who_asks():
    program = (
        "import sys; from tflsplit.kernels import diagnosis; diagnosis.kernel_class()\n"
        "print({'numpy', 'ai_edge_litert'} & set(sys.modules))"
    )
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert child.stdout.strip() == "set()"
