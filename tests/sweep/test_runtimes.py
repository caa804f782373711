"""The runtimes that are supported, each in a throw-away environment: both ends of LiteRT's range, and tflite-runtime.

With LiteRT the tests run there that touch the runtime and convert nothing. With each, heads there are compared with
heads here: those that are called exact are so, and of the others some differ.
"""

import re
import subprocess

import across
import known_classes
import pytest
import said_and_shown
import zoo

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1800)]

OLDEST, BELOW = known_classes.supported()
ENDS = {"the oldest": f"=={OLDEST}.*", "the newest": f">={OLDEST},<{BELOW}"}

SUITE = ("tests/tflsplit/graph", "tests/tflsplit/package", "tests/tflsplit/kernels", "tests/edge_runtime/test_loop.py")
TOOLS = (
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "hypothesis",
    "click",
    "paho-mqtt",
    "zstandard",
    "pillow",
    "cryptography",
)
# One needs TensorFlow. LiteRT 1.4 aborts at one of 400 damaged models, as any may at one that nobody thought of: for
# this a model of strangers is tried in a process of its own.
LEFT_OUT = "not what_was_converted_here and not hundreds_of_mutants"
SAMPLES = 20
PACKAGES = ("digits", "mobilenet_v1_uint8", "attention")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """A Python with a runtime; each is installed once."""
    made = {}

    def python(which):
        if which not in made:
            runtime = known_classes.RUNTIMES["tflite-runtime 2.14.0"]
            wanted = runtime if which == said_and_shown.STANDS_IN else (f"ai-edge-litert{ENDS[which]}", "numpy")
            try:
                made[which] = known_classes.environment(tmp_path_factory.mktemp("runtime") / "venv", (*wanted, *TOOLS))
            except known_classes.NotInstallableError as reason:
                pytest.skip(f"{which} cannot be installed here: {reason}")
        return made[which]

    return python


@pytest.fixture(scope="module")
def zoo_package(tmp_path_factory, public_models):
    """A package of a kind; each is converted once."""
    folder, made = tmp_path_factory.mktemp("zoo"), {}

    def zoo_package(name):
        if name not in made:
            made[name] = zoo.make(name, folder, public_models)
        if made[name] is None:
            pytest.skip(f"no public model {zoo.KINDS[name].public}; TFLSPLIT_TEST_DATA names their folder")
        return made[name]

    return zoo_package


@pytest.mark.parametrize("which", ENDS)
def test_the_suite_passes_with_both_ends_of_litert(python, which):
    words = (python(which), "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE, "-k", LEFT_OUT)
    done = subprocess.run(words, cwd=known_classes.CHECKOUT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 200


@pytest.mark.parametrize("which", [*ENDS, said_and_shown.STANDS_IN])
@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_said_of_a_runtime_is_what_its_heads_show(python, zoo_package, tmp_path, name, which):
    there = python(which)

    rows = list(
        said_and_shown.compared(
            *(zoo_package(name), across.Here(tmp_path, there), known_classes.class_of(there)),
            here=across.Here(tmp_path),
            name=which,
            count=SAMPLES,
        )
    )

    assert rows
    assert not [row for row in rows if row.is_said_exact and row.boundaries]
    others = [row for row in rows if not row.is_said_exact]
    assert not others or any(row.boundaries for row in others)
