"""TensorFlow and Keras, imported and called without any output on stdout or stderr.

Both print: progress, captures, "Saved artifact at …", from Python and from C++. The stdout of commands
may be read by a machine, so every call into them stands inside `silenced()`.
"""

import ctypes
import gc
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from tflsplit import errors, extras


class _Nowhere(io.TextIOBase):
    """Never closed: logging handlers that are made while it replaces stderr keep a reference to it."""

    def write(self, text: str) -> int:
        return len(text)

    def writable(self) -> bool:
        return True


_NOWHERE = _Nowhere()


@contextmanager
def silenced() -> Iterator[None]:
    """Discards what is written to stdout and stderr, by Python (objects) and by C++ (descriptors), and warnings.

    The whole process is silent meanwhile, threads included.
    """
    python_streams = sys.stdout, sys.stderr
    for stream in python_streams:
        stream.flush()
    saved = [(descriptor, os.dup(descriptor)) for descriptor in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor, _ in saved:
            os.dup2(nowhere, descriptor)
        sys.stdout = sys.stderr = _NOWHERE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout, sys.stderr = python_streams
        for descriptor, copy in saved:
            os.dup2(copy, descriptor)
            os.close(copy)
        os.close(nowhere)


@cache
def tensorflow() -> Any:
    """The `tensorflow` module, its logging turned down before its first import; DeviceError if there is none."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # Keras 3 would take torch or jax where a user's file says so
    # Conversion runs on the CPU; looking for a GPU takes time and prints.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        with silenced():
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
    except ImportError as missing:
        raise errors.DeviceError(extras.need("converting", "tensorflow")) from missing
    return tf


_PAINTED = re.compile(r"\x1b\[[\d;]*m", re.ASCII)
# What both libraries wrap around the sentence that matters, before it and behind it.
_BEFORE = re.compile(r".*(?:Exception encountered: |Exception encountered when calling (\S+?)\.?\s+)", re.DOTALL)
_BEHIND = re.compile(
    r"\s*(?:Arguments received by|Full object config|Call arguments received|\{\{node|config=\{|\[Op:"
    r"|\[\[\{\{node|note: called from|Make sure custom classes|Object was created by).*",
    re.DOTALL,
)
_PLACED = re.compile(r"\S+:\d+:\d+: error: ([^\n]+)")  # by the converter, before lines of Python that called it


def reason(cause: BaseException, most: int = 300) -> str:
    """The sentence of an exception of TensorFlow or Keras that says what is wrong, in one line.

    Their messages wrap it in colours, configurations of whole models and places in the installation.
    """
    words = _PAINTED.sub("", str(cause))
    if placed := _PLACED.search(words):
        words = placed[1]
    wrapped = _BEFORE.match(words)
    inner = _BEHIND.sub("", words[wrapped.end() if wrapped else 0 :]).strip()
    called = wrapped[1] if wrapped else None
    if isinstance(cause, OSError) and isinstance(cause.__context__, OSError):
        inner = errors.one_line(cause.__context__, most)  # Keras tells only its number
    if called and inner and not called.startswith(("Functional", "Sequential")):
        inner = f"calling {called}: {inner}"
    return errors.one_line(ValueError(inner) if inner else cause, most)


def give_back_memory() -> None:
    """To the system, what is used no more: graphs and converters refer to themselves, each with the weights several
    times over, and glibc keeps what was freed."""
    gc.collect()
    with suppress(AttributeError):  # another library than glibc
        ctypes.CDLL(None).malloc_trim(0)
