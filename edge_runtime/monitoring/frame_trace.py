"""Writes a trace: a file with one JSON line for each answered frame, which says where the frame's time went.

    {"sequence": 7, "boot": "00c0…", "package": "9f…", "cut": "op012", "answer": "result", "sendings": 1,
     "captured_ns": …, "total_ms": 12.4, "parts_ms": {"wait": 0.3, "head": 3.1, "out": 2.0, "queue": 0.2, "decode": 0.1,
     "tail": 5.0, "reply": 0.1, "back": 1.6}, "offset_ms": 41.7, "offset_error_ms": 0.4}

The parts add up to the total. `out` and `back` compare two clocks: `offset_ms` is the estimated lead of the cloud's
clock, `offset_error_ms` its possible error, by which the two parts may be wrong in opposite directions. If a frame was
sent again, `out` starts at the last sending. Refusals and acknowledgements carry no times of the cloud: there `away` is
all the time between, and so it is where a clock was set meanwhile. Frames of an earlier run have no line. `dropped`, if
present, counts lines for which the queue had no room. The file's first line is a header, with the kernel class of the
edge. A full file becomes FILE.1,
which replaces the previous FILE.1.

`own_ms`, if present, is from capture to the device's own answer, which came before the cloud's. A frame that was
answered by the device alone has a line with the answer `own`, where `rest` is what it computed after the head.
"""

import contextlib
import json
import logging
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from broker.messages import results
from edge_runtime.delivery.observer import OwnAnswer, Settled, refusal_of
from edge_runtime.monitoring.clock_offset import ClockOffset
from tflsplit import errors, private_files, strict_json
from tflsplit.kernels.classes import KernelClass

log = logging.getLogger(__name__)

SCHEMA = 1
PARTS = ("wait", "head", "rest", "out", "queue", "decode", "tail", "reply", "back", "away")
_HEADER = {"schema": SCHEMA, "kind": "trace"}
_WAITING_LINES = 4096  # a second of the quickest edge, some 2 MB
_PATIENCE_S = 5.0
# By so much the clocks of one machine may seem to differ: they are not read in the same instant, and NTP slews one.
_STEP_S = 0.01


