import contextlib

from edge_runtime.accelerators.cpu import Cpu
from tflsplit.kernels import probe


def test_a_head_that_xnnpack_does_not_take_is_told(residual_model, without_xnnpack, monkeypatch, caplog):
    monkeypatch.setattr(probe, "runtime_version", lambda: "ai-edge-litert 2.3.0")

    with contextlib.closing(Cpu().open(residual_model, name="the head")):
        assert "model=the head without_xnnpack=ADD/int8" in caplog.text


def test_a_head_that_xnnpack_takes_is_not_worth_a_word(residual_model, caplog):
    with contextlib.closing(Cpu().open(residual_model, name="the head")):
        assert not caplog.text
