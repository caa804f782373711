"""What an extra asks for here, and a command that installs it without asking an index for our name."""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import zipfile

import pytest

from tflsplit import extras, processor

CHECKOUT = pathlib.Path(__file__).parents[2]
DECLARED = (
    "numpy>=1.26",
    "paho-mqtt>=2.1; extra == 'edge'",
    "ai-edge-litert>=1.4; (platform_machine != 'armv7l') and extra == 'edge'",
    "tomli>=2; (python_version < '3.11') and extra == 'edge'",
    "tensorflow>=2.19; (python_version < '3.14') and extra == 'convert'",
)


@pytest.mark.parametrize(
    ("environment", "applying"),
    [
        ({"python_version": "3.13", "platform_machine": "x86_64"}, {"paho-mqtt", "ai-edge-litert"}),
        ({"python_version": "3.10", "platform_machine": "aarch64"}, {"paho-mqtt", "ai-edge-litert", "tomli"}),
        ({"python_version": "3.11", "platform_machine": "armv7l"}, {"paho-mqtt"}),
    ],
)
def test_markers_say_what_applies_on_a_machine(environment, applying):
    found = extras.requirements("edge", DECLARED, environment)

    assert {one.distribution for one in found} == {"paho-mqtt", "ai-edge-litert", "tomli"}
    assert {one.distribution for one in found if one.applies} == applying


def test_a_checkout_is_named_with_its_extra():
    words = shlex.split(extras.install("edge"))

    assert words[:2] == ["pip", "install"]
    assert words[-1].endswith("[edge]")
    assert words[-1] != "tflsplit[edge]"


# Says the command for an extra where nothing but our package is to be found, beside records of how it was installed.
ELSEWHERE = "import sys; sys.path.insert(0, sys.argv[1]); from tflsplit import extras; print(extras.install('edge'))"


@pytest.mark.parametrize("is_there", [True, False])
def test_an_installed_wheel_is_named_while_it_is_there_and_else_the_libraries(tmp_path, is_there):
    site, wheel = tmp_path / "site", tmp_path / "a folder" / "tflsplit-1.whl"
    record = site / "tflsplit-1.dist-info"
    (site / "tflsplit").mkdir(parents=True)
    for name in ("__init__", "extras", "processor"):
        source = (extras.Path(extras.__file__).parent / f"{name}.py").read_text()
        (site / "tflsplit" / f"{name}.py").write_text(source)
    record.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in (*DECLARED, "absent-library>=7; extra == 'edge'"))
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tflsplit\nVersion: 1\n{needs}")
    (record / "direct_url.json").write_text(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    if is_there:
        wheel.parent.mkdir()
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("x", b"")
    said = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, site], capture_output=True, text=True, check=True, env={"PYTHONSAFEPATH": "1"}
    ).stdout

    words = shlex.split(said)
    if is_there:
        assert words == ["pip", "install", f"{wheel}[edge]"]
    else:
        assert "absent-library>=7" in words
        assert not [word for word in words if word.startswith("tflsplit")]


@pytest.mark.parametrize(("library", "extra"), extras.MODULES.values(), ids=extras.MODULES)
def test_the_extra_that_is_named_brings_the_library(library, extra):
    listed = (CHECKOUT / "pyproject.toml").read_text("utf-8").split(f"\n{extra} = [", 1)[1].split("\n]")[0]

    assert re.search(rf'^    "{library}\b', listed, re.IGNORECASE | re.MULTILINE)


def test_a_library_without_a_release_for_this_python_is_not_said_to_be_installable(monkeypatch):
    monkeypatch.setattr(extras, "_declared", lambda: ("tensorflow>=2.19; python_version < '3' and extra == 'convert'",))

    assert "has no release for Python" in extras.need("converting", "tensorflow")
    assert "pip install" not in extras.need("converting", "tensorflow")


@pytest.mark.parametrize(("is_64_bit", "applies"), [(True, True), (False, False)])
def test_a_32_bit_python_under_a_64_bit_kernel_is_a_32_bit_machine(monkeypatch, is_64_bit, applies):
    """As Raspberry Pi OS of 32 bits runs on a Pi 4: its kernel says aarch64, for which there is an interpreter."""
    found = processor.machine("aarch64", is_64_bit=is_64_bit)
    monkeypatch.setattr(processor, "machine", lambda: found)

    (litert,) = (one for one in extras.requirements("edge", DECLARED) if one.distribution == "ai-edge-litert")

    assert litert.applies is applies
