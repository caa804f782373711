"""Models that compute in another precision than float32, opened in float32, from which int8 is made.

Policies such as mixed_float16 stand in a Keras file's configuration, layer by layer; the weights are float32 or can be
cast. The file is copied with another configuration, so that any Keras opens it as it opens all others.
"""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from tflsplit import text

_OTHERS = frozenset({"mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"})
_CONFIG = "config.json"


def in_float32(path: Path, config: Any, *, is_zip: bool, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The file to open instead, in `folder`, and what was changed; `path` itself where nothing was.

    `config` is the file's configuration as parsed JSON.
    """
    found: list[str] = []
    changed = _changed(config, found)
    if not found:
        return path, ()
    copy = folder / f"float32{'.keras' if is_zip else '.h5'}"
    (_write_zip if is_zip else _write_hdf5)(path, copy, json.dumps(changed))
    kinds = ", ".join(sorted(set(found)))
    return copy, (f"{text.counted(len(found), 'layer')} in {kinds} became float32 before the model was quantised",)


def _changed(config: Any, found: list[str]) -> Any:
    if isinstance(config, list):
        return [_changed(entry, found) for entry in config]
    if not isinstance(config, dict):
        return config
    return {key: _float32(value, found) if key == "dtype" else _changed(value, found) for key, value in config.items()}


def _float32(policy: Any, found: list[str]) -> Any:
    """`dtype` is a name, or a policy with a name in it."""
    name = policy
    if isinstance(policy, dict) and isinstance(policy.get("config"), dict):
        name = policy["config"].get("name")
    if not isinstance(name, str) or name not in _OTHERS:
        return policy
    found.append(name)
    return "float32"


def _write_zip(path: Path, copy: Path, config: str) -> None:
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w") as made:
        for member in source.infolist():
            if member.filename == _CONFIG:
                made.writestr(member.filename, config)
            else:
                with source.open(member) as held, made.open(member.filename, "w") as kept:
                    shutil.copyfileobj(held, kept)


def _write_hdf5(path: Path, copy: Path, config: str) -> None:
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs["model_config"] = config
