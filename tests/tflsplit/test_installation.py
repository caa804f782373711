import functools
import os
import subprocess
import sys

import pytest
import stand_ins

from tflsplit import errors, extras, findings, installation
from tflsplit.findings import State
from tflsplit.graph import flatgraph

DECLARED = (
    "numpy>=1.26",
    "paho-mqtt>=2.1; extra == 'edge'",
    "ai-edge-litert<2.4,>=1.4; (platform_machine != 'armv7l') and extra == 'edge'",
    "h5py>=3.10; extra == 'convert'",
)


@pytest.fixture
def site(tmp_path):
    """Puts a distribution into a folder, and returns the path to search."""
    return functools.partial(stand_ins.distribution, tmp_path / "site")


@pytest.fixture
def fake_python(tmp_path):
    return functools.partial(stand_ins.program, tmp_path / "python")


def test_finding_that_is_bad_must_say_what_to_do():
    with pytest.raises(ValueError, match="'clock' is wrong and says nothing"):
        findings.Finding("clock", State.WRONG, "late")


def test_packages_of_this_checkout_are_ours():
    assert installation.packages().state is State.OK


def packages_in_a_child(folder):
    child = subprocess.run(
        [sys.executable, "-c", "from tflsplit import installation; print(installation.packages())"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return child.stdout


def test_package_of_another_project_that_hides_ours_is_named(tmp_path):
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "__init__.py").touch()

    said = packages_in_a_child(tmp_path)

    assert "State.WRONG" in said
    assert f"broker is in {tmp_path}, tflsplit is in " in said
    assert "converters is" not in said


def test_every_python_from_the_first_supported_to_before_the_first_unsupported_is_ok():
    states = [installation.python((3, minor, 1), "python", "<3.14,>=3.10").state for minor in (9, 10, 13, 14)]

    assert states == [State.WRONG, State.OK, State.OK, State.WRONG]


def test_python_of_32_bits_is_wrong_whatever_the_kernel_is():
    found = installation.python((3, 13, 5), "/usr/bin/python3", ">=3.10,<3.15", is_64_bit=False)

    assert found.state is State.WRONG
    assert "3.13.5 of 32 bits" in found.detail
    assert "64-bit system" in found.remedy


def test_python_that_runs_the_tests_is_supported():
    assert installation.python().state is State.OK


def test_requirements_are_those_of_the_extra_and_no_other():
    wanted = extras.requirements("edge", DECLARED)

    assert [str(requirement) for requirement in wanted] == ["paho-mqtt>=2.1", "ai-edge-litert>=1.4,<2.4"]


@pytest.mark.parametrize("role", ["edge", "cloud", "convert"])
def test_our_own_metadata_says_what_a_role_requires(role):
    assert {requirement.distribution for requirement in extras.requirements(role)} >= {
        "edge": {"paho-mqtt", "zstandard", "pillow", "ai-edge-litert"},
        "cloud": {"paho-mqtt", "zstandard", "ai-edge-litert"},
        "convert": {"tensorflow", "keras", "tf-keras", "h5py", "pillow"},
    }[role]


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("2.1", State.OK),
        ("2.10.0rc1+cpu", State.OK),
        ("2.0.9", State.WRONG),
        ("2.11", State.WRONG),
        ("3.0", State.WRONG),
        (None, State.MISSING),
    ],
)
def test_library_is_judged_by_its_version(site, tmp_path, version, state):
    path = site("paho-mqtt", version) if version else [str(tmp_path)]
    found = installation.library(extras.Requirement("paho-mqtt", "2.1", "edge", below="2.11"), path)

    assert found.state is state
    assert ("pip install" in found.remedy) == found.is_bad


def test_tensorflow_for_processors_only_counts_as_tensorflow(site):
    assert extras.version_of("tensorflow", site("tensorflow-cpu", "2.20.0")) == "2.20.0"


@pytest.mark.parametrize(
    ("runtime", "numpy", "state"),
    [
        ("tflite-runtime", "2.4.6", State.WRONG),
        ("tflite-runtime", "1.26.4", State.OK),
        ("ai-edge-litert", "2.4.6", State.OK),
    ],
)
def test_numpy_2_is_wrong_beside_tflite_runtime_only(site, runtime, numpy, state):
    site(runtime, "2.14.0")

    assert installation.numpy(site("numpy", numpy)).state is state


def test_interpreter_here_runs_a_model():
    found = installation.interpreter()

    assert found.state is State.OK
    assert found.detail == installation.run_tiny_model()


def test_tiny_model_is_one_int8_addition():
    (operator,) = flatgraph.read(installation._TINY_MODEL).operators

    assert (operator.name, operator.inputs) == ("ADD", (0, 0))


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("kill -ILL $$", "ended the process by SIGILL"),
        ("kill -SEGV $$", "ended the process by SIGSEGV"),
        ("echo 'cannot run it (ImportError: numpy.core.multiarray failed to import)'; exit 1", "numpy.core.multiarray"),
        ("echo Traceback >&2; echo 'ImportError: GLIBC_2.34 not found' >&2; exit 1", "GLIBC_2.34 not found"),
        ("exit 3", "exit status 3"),
        ("exec sleep 60", "did not end within 0.2 s"),
    ],
)
def test_interpreter_that_fails_is_wrong_with_its_own_reason(fake_python, script, reason):
    found = installation.interpreter(fake_python(script), timeout_s=0.2 if "sleep" in script else 30)

    assert found.state is State.WRONG
    assert reason in found.detail


def test_interpreter_is_missing_where_no_runtime_is_installed(fake_python, site, monkeypatch):
    monkeypatch.setattr(sys, "path", site("numpy", "2.4.6"))
    found = installation.interpreter(fake_python("echo none; exit 1"))

    assert found.state is State.MISSING
    assert found.remedy == extras.install("edge")


def test_reason_of_a_refusal_is_told_from_its_root():
    root = ImportError("numpy.core.multiarray\nfailed")
    between, refusal = SystemError("no reason"), errors.DeviceError("model: cannot run")
    between.__context__, refusal.__context__ = root, between

    assert installation.with_root(refusal) == "model: cannot run (ImportError: numpy.core.multiarray failed)"


def test_reason_of_a_refusal_without_a_cause_stands_once():
    assert installation.with_root(errors.DeviceError("none installed")) == "none installed"