class Trace:
    """An `edge_runtime.delivery.observer.Observer` that writes the file on a thread of its own: a slow disk costs
    lines, never frames.

    DeviceError if the file cannot be opened. A disk that fails later ends the trace, not the edge. Both files together
    take at most `limit_bytes`.
    """

    def __init__(self, path: Path, *, limit_bytes: int, kernel_class: KernelClass | None = None) -> None:
        self.dropped = 0
        self._path = path
        self._file_bytes = limit_bytes // 2
        self._header = _HEADER | {"kernel_class": kernel_class.as_json() if kernel_class else None}
        self._offset = ClockOffset()
        self._waiting: queue.Queue[Settled | OwnAnswer | None] = queue.Queue(_WAITING_LINES)
        with errors.disk_errors(f"trace {path}"):
            self._stream = self._begin()
        self._thread = threading.Thread(target=self._write_all, name="trace", daemon=True)
        self._thread.start()

    def alive(self) -> None:
        """A trace has no line for it."""

    def settled(self, settled: Settled) -> None:
        if settled.latency_s is not None:
            self._note(settled)

    def answered(self, own: OwnAnswer) -> None:
        if not own.is_sent:
            self._note(own)

    def _note(self, told: Settled | OwnAnswer) -> None:
        try:
            self._waiting.put_nowait(told)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Writes the waiting lines, but gives up on a disk that hangs."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=_PATIENCE_S)
        self._thread.join(_PATIENCE_S)
        if self.dropped:
            log.warning("trace incomplete file=%s dropped=%d", self._path, self.dropped)

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_all(self) -> None:
        frames: Iterator[Any] = iter(self._waiting.get, None)
        try:
            for told in frames:
                fields = _own_line(told) if isinstance(told, OwnAnswer) else _line(told, self._offset)
                self._write(json.dumps(fields | ({"dropped": self.dropped} if self.dropped else {})))
                if self._waiting.empty():
                    self._stream.flush()
            self._stream.close()
        except OSError as problem:
            log.error("trace ended file=%s reason=%s", self._path, problem)
            with contextlib.suppress(OSError):
                self._stream.close()
            self.dropped += 1 + sum(1 for _ in frames)

    def _write(self, line: str) -> None:
        if self._stream.tell() + len(line) >= self._file_bytes:
            self._stream.close()
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._stream = self._begin()
        self._stream.write(line + "\n")

    def _begin(self) -> IO[str]:
        """Empties the file: lines of an earlier run have another clock offset, and the last may be incomplete."""
        descriptor = private_files.open_file(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        stream = os.fdopen(descriptor, "w", encoding="ascii")
        stream.write(json.dumps(self._header) + "\n")
        return stream


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a trace, which may still be written. DataError for any other file."""
    try:
        with path.open(encoding="ascii") as stream:
            first = stream.readline()
            if not first.strip():
                raise errors.DataError(f"{path}: is empty; tflsplit edge --trace FILE writes a trace")
            header = strict_json.parse(first)
            if not isinstance(header, dict) or {key: header.get(key) for key in _HEADER} != _HEADER:
                raise errors.DataError(f"{path}: begins with {header!r:.60}, expected {_HEADER}")
            yield from (_checked(strict_json.parse(line)) for line in stream if line.endswith("\n"))
    except OSError as cause:
        raise errors.DataError(f"{path}: cannot be read ({cause.strerror})") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise errors.DataError(f"{path}: is no trace ({cause!r})") from cause


def _checked(line: Any) -> dict[str, Any]:
    parts = line["parts_ms"]
    numbers = (line["captured_ns"], line["total_ms"], line["sequence"], *parts.values())
    if not all(isinstance(number, int | float) for number in numbers) or not parts or not set(parts) <= set(PARTS):
        raise ValueError(f"{line!r:.60}")
    fields: dict[str, Any] = line
    return fields


def _own_line(own: OwnAnswer) -> dict[str, object]:
    result, total_ms, head_ms, rest_ms = own.result, own.latency_s * 1e3, own.head_s * 1e3, own.result.times.tail_ms
    parts = {"wait": total_ms - head_ms - rest_ms, "head": head_ms, "rest": rest_ms}
    return {
        "sequence": result.sequence,
        "boot": f"{result.boot:016x}",
        "package": result.package,
        "cut": own.cut,
        "answer": "own",
        "sendings": 0,
        "captured_ns": own.captured_ns,
        "total_ms": round(total_ms, 3),
        "parts_ms": {name: round(value, 3) for name, value in parts.items()},
    }


def _line(settled: Settled, offset: ClockOffset) -> dict[str, object]:
    answer = settled.answer
    away_ms = settled.away_s * 1e3
    total_ms = away_ms if settled.latency_s is None else settled.latency_s * 1e3
    before_ms = total_ms - away_ms
    parts = {"wait": before_ms - settled.head_s * 1e3, "head": settled.head_s * 1e3}
    fields: dict[str, object] = {
        "sequence": settled.sequence,
        "boot": f"{settled.boot:016x}",
        "package": settled.package,
        "cut": settled.cut,
        "answer": "refusal" if refusal_of(answer) else "result" if isinstance(answer, results.Result) else "ack",
        "sendings": settled.sendings,
        "captured_ns": settled.captured_ns,
        "total_ms": round(total_ms, 3),
    }
    if isinstance(answer, results.Result) and _fit(settled, answer.times):
        fields |= _by_two_clocks(settled, answer.times, offset, parts)
    else:
        parts["away"] = away_ms
    fields["parts_ms"] = {name: round(value, 3) for name, value in parts.items()}
    return fields | ({} if settled.own_s is None else {"own_ms": round(settled.own_s * 1e3, 3)})


def _fit(settled: Settled, times: results.Times) -> bool:
    """Whether no clock was set while the frame was away, by what the monotonic ones say."""
    by_clock_s = (settled.arrived_ns - settled.published_ns) / 1e9
    in_cloud_ms, busy_ms = times.sent_ms - times.received_ms, times.queue_ms + times.decode_ms + times.tail_ms
    is_ours_steady = abs(by_clock_s - settled.away_s) < _STEP_S
    return is_ours_steady and busy_ms - _STEP_S * 1e3 <= in_cloud_ms <= (settled.away_s + _STEP_S) * 1e3


def _by_two_clocks(
    settled: Settled, times: results.Times, offset: ClockOffset, parts: dict[str, float]
) -> dict[str, object]:
    """Adds the parts after the sending to `parts`; returns the clock offset, updated by this frame, for its line."""
    sent_s, arrived_s = settled.published_ns / 1e9, settled.arrived_ns / 1e9
    received_s, answered_s = times.received_ms / 1e3, times.sent_ms / 1e3
    if settled.sendings == 1:
        offset.add(sent_s, received_s, answered_s, arrived_s)
    known = offset.at(arrived_s)
    if known is None:
        parts["away"] = settled.away_s * 1e3
        return {}
    in_cloud_ms = times.sent_ms - times.received_ms
    parts["out"] = (received_s - known.offset_s - sent_s) * 1e3
    parts |= {"queue": times.queue_ms, "decode": times.decode_ms, "tail": times.tail_ms}
    parts["reply"] = in_cloud_ms - times.queue_ms - times.decode_ms - times.tail_ms
    parts["back"] = settled.away_s * 1e3 - parts["out"] - in_cloud_ms
    return {"offset_ms": round(known.offset_s * 1e3, 3), "offset_error_ms": round(known.error_s * 1e3, 3)}
