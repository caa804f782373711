"""Explains why a delegate's process failed and what to do about it. Pure: no process, no device.

It recognises the messages of the dynamic linker and of TensorFlow Lite, as ai-edge-litert and tflite-runtime report
them.
"""

import enum
import re
import signal

from tflsplit.values.classes import dataclass


class Stage(str, enum.Enum):
    """What the process was asked to do last."""

    LOAD = "load"  # the library, and with it the device
    OPEN = "open"  # the model, up to a first inference
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Failure:
    """`kind` and `text` are of the exception, if any; `status` is the exit status of a process that ended without one
    (negative: the signal), `waited_s` the time-out of one that did not answer; `said` is its last line on stderr.
    """

    stage: Stage
    kind: str = ""
    text: str = ""
    status: int | None = None
    waited_s: float | None = None
    said: str = ""


_DOING = {
    Stage.LOAD: "while it was loaded",
    Stage.OPEN: "while it took over the model",
    Stage.RUN: "during an inference",
}
_WRONG_BUILD = "a build for another TensorFlow Lite or another machine: install one that fits this runtime"
_WRONG_EDGE_TPU_BUILD = (
    "Google's libedgetpu of 2021 does not fit today's runtimes: install a build of libedgetpu for TensorFlow 2.19 or "
    "later (github.com/feranick/libedgetpu), or tflite-runtime 2.11 or earlier"
)
_INSTALL_EDGE_TPU = "install libedgetpu1-std (docs/coral.md), or run on --accelerator cpu"


def explain(failure: Failure, library: str, *, is_edge_tpu: bool = False, refused: str = "") -> str:
    """One line: the library, what happened, what to do. `refused` is the reason if the library gives none."""
    wrong_build = _WRONG_EDGE_TPU_BUILD if is_edge_tpu else _WRONG_BUILD
    if failure.waited_s is not None:
        what = f"did not answer within {failure.waited_s:g} s {_DOING[failure.stage]} and was ended"
        return f"{library}: {what}{_quoted(failure.said)}; look at the device, or give it more time"
    if failure.status is not None:
        return f"{library}: its process {_ended(failure.status)} {_DOING[failure.stage]}{_quoted(failure.said)}" + (
            "" if failure.stage is Stage.RUN else f"; most likely {wrong_build}"
        )
    if failure.stage is Stage.LOAD:
        return f"{library}: {_load_failure(failure, library, wrong_build, is_edge_tpu=is_edge_tpu, refused=refused)}"
    if "EdgeTpuDelegateForCustomOp failed to prepare" in failure.text:
        return f"{library}: cannot take over the model: {wrong_build}"
    return f"{library}: failed {_DOING[failure.stage]}: {_one_line(failure.text)}"


def _load_failure(failure: Failure, library: str, wrong_build: str, *, is_edge_tpu: bool, refused: str) -> str:
    if failure.kind == "AttributeError":
        return "is a library, but no TensorFlow Lite delegate (it has no tflite_plugin_create_delegate)"
    if failure.kind == "ValueError":
        # The runtime's text is "Failed to load delegate from LIBRARY", then the delegate's own message, if any.
        own_words = _one_line(failure.text.partition("\n")[2])
        return f"gave no delegate: {own_words or refused or 'it did not say why; is its device there?'}"
    missing = re.match(r"(\S+): cannot open shared object file", failure.text)
    if missing is None:
        return f"cannot be loaded: {_one_line(failure.text)}; most likely {wrong_build}"
    if missing[1] == library:
        return "not found: " + (_INSTALL_EDGE_TPU if is_edge_tpu else "give the path of the delegate's library")
    needed = missing[1]
    return f"needs {needed}, which is not installed" + (
        ": apt install libusb-1.0-0" if needed.startswith("libusb-1.0") else ": install the package that has it"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _ended(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _quoted(said: str) -> str:
    return f" (it said: {said})" if said else ""
