"""The partial file of a profile: every measurement is written at once, so that a killed run can be continued.

One JSON object a line. The first line describes the run; another run is refused instead of mixed in.
"""

import json
import os
from pathlib import Path
from typing import IO

from edge_runtime.profiling.measurement import Measurement
from tflsplit import errors, strict_json

SCHEMA = 1


class Journal:
    """`measurements` are those of an earlier run. An incomplete last line is dropped, and its measurement made
    again."""

    def __init__(self, path: Path, run: dict[str, str]) -> None:
        self.path = path
        self.measurements: tuple[Measurement, ...] = ()
        header = {"schema": SCHEMA, "kind": "profile-journal", "run": run}
        try:
            lines = _whole_lines(path)
            if lines:
                self._check(strict_json.parse(lines[0]), header)
                self.measurements = tuple(Measurement.from_json(strict_json.parse(line)) for line in lines[1:])
                _keep_only(path, lines)
            self._stream: IO[str] = path.open("a", encoding="utf-8")
        except OSError as cause:
            raise errors.DeviceError(f"{path}: cannot be written ({cause.strerror})") from cause
        except (ValueError, KeyError, TypeError) as cause:
            raise errors.DataError(f"{path}: damaged ({cause!r}); remove it to begin anew") from cause
        if not lines:
            self._write(header)

    def add(self, measurement: Measurement) -> None:
        self._write(measurement.as_json())

    def remove(self) -> None:
        """Removes the file, after the profile itself was written."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def _write(self, fields: dict[str, object]) -> None:
        self._stream.write(json.dumps(fields) + "\n")
        self._stream.flush()

    def _check(self, found: object, expected: dict[str, object]) -> None:
        if found != expected:
            raise errors.DataError(f"{self.path}: left by another run ({found}); remove it to begin anew")


def _whole_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]


def _keep_only(path: Path, lines: list[str]) -> None:
    """Cuts off an incomplete last line, which the next one would continue."""
    os.truncate(path, sum(len(line.encode()) for line in lines))
