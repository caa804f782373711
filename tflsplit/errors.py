"""Every error this project raises on purpose, sorted by who must act.

    TflsplitError
    ├── UserError             the person who typed the command or wrote the call
    │   ├── ModelError        the model file: not a model, unsafe, not convertible
    │   ├── CutError          a place that is no cut, or is not in this package
    │   ├── DataError         calibration data, samples, sources of frames
    │   ├── PackageError      a package that is damaged, newer than us, or in the way
    │   └── SettingsError     options and configuration
    │       └── ConfigurationError  several of them at once
    ├── DeviceError           the machine: interpreter, accelerator, disk
    └── PeerError             the other end of a connection
        ├── FrameError        bytes that are not a frame for us
        └── BrokerError       a broker that is absent, refuses, or goes away

Foreign exceptions become one of these at the door of the foreign world, with the cause chained. A message is
one line: the thing, what was found, what was expected, what to do. Bugs are not caught and never become these.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class TflsplitError(Exception):
    """Something a person can act on; `str()` of it is one line that can be shown as it is."""


class UserError(TflsplitError):
    """What was asked for cannot be done as asked."""


class ModelError(UserError):
    """The model file cannot be loaded, trusted, quantised or cut."""


class CutError(UserError):
    """A cut that does not exist; the message names the nearest ones that do."""


class DataError(UserError):
    """Samples of the wrong kind, shape or range."""


class PackageError(UserError):
    """A package whose contents are not what its manifest says, or which we may not write."""


class SettingsError(UserError):
    """An option or a value of a configuration that cannot be used."""


class ConfigurationError(SettingsError):
    """Everything that is wrong with a configuration: `problems` are whole lines, in the order of the files."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class DeviceError(TflsplitError):
    """This machine cannot do it: no interpreter, no accelerator, no room on the disk."""


class PeerError(TflsplitError):
    """The other end of a connection did something that stops us."""


class FrameError(PeerError):
    """Bytes that are no frame, a damaged one, or one for another package or cut."""


class BrokerError(PeerError):
    """The broker cannot be reached, refuses us, or has gone."""


# For `disk_errors`, where a file is written whole or not at all.
NOTHING_LEFT = "cannot be written ({}); nothing was left"


@contextmanager
def disk_errors(what: object, words: str = "cannot be written ({})") -> Iterator[None]:
    """Makes of an OSError a DeviceError that says these words of `what`, with the reason in place of `{}`."""
    try:
        yield
    except OSError as cause:
        raise DeviceError(f"{what}: {words.format(cause.strerror or cause)}") from cause


def one_line(cause: BaseException, most: int = 300) -> str:
    """The message of a foreign exception on one line of at most so many characters; its type if it has no message. Of
    the system's it is the reason alone: its number says nothing, and which file it was the caller says."""
    message = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    # A runtime says the same once for each tensor or operator that it looks at.
    sentences = dict.fromkeys(sentence.strip() for sentence in message.splitlines())
    line = " ".join(" ".join(sentences).split()) or type(cause).__name__
    return line if len(line) <= most else f"{line[:most]}…"
