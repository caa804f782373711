"""How the compiler is driven, against its stand-in: each test names the public case that it plays."""

import os
import pathlib
import select
import time

import pytest

from converters.edgetpu import compiler, rules
from tflsplit import errors
from tflsplit.graph import flatgraph

SECONDS = 20.0


def compile_one(tool, case, model, timeout_s=SECONDS):
    return compiler.compile_models(tool(case), {"m": model}, timeout_s=timeout_s)["m"]


def test_a_model_that_maps_whole_is_compiled_with_its_figures(tool, runs, residual_model) -> None:
    outcome = compile_one(tool, "whole", residual_model)

    assert outcome.reason is None
    assert rules.is_compiled(flatgraph.read(outcome.data))
    assert (outcome.log.tpu_operators, outcome.log.cpu_operators, outcome.seconds) == (267, 0, 4.035)
    assert runs() == ["-s -o . -t 20 m.tflite"]


def test_a_model_that_maps_in_part_is_compiled_and_says_what_does_not(tool, residual_model) -> None:
    outcome = compile_one(tool, "partial", residual_model)

    assert outcome.data is not None
    assert (outcome.log.tpu_operators, outcome.log.cpu_operators) == (42, 20)
    assert "Operation version not supported" in [row.status for row in outcome.log.operators]


@pytest.mark.parametrize("case", ["streamed", "old"])
def test_older_versions_get_no_timer_and_are_read_all_the_same(tool, runs, residual_model, case) -> None:
    outcome = compile_one(tool, case, residual_model)

    assert outcome.data is not None
    assert outcome.log.off_chip_bytes == {"streamed": round(7.03 * 2**20), "old": 3072}[case]
    assert runs() == ["-s -o . m.tflite"]


@pytest.mark.parametrize(
    ("case", "words", "tries"),
    [
        # One failure a line: the case, words of the reason, how often it is tried.
        ("dynamic", "only supports static-sized tensors", 1),
        ("invalid", "Invalid model", 1),
        ("new-operator", "'RESIZE_BILINEAR' version '3'", 1),
        ("nothing-mapped", "no operator maps", 1),
        ("internal", "Internal compiler error. Aborting: ", 2),
        ("activations", "large activation tensors", 2),
        ("timed-out", "Compilation timed out", 2),
        ("crash", "crashed (SIGSEGV)", 2),
        ("silent", "wrote nothing", 2),
        ("only-version", "wrote nothing", 2),
        ("odd-exit", "exit code 3: Something nobody has posted yet", 2),
    ],
)
def test_a_failure_keeps_its_reason_and_is_tried_again_unless_the_model_is_blamed(
    tool, runs, residual_model, *, case, words, tries
) -> None:
    outcome = compile_one(tool, case, residual_model)

    assert outcome.data is None
    assert words in outcome.reason
    assert len(runs()) == tries


def test_a_first_try_that_fails_and_a_second_that_works_is_a_success(tool, runs, residual_model) -> None:
    """The same file failed twice and then compiled, with version 14.1 as with 16."""
    outcome = compile_one(tool, "flaky", residual_model)

    assert (outcome.data is not None, outcome.reason, len(runs())) == (True, None, 2)


def test_a_hang_is_ended_with_its_children(tool, runs, residual_model, tmp_path: pathlib.Path) -> None:
    began = time.monotonic()
    outcome = compile_one(tool, "hang", residual_model, timeout_s=2.0)
    grandchild = int((tmp_path / "runs.grandchild").read_text())

    assert "no end within 2 s" in outcome.reason
    assert time.monotonic() - began < 20
    assert has_ended(grandchild)


def has_ended(pid: int) -> bool:
    """Soon: it was sent a signal, and a busy machine takes its time. A zombie has ended, though nobody asked it how."""
    try:
        with os.fdopen(os.pidfd_open(pid)) as ended:
            return bool(select.select([ended], [], [], SECONDS)[0])
    except ProcessLookupError:
        return True


def test_several_models_are_compiled_in_one_run_in_order(tool, runs, residual_model) -> None:
    outcomes = compiler.compile_models(tool("whole"), {"b": residual_model, "a": residual_model}, timeout_s=SECONDS)

    assert runs() == ["-s -o . -t 20 b.tflite a.tflite"]
    assert all(outcome.data and outcome.log.tpu_operators == 267 for outcome in outcomes.values())


def test_the_working_directory_can_be_named_in_the_command(command, runs, residual_model, tmp_path) -> None:
    """`docker run -v {dir}:{dir} -w {dir} IMAGE edgetpu_compiler` needs it; here env(1) takes docker's place."""
    found = compiler.find(f"env -C {{dir}} {command}")
    assert found is not None

    assert compiler.compile_models(found, {"m": residual_model}, timeout_s=SECONDS)["m"].data is not None


def test_the_compiler_on_path_is_found(command, runs, monkeypatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert compiler.find(None) is None
    (tmp_path / "edgetpu_compiler").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (tmp_path / "edgetpu_compiler").chmod(0o755)

    assert compiler.find(None) == compiler.Compiler(("edgetpu_compiler",), "16.0.384591198")


def test_a_path_is_taken_from_where_the_user_is(command, residual_model, runs, monkeypatch, tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "edgetpu_compiler").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (tmp_path / "tools" / "edgetpu_compiler").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    found = compiler.find("tools/edgetpu_compiler")
    assert found is not None

    assert compiler.compile_models(found, {"m": residual_model}, timeout_s=SECONDS)["m"].data is not None


@pytest.mark.parametrize(
    ("given", "words"),
    [("/nowhere/edgetpu_compiler", "cannot be started"), ("echo hello; true", "it says hello"), (" ", "is empty")],
)
def test_a_command_that_is_no_compiler_is_refused(given, words) -> None:
    with pytest.raises(errors.SettingsError, match=words):
        compiler.find(given)
