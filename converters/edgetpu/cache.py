"""A cache of what the Edge TPU compiler made of models; of failures too, since they take longest.

One folder an entry under the user's cache directory, written whole or not at all. The key covers the compiler's version
and the bytes of every model compiled together, so an entry never becomes outdated. A damaged entry counts as absent.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from converters.edgetpu.compiler import Outcome
from converters.edgetpu.log import ModelLog
from tflsplit import strict_json
from tflsplit.kernels import keeping
from tflsplit.package.manifest import MappedOperators
from tflsplit.values.classes import asdict

_FORMAT = 1


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where entries live, by default ~/.cache/tflsplit/edgetpu."""
    return keeping.folder(environment) / "edgetpu"


def key(version: str, models: Sequence[bytes], position: int) -> str:
    """Of the model at `position` among those compiled together, in order."""
    digests = [hashlib.sha256(model).hexdigest() for model in models]
    return hashlib.sha256(json.dumps([_FORMAT, version, digests, position]).encode()).hexdigest()


def load(root: Path, entry: str, *, timeout_s: float) -> Outcome | None:
    """The entry; None if there is none, or if it failed at a time limit shorter than `timeout_s`."""
    try:
        fields = strict_json.parse((root / entry / "outcome.json").read_text("utf-8"))
        if fields["reason"] is not None and fields["timeout_s"] < timeout_s:
            return None
        data = (root / entry / "model.tflite").read_bytes() if fields["sha256"] else None
        if data is not None and hashlib.sha256(data).hexdigest() != fields["sha256"]:
            return None
        return Outcome(data, fields["reason"], fields["text"], _log(fields["log"]), fields["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(root: Path, entry: str, outcome: Outcome, *, timeout_s: float) -> None:
    """Writes an entry. A cache that cannot be written is ignored: the compilation itself is there."""
    fields = {
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "timeout_s": timeout_s,
        "text": outcome.text,
        "sha256": hashlib.sha256(outcome.data).hexdigest() if outcome.data is not None else None,
        "log": asdict(outcome.log) if outcome.log is not None else None,
    }
    with contextlib.suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=root))
        try:
            if outcome.data is not None:
                (partial / "model.tflite").write_bytes(outcome.data)
            (partial / "outcome.json").write_text(json.dumps(fields), "utf-8")
            shutil.rmtree(root / entry, ignore_errors=True)
            partial.rename(root / entry)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _log(fields: dict[str, Any] | None) -> ModelLog | None:
    if fields is None:
        return None
    return ModelLog(**fields | {"operators": tuple(MappedOperators(**row) for row in fields["operators"])})
