"""`tflsplit trace` of files that hold no frame."""

import json

import pytest
from click.testing import CliRunner

from edge_runtime.monitoring import frame_trace
from tflsplit import errors
from tflsplit.cli.commands import trace


def test_a_trace_without_a_frame_is_said_in_a_line(tmp_path):
    path = tmp_path / "trace.jsonl"
    with frame_trace.Trace(path, limit_bytes=1 << 20):
        pass
    shown = CliRunner().invoke(trace.command, [str(path)], catch_exceptions=False).output
    assert shown.splitlines() == [f"{path}: holds no frame yet; a frame is written when it is answered"]
    counted = CliRunner().invoke(trace.command, [str(path), "--json"], catch_exceptions=False).output
    assert json.loads(counted)["frames"] == 0


def test_an_empty_file_is_no_trace(tmp_path):
    (tmp_path / "trace.jsonl").touch()
    with pytest.raises(errors.DataError, match="is empty"):
        CliRunner().invoke(trace.command, [str(tmp_path / "trace.jsonl")], catch_exceptions=False)
