"""An edge on Arm, installed as docs/service.md says, and what a cloud of x86-64 makes of the same inputs."""

import contextlib
import json
import pathlib
import shutil

import across
import arm_edge
import arm_report
import booted
import pytest
import zoo

from tflsplit.kernels import classes, probe


@pytest.fixture(scope="session")
def report():
    """Collects what was found; written at the end, if it was asked for."""
    found = arm_report.Report(arm_edge.CPUS)
    yield found
    if arm_edge.REPORT and found.pairs:  # where everything is skipped the last report stays
        pathlib.Path(arm_edge.REPORT).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(arm_edge.REPORT).write_text(found.text(), "utf-8")


@pytest.fixture(scope="session")
def machine(tmp_path_factory, report):
    """The edge, installed."""
    folder = tmp_path_factory.mktemp("arm")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        try:
            edge = stack.enter_context(arm_edge.installed(folder, report))
        except booted.UnavailableError as reason:
            pytest.skip(str(reason))
        yield edge


@pytest.fixture(scope="session")
def recorded(tmp_path_factory, public_models):
    """Packages, samples and boundaries by kind, as the cloud's machine has them; each made once."""
    folder = tmp_path_factory.mktemp("packages")
    kept = {}

    def recorded(name):
        if name not in kept:
            if arm_edge.RECORDED:
                kept[name] = zoo.load(name, pathlib.Path(arm_edge.RECORDED))
            else:
                kept[name] = zoo.made(name, folder, public_models, across.Here(folder))
        if kept[name] is None:
            pytest.skip(f"no public model {zoo.KINDS[name].public}; TFLSPLIT_TEST_DATA names their folder")
        return kept[name]

    return recorded


@pytest.fixture(scope="session")
def kernel_classes(machine, report):
    """The kernel class of the cloud's machine, as "cloud", and of the edge with each processor."""
    cloud = (
        json.loads((pathlib.Path(arm_edge.RECORDED) / "class.json").read_text())
        if arm_edge.RECORDED
        else probe.measure().as_json()
    )
    found = {"cloud": cloud} | {
        cpu: json.loads(machine.run("/opt/tflsplit/venv/bin/python", "-c", arm_edge.PROBE, cpu=cpu))
        for cpu in arm_edge.CPUS
    }
    found = {name: classes.KernelClass.from_json(fields) for name, fields in found.items()}
    report.classes = found
    return found


@pytest.fixture(scope="session")
def runtimes(machine):
    """Pythons with another runtime, each made once; our packages lie unpacked beside them."""
    made = {}
    (wheel,) = machine.exchange.glob("tflsplit-*.whl")
    shutil.unpack_archive(wheel, machine.exchange / "unpacked", "zip")

    def python(runtime):
        if runtime not in made:
            made[runtime] = arm_edge.with_runtime(machine, runtime)
        return made[runtime]

    return python


@pytest.fixture(scope="session")
def bring(machine):
    """Carries a package to the edge; where it lies there."""

    def bring(package):
        place = machine.exchange / package.path.name
        if not place.exists():
            shutil.copytree(package.path, place)
        return machine.place(place)

    return bring
