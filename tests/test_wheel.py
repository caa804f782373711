"""The wheel: what is in it, and that it works where nothing of this checkout is in reach."""

import json
import pathlib
import subprocess
import sys
import venv
import zipfile

import numpy as np
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = {"tflsplit", "converters", "edge_runtime", "broker"}
DATA_FILES = ("tflsplit/demo/digits.h5", "tflsplit/demo/digits.npz", "tflsplit/kernels/probe.zip")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The `bin` of a new environment with the wheel; only the dependencies come from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel, folder=folder)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, but its own .pth files, an editable install among them, are not read.
    (site_packages / "dependencies.pth").write_text(str(pathlib.Path(np.__file__).parents[1]))
    return folder / "bin"


def run(*command: str | pathlib.Path, folder: pathlib.Path) -> str:
    child = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


def test_the_wheel_brings_four_packages_and_nothing_else(wheel: pathlib.Path) -> None:
    top = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == PACKAGES


def test_a_32_bit_system_is_refused_by_the_name_of_the_wheel_and_not_by_a_library(
    wheel: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """What pip says there, whose own platform the kernel does not decide."""
    asked = ("--platform", "manylinux_2_36_armv7l", "--only-binary", ":all:", "--no-index", "--target", str(tmp_path))
    command = [sys.executable, "-m", "pip", "install", "--dry-run", *asked, f"{wheel}[edge]"]
    child = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (said,) = (line for line in child.stderr.splitlines() if line.startswith("ERROR"))
    assert said == f"ERROR: {wheel.name} is not a supported wheel on this platform."


def test_the_wheel_has_every_module_of_the_checkout(wheel: pathlib.Path) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    modules = {str(file.relative_to(CHECKOUT)) for name in PACKAGES for file in (CHECKOUT / name).rglob("*.py")}

    assert shipped == modules


def test_the_wheel_has_the_demo_and_the_licence(wheel: pathlib.Path) -> None:
    archive = zipfile.ZipFile(wheel)

    for name in DATA_FILES:
        assert archive.read(name) == (CHECKOUT / name).read_bytes()
    (licence,) = (name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
    assert archive.read(licence) == (CHECKOUT / "LICENSE").read_bytes()


def test_the_installed_packages_are_found_and_so_are_their_data(
    environment: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    program = (
        "import importlib, importlib.resources, json\n"
        f"files = [importlib.import_module(name).__file__ for name in {sorted(PACKAGES)}]\n"
        "top = importlib.resources.files('tflsplit').parent\n"
        f"sizes = [len((top / name).read_bytes()) for name in {DATA_FILES}]\n"
        "print(json.dumps([files, sizes]))"
    )
    files, sizes = json.loads(run(environment / "python", "-c", program, folder=tmp_path))

    assert {pathlib.Path(file).is_relative_to(environment.parent) for file in files} == {True}
    assert sizes == [(CHECKOUT / name).stat().st_size for name in DATA_FILES]


def test_the_installed_command_converts_and_verifies_the_demo_model(
    environment: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    with np.load(CHECKOUT / DATA_FILES[1]) as data:
        np.save(tmp_path / "calibration.npy", data["calibration"][:16])
    assert "convert" in run(environment / "tflsplit", "--help", folder=tmp_path)

    options = ("-o", "digits.tflsplit", "--calibration", "calibration.npy", "--preprocess", "unit")
    run(environment / "tflsplit", "convert", CHECKOUT / DATA_FILES[0], *options, folder=tmp_path)
    verify = ("verify", "digits.tflsplit", "--samples", "2", "--cuts", "useful", "--json")
    report = json.loads(run(environment / "tflsplit", *verify, folder=tmp_path))

    assert report["bit_exact"] is True
    assert report["mismatches"] == []
