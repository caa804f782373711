import signal
import subprocess
import time

import probe_pieces
import pytest
import waiting

from tflsplit import errors
from tflsplit.graph import flatgraph, kinds
from tflsplit.kernels import classes, probe

MADE_OF_SUMS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "ADD", "SUB", "MUL", "MEAN")


@pytest.fixture(scope="module")
def here() -> dict[str, str]:
    return {kind: fingerprint for kind, fingerprint, _ in probe.run()}


def test_the_shipped_pieces_are_those_that_the_script_makes():
    made = {kind: list(files) for kind, files in probe_pieces.pieces().items()}

    assert made == probe._pieces()
    assert probe.PIECES.stat().st_size < 100_000


def test_each_piece_is_of_one_operator_of_the_kind_that_it_is_named_by():
    for kind, files in probe._pieces().items():
        for data in files:
            assert kinds.of_graph(flatgraph.read(data)) == (kind,)


def test_every_kind_has_a_fingerprint_in_litert(here):
    assert set(here) == set(probe.kinds())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_machine_is_equal_to_itself(here, threads):
    assert {kind: fingerprint for kind, fingerprint, _ in probe.run(threads=threads)} == here


def test_int8_is_delegated_to_xnnpack():
    assert {delegated for kind, _, delegated in probe.run() if kind.startswith("CONV_2D/")} == {True}


def test_kernels_without_xnnpack_are_told_apart(here, without_xnnpack):
    found = {kind: (fingerprint, delegated) for kind, fingerprint, delegated in probe.run()}

    assert not any(delegated for _, delegated in found.values())
    differing = {kind for kind, (fingerprint, _) in found.items() if fingerprint != here[kind]}
    assert differing >= {f"{name}/{dtype}" for name in MADE_OF_SUMS for dtype in ("int8", "uint8")}
    assert set(classes.without_xnnpack(found)) == {kind for kind in differing if not kind.endswith(":ties")}
    assert not differing & {
        "SOFTMAX/int8",
        "LOGISTIC/int8",
        "AVERAGE_POOL_2D/int8",
    }  # XNNPACK leaves these, or has tables


def test_the_probe_in_a_process_of_its_own_finds_the_same(here):
    found = probe.measure()

    assert found.operators == here
    assert found.is_delegated
    assert found.runtime == probe.runtime_version()


def test_how_long_the_probe_takes(capsys):
    began = time.perf_counter()
    count = len(list(probe.run()))
    with capsys.disabled():
        print(f"\nprobe: {count} operator kinds in {(time.perf_counter() - began) * 1000:.1f} ms")


def test_a_kernel_that_ends_its_process_costs_its_kind_only(here, monkeypatch):
    dying = (
        "import os, sys; sys.path[:] = sys.argv[2:]; from tflsplit.kernels import probe; found = probe.run\n"
        "probe.run = lambda wanted: os.kill(os.getpid(), 11) if wanted == ['MUL/int8'] else found(wanted)\n"
        "probe.main(sys.argv[1])"
    )
    monkeypatch.setattr(probe, "_CHILD", dying)

    assert probe.measure().operators == {kind: each for kind, each in here.items() if kind != "MUL/int8"}


def test_a_kernel_that_hangs_costs_its_kind_only(here, monkeypatch, tmp_path):
    hangs = tmp_path / "hangs"
    hanging = (
        "import pathlib, signal, sys; sys.path[:] = sys.argv[2:]\n"
        "from tflsplit.kernels import probe; found = probe.run\n"
        f"hang = lambda: (pathlib.Path({str(hangs)!r}).touch(), signal.pause())\n"
        "probe.run = lambda wanted: hang() if wanted == ['MUL/int8'] else found(wanted)\n"
        "probe.main(sys.argv[1])"
    )

    class Child(subprocess.Popen):
        """Its time is over once it hangs, and not before, however slow the machine."""

        def communicate(self, input=None, timeout=None):
            if timeout is None:
                return super().communicate(input)
            waiting.wait_for(lambda: hangs.exists() or self.poll() is not None)
            hangs.unlink(missing_ok=True)
            return super().communicate(input, timeout=0.1)

    monkeypatch.setattr(probe, "_CHILD", hanging)
    monkeypatch.setattr(subprocess, "Popen", Child)

    assert probe.measure().operators == {kind: each for kind, each in here.items() if kind != "MUL/int8"}


def test_a_process_that_cannot_be_started_is_a_refusal(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")

    with pytest.raises(errors.DeviceError, match="the probe of this machine's kernels cannot be started"):
        probe.measure()


def test_a_process_that_says_nothing_leaves_a_class_without_fingerprints(monkeypatch):
    monkeypatch.setattr(probe, "_CHILD", f"import os; os.kill(os.getpid(), {signal.SIGKILL})")

    found = probe.measure()

    assert not found.operators
    assert not found.is_delegated
