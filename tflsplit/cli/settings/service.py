"""What the systemd service of an edge or a cloud needs: derived from its configuration."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit.cli.settings.checks import SECRETS
from tflsplit.cli.settings.command import Command
from tflsplit.cli.settings.merging import Merged

if TYPE_CHECKING:  # `tflsplit edge` starts without it
    from edge_runtime.service.installation import Wanted

# Longest time to stop, beside the wait for the last answers. A broker that does not answer is included.
_CLOSING_S = 15


def wanted(
    command: Command,
    merged: Sequence[Merged],
    file: Path,
    *,
    name: str,
    executable: Path,
    devices: tuple[Path, ...],
    root: Path,
) -> "Wanted":
    """`merged` are the settings, or those of each stream."""
    from edge_runtime.service import installation

    runs, reads, writes = [], list(_read(file, root)), []
    for each in merged:
        paths = [
            (key, Path(one), parameter.type.writable)
            for key, parameter in command.settings.items()
            if isinstance(parameter.type, click.Path) and (value := each.value(key))
            for one in (value if isinstance(value, list | tuple) else [value])
        ]
        source = each.value("source") if "source" in command.settings else None
        accelerator = each.value("accelerator") if "accelerator" in command.settings else None
        secrets = {f"--{key}": path for key, path, _ in paths if key in SECRETS}
        runs.append(installation.Run(accelerator, source, secrets, each.value("count") is not None))
        reads += [path for key, path, is_written in paths if key not in SECRETS and not is_written]
        reads += _read_by_source(source)
        writes += [path for _, path, is_written in paths if is_written]
    return installation.Wanted(
        role=command.table,
        name=name,
        config=file,
        executable=executable,
        runs=runs,
        has_streams=merged[0].repeats > 0,
        reads=reads,
        writes=writes,
        devices=devices,
        stop_s=max(math.ceil(_drain_s(command, each)) for each in merged) + _CLOSING_S,
        root=root,
    )


def _read_by_source(source: str | None) -> tuple[Path, ...]:
    from edge_runtime.sources import words

    path = None if source is None else words.parse(source).path
    return () if path is None else (path,)


def _drain_s(command: Command, merged: Merged) -> float:
    """The longest time that it waits for the last answers."""
    from edge_runtime.delivery.settings import Settings

    given = merged.value("drain")
    if given is None:
        return next(float(str(field.default)) for field in dataclasses.fields(Settings) if field.name == "drain_s")
    return float(command.settings["drain"].type.convert(str(given), None, None))


def _read(file: Path, root: Path) -> tuple[Path, ...]:
    """The files of the configuration: the service reads them at its start and on SIGHUP."""
    from tflsplit import configuration

    folder = configuration.drop_in_folder(file)
    return (file, folder) if (root / folder.relative_to("/")).is_dir() else (file,)
