"""What the extras of this project ask for, read from its own metadata, and how each can be installed on this machine.

No public package index serves this project, so a hint never names it alone: whoever registered the name there would own
whoever follows the hint. It names the wheel or checkout that is installed here, or else the libraries. Every module may
import this one, which therefore imports what it needs when it is asked.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PROJECT = "tflsplit"

# The library that brings a module which not every extra does, and an extra that has it.
MODULES = {
    "tensorflow": ("tensorflow", "convert"),
    "keras": ("keras", "convert"),
    "tf_keras": ("tf-keras", "convert"),
    "h5py": ("h5py", "convert"),
    "ai_edge_quantizer": ("ai-edge-quantizer", "convert"),
    "rich": ("rich", "watch"),
    "ai_edge_litert": ("ai-edge-litert", "edge"),
    "paho": ("paho-mqtt", "edge"),
    "zstandard": ("zstandard", "edge"),
    "PIL": ("Pillow", "edge"),
    "cv2": ("opencv-python-headless", "camera"),
    "av": ("av", "video"),
    "prometheus_client": ("prometheus-client", "metrics"),
    "cryptography": ("cryptography", "update"),
    "pika": ("pika", "amqp"),
    "zenoh": ("eclipse-zenoh", "zenoh"),
    "matplotlib": ("matplotlib", "report"),
    "scipy": ("scipy", "distribute"),
}

# Other distributions that bring the same modules.
_ALSO = {
    "tensorflow": ("tensorflow-cpu", "tensorflow-macos", "tf-nightly"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
}


class Requirement(NamedTuple):
    """A library that an extra asks for, from the version `minimum` on and, where it is set, before `below`. `applies`
    is False where a marker excludes this Python or this machine."""

    distribution: str
    minimum: str
    extra: str
    applies: bool = True
    below: str = ""

    def __str__(self) -> str:
        bounds = [f">={self.minimum}"] * bool(self.minimum) + [f"<{self.below}"] * bool(self.below)
        return self.distribution + ",".join(bounds)


def requirements(
    extra: str, declared: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
) -> tuple[Requirement, ...]:
    """What `extra` asks for beside the core: of `declared` lines of Requires-Dist (our own by default), in an
    `environment` of markers (this one by default, with the machine that this interpreter can run)."""
    from packaging.requirements import Requirement as Parsed

    from tflsplit import processor

    found = []
    for line in _declared() if declared is None else declared:
        parsed = Parsed(line)
        if parsed.marker is None or f'extra == "{extra}"' not in str(parsed.marker):
            continue
        bounds = {part.operator: part.version for part in parsed.specifier}
        here = {"platform_machine": processor.machine()} if environment is None else environment
        applies = parsed.marker.evaluate({**here, "extra": extra})
        found.append(Requirement(parsed.name, bounds.get(">=", ""), extra, applies, bounds.get("<", "")))
    return tuple(found)


def install(extra: str) -> str:
    """A command that installs `extra` on this machine."""
    import shlex

    place = _place()
    if place is not None:
        source, is_editable = place
        return f"pip install {'--editable ' if is_editable else ''}{shlex.quote(f'{source}[{extra}]')}"
    lacking = [str(needed) for needed in requirements(extra) if needed.applies and not version_of(needed.distribution)]
    return f"pip install {' '.join(map(shlex.quote, lacking))}"


def need(what: str, module: str) -> str:
    """What to say where `what` lacks one of MODULES: how to install its library, or that this Python cannot have it."""
    library, extra = MODULES[module]
    excluded = [one.distribution for one in requirements(extra) if not one.applies]
    if library.lower() in excluded:
        version = ".".join(map(str, sys.version_info[:2]))
        return f"{what} needs {library}, which has no release for Python {version} on this machine: use an older Python"
    return f"{what} needs {library}, which is not installed: {install(extra)}"


def version_of(distribution: str, path: Sequence[str] | None = None) -> str | None:
    """The version of an installed distribution, or of one that stands for it; None if there is none."""
    from importlib import metadata

    for name in (distribution, *_ALSO.get(distribution, ())):
        for found in metadata.distributions(name=name, path=list(sys.path if path is None else path)):
            return found.version
    return None


def _declared() -> Sequence[str]:
    from importlib import metadata

    try:
        return metadata.requires(PROJECT) or ()
    except metadata.PackageNotFoundError:
        return ()


def checkout() -> Path | None:
    """The checkout that this program runs in, if it does."""
    found = Path(__file__).resolve().parents[1]
    return found if (found / "pyproject.toml").is_file() else None


def _place() -> tuple[Path, bool] | None:
    """The wheel or checkout that this project was installed from, if it is still there, and whether as editable."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    ours = checkout()
    if ours is not None:
        return ours, True
    try:
        recorded = metadata.distribution(PROJECT).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None
    url = urlsplit(json.loads(recorded or "{}").get("url", ""))
    source = Path(unquote(url.path))
    return (source, False) if url.scheme == "file" and source.exists() else None
