"""The compiler's stand-in, ready to be called as the real one, and what it was called with."""

import pathlib
import shlex
import sys
from collections.abc import Callable

import edgetpu_compiler
import pytest

from converters.edgetpu import compiler
from converters.edgetpu.compiler import Compiler


@pytest.fixture
def runs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The arguments of every compilation since the test began; the cache is empty and the test's own."""
    place = tmp_path / "runs"
    monkeypatch.setenv("EDGETPU_RUNS", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lambda: place.read_text().splitlines() if place.exists() else []


@pytest.fixture
def command() -> str:
    """What a user would give to --compiler."""
    return shlex.join([sys.executable, edgetpu_compiler.__file__])


@pytest.fixture
def tool(command: str, runs: object, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Compiler]:
    """The stand-in, about to play a case."""

    def tool(case: str) -> Compiler:
        monkeypatch.setenv("EDGETPU_CASE", case)
        found = compiler.find(command)
        assert found is not None
        return found

    return tool
