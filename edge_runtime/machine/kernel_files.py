"""Small text files in which the kernel reports the state of the machine (sysfs, procfs), and files of its settings."""

from pathlib import Path


def text(file: Path) -> str:
    """The stripped contents; empty if the file cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
