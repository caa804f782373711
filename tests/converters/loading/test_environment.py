import functools

import pytest
import stand_ins

from converters.loading import environment
from tflsplit.findings import State


@pytest.fixture
def compiler(tmp_path):
    """A compiler that does as the script says."""
    return functools.partial(stand_ins.program, tmp_path / "edgetpu_compiler")


@pytest.mark.parametrize(
    ("tensorflow", "tf_keras", "state"),
    [
        ("2.21.0", "2.21.0", State.OK),
        ("2.21.1", "2.21.0", State.OK),
        ("2.21.0", "2.19.0", State.WRONG),
        ("2.2.0", "2.21.0", State.WRONG),
        ("2.21.0", None, State.INFO),
    ],
)
def test_tf_keras_fits_the_tensorflow_of_its_number(tmp_path, tensorflow, tf_keras, state):
    for name, version in (("tensorflow", tensorflow), ("tf_keras", tf_keras)):
        if version:
            stand_ins.distribution(tmp_path, name, version)

    found = environment.keras_fits([str(tmp_path)])

    assert found.state is state
    assert found.remedy == (f"pip install 'tf-keras=={tensorflow[:-2]}.*'" if found.is_bad else "")


def test_compiler_tells_its_version(compiler):
    found = environment.compiler(compiler("echo Edge TPU Compiler version 16.0.384591198"))

    assert found.state is State.OK
    assert found.detail.startswith("16.0.384591198, ")


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("exec sleep 60", "no answer within 0.2 s"),
        ("kill -SEGV $$", "does not print its version: nothing"),
        ("echo 'version `GLIBC_2.99 not found' >&2; exit 1", "GLIBC_2.99 not found"),
    ],
)
def test_compiler_that_does_not_answer_is_wrong(compiler, script, detail):
    found = environment.compiler(compiler(script), timeout_s=0.2 if "sleep" in script else 10)

    assert found.state is State.WRONG
    assert detail in found.detail


def test_compiler_for_another_kind_of_processor_is_wrong(compiler, tmp_path):
    program = compiler("")
    (tmp_path / "edgetpu_compiler").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))

    assert environment.compiler(program).state is State.WRONG


@pytest.mark.parametrize(("machine", "word"), [("x86_64", "not installed"), ("aarch64", "on x86-64 Linux only")])
def test_compiler_is_not_missed_where_it_is_not_installed(machine, word):
    found = environment.compiler("edgetpu_compiler_of_nobody", machine=machine)

    assert found.state is State.INFO
    assert word in found.detail
