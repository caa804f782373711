"""What the systemd service of an edge needs: derived from the edge's configuration."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit.cli.settings.command import Command
from tflsplit.cli.settings.edge_checks import SECRETS
from tflsplit.cli.settings.merging import Merged

if TYPE_CHECKING:  # `tflsplit edge` starts without it
    from edge_runtime.service.installation import Wanted

# Longest time to stop, beside the wait for the last answers. A broker that does not answer is included.
_CLOSING_S = 15


def wanted(
    edge: Command, merged: Merged, file: Path, *, name: str, executable: Path, devices: tuple[Path, ...], root: Path
) -> "Wanted":
    from edge_runtime.service import installation

    paths = {
        key: (Path(value), parameter.type.writable)
        for key, parameter in edge.settings.items()
        if isinstance(parameter.type, click.Path) and (value := merged.value(key))
    }
    source = merged.value("source")
    return installation.Wanted(
        name=name,
        config=file,
        executable=executable,
        accelerator=merged.value("accelerator"),
        source=source,
        secrets={f"--{key}": path for key, (path, _) in paths.items() if key in SECRETS},
        reads=_read(file, root)
        + tuple(path for key, (path, is_written) in paths.items() if key not in SECRETS and not is_written)
        + (() if ":" in source else (Path(source),)),
        writes=tuple(path for path, is_written in paths.values() if is_written),
        devices=devices,
        is_bounded=merged.value("count") is not None,
        stop_s=math.ceil(_drain_s(edge, merged)) + _CLOSING_S,
        root=root,
    )


def _drain_s(edge: Command, merged: Merged) -> float:
    """The longest time that the edge waits for its last answers."""
    from edge_runtime.delivery.settings import Settings

    given = merged.value("drain")
    if given is None:
        return next(float(str(field.default)) for field in dataclasses.fields(Settings) if field.name == "drain_s")
    return float(edge.settings["drain"].type.convert(str(given), None, None))


def _read(file: Path, root: Path) -> tuple[Path, ...]:
    """The files of the configuration: the service reads them at its start and on SIGHUP."""
    from tflsplit import configuration

    folder = configuration.drop_in_folder(file)
    return (file, folder) if (root / folder.relative_to("/")).is_dir() else (file,)
