"""What all tests share: the optional folder of public models, and how hypothesis runs."""

import os
import pathlib
import signal
import subprocess
import types
from collections.abc import Callable, Iterator

import hypothesis
import pytest
import rabbit
import tiny_models

from tflsplit.graph import interpreter
from tflsplit.package import reading

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
SHARED_DATA = pathlib.Path(os.environ.get("TFLSPLIT_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
WITHOUT_SHARED_DATA = f"no public models at {SHARED_DATA}; TFLSPLIT_TEST_DATA names their folder"

# Where a shell runs the suite in the background Ctrl-C is ignored, and so it would be by what a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure. A red build must be red again when it is run again: fixed examples there.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


# Fixtures that take seconds to make: with several processes one of them has all tests that use the same. The rest is
# dealt out by files, whose tests share what is made for a module.
SHARED = ("rabbitmq", "digits", "bad", "typed")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the suite remembers of packages stays out of the user's cache, of its processes too."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    os.environ.pop("CACHE_DIRECTORY", None)


@pytest.fixture(scope="session")
def public_models() -> pathlib.Path:
    """The folder of public models beside the checkout, for a test that has something left to do where it is absent."""
    return SHARED_DATA


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
    """The same, for a test that is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(WITHOUT_SHARED_DATA)
    return SHARED_DATA


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rabbit.Rabbit]:
    """A RabbitMQ of our own, which takes seconds to start; each test has a deployment of its own in it."""
    rabbit.skip_where_missing()
    node = rabbit.Rabbit(tmp_path_factory.mktemp("rabbit"))
    yield node
    node.end()


@pytest.fixture
def without_xnnpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that are opened in this process run on the kernels of the runtime itself."""
    runtime = interpreter.runtime()
    kept = {"experimental_op_resolver_type": runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    made = types.SimpleNamespace(
        Interpreter=lambda **options: runtime.Interpreter(**(options | kept)), OpResolverType=runtime.OpResolverType
    )
    monkeypatch.setattr(interpreter, "runtime", lambda: made)


@pytest.fixture
def builder() -> tiny_models.Builder:
    return tiny_models.Builder()


@pytest.fixture
def residual_model() -> bytes:
    return tiny_models.residual_model()


@pytest.fixture
def tiny_package(residual_model: bytes, tmp_path: pathlib.Path) -> reading.Package:
    """A package of the residual model with every interior pair written."""
    return tiny_models.write_package(tmp_path / "tiny.tflsplit", residual_model)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared_data)
        elif item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=WITHOUT_SHARED_DATA))
        if not item.get_closest_marker("xdist_group"):
            shared = [name for name in SHARED if name in getattr(item, "fixturenames", ())]
            item.add_marker(pytest.mark.xdist_group(shared[0] if shared else str(item.path)))


@pytest.fixture
def mounted(tmp_path: pathlib.Path) -> Iterator[Callable[[str], pathlib.Path]]:
    """Mounts a file system in memory with some options; the test is skipped where that is not allowed."""
    folder = tmp_path / "mounted"

    def make(options: str) -> pathlib.Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("may not mount a file system here; root in a container that allows it may")
        return folder

    yield make
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)
