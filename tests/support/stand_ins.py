"""Programs and installed libraries that are not what they seem: a shell script, and metadata with nothing behind it."""

from pathlib import Path


def program(file: Path, script: str) -> str:
    """An executable that does as the script says, whatever it is asked."""
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def distribution(folder: Path, name: str, version: str) -> list[str]:
    """Installs no more than a distribution's metadata; returns the path to search for it."""
    information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return [str(folder)]
