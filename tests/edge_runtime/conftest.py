"""A real delegate library for the interpreter, built by the C compiler that is there."""

import pathlib
import shutil
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).parents[1] / "support" / "delegate.c"


@pytest.fixture(scope="session")
def compiler():
    """Compiles C to a shared library: `compiler(source, library, *arguments)`."""
    found = shutil.which("gcc") or shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler (gcc or cc) to build the tests' delegate with")

    def build(source: pathlib.Path, library: pathlib.Path, *arguments: str) -> pathlib.Path:
        command = [found, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source, *arguments]
        subprocess.run([str(word) for word in command], check=True)
        return library

    return build


@pytest.fixture(scope="session")
def library(compiler, tmp_path_factory) -> str:
    return str(compiler(SOURCE, tmp_path_factory.mktemp("delegate") / "libtest_delegate.so", "-lm"))
