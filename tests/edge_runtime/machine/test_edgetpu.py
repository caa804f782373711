"""What is found of Edge TPUs in file trees as the kernel makes them, and of libraries built here.

No Edge TPU was at hand: the trees, versions and package names are those that people show in public.
"""

import os
import shutil
import subprocess

import pytest

from edge_runtime.machine import edgetpu
from tflsplit.findings import State

GOOGLES_BUILD = "BuildLabel(COMPILER=6.3.0 20170516,DATE=redacted,TIME=redacted), RuntimeVersion(14)"
COMMUNITY_BUILD = "BuildLabel(COMPILER=12.2.0,DATE=Sep 17 2025,TIME=09:51:57), RuntimeVersion(14)"
BOTH_RULES = "".join(line.strip(" '\\") + "\n" for line in edgetpu.UDEV_RULE.splitlines() if "SUBSYSTEM" in line)


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def plug(tmp_path):
    """Plugs a USB Coral in, by identity and speed."""

    def make(vendor, product, speed, port="2-1"):
        device = tmp_path / "sys/bus/usb/devices" / port
        facts = {"idVendor": vendor, "idProduct": product, "speed": speed, "busnum": 2, "devnum": 7}
        for name, text in facts.items():
            write(device / name, f"{text}\n")
        write(tmp_path / "dev/bus/usb/002/007", "")
        return tmp_path

    return make


@pytest.fixture
def build_in(tmp_path):
    """Builds an Edge TPU in on PCIe, at a temperature."""

    def make(temperature_c):
        write(tmp_path / "dev/apex_0", "")
        write(tmp_path / "sys/class/apex/apex_0/temp", f"{temperature_c * 1000}\n")
        write(tmp_path / "sys/class/apex/apex_0/trip_point0_temp", "84800\n")
        return tmp_path

    return make


def is_shut(_node):
    return False


def test_machine_without_devices_has_nothing_wrong(tmp_path):
    found = edgetpu.usb(tmp_path), edgetpu.udev_rule(tmp_path), edgetpu.pcie(tmp_path)

    assert [finding.state for finding in found] == [State.INFO] * 3


def test_other_usb_devices_are_no_corals(plug):
    assert edgetpu.usb_corals(plug("18d1", "4ee7", 480)) == ()


@pytest.mark.parametrize(
    ("plugged", "state", "detail", "remedy"),
    [
        (("1a6e", "089a", 480), State.OK, "port 2-1 at 480 Mbit/s, not used since plugged in", None),
        (("18d1", "9302", 5000), State.OK, "port 2-1 at 5000 Mbit/s, used since plugged in", None),
        (("18d1", "9302", 480), State.WRONG, "on USB 2: port 2-1", "USB 3 port"),
    ],
)
def test_usb_coral_is_judged_by_its_speed_once_it_was_used(plug, plugged, state, detail, remedy):
    found = edgetpu.usb(plug(*plugged))

    assert found.state is state
    assert found.detail.endswith(detail)
    assert remedy is None or remedy in found.remedy


def test_usb_coral_without_permission_needs_the_rule_or_where_it_is_there_the_group(plug):
    root = plug("18d1", "9302", 5000)

    found = edgetpu.usb(root, is_shut)
    assert found.state is State.WRONG
    assert str(root / "dev/bus/usb/002/007") in found.detail
    assert found.remedy == "add the udev rule (next finding)"

    write(root / "etc/udev/rules.d/99-coral.rules", BOTH_RULES)
    assert "usermod -aG plugdev" in edgetpu.usb(root, is_shut).remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_permission_is_that_of_whoever_asks(tmp_path):
    write(tmp_path / "node", "")
    assert edgetpu.may_open(tmp_path / "node")

    (tmp_path / "node").chmod(0)
    assert not edgetpu.may_open(tmp_path / "node")


def test_udev_rule_is_missing_once_a_coral_is_plugged_in(plug):
    found = edgetpu.udev_rule(plug("1a6e", "089a", 5000))

    assert found.state is State.MISSING
    for word in ("1a6e", "089a", "18d1", "9302", 'GROUP="plugdev"'):
        assert word in found.remedy


@pytest.mark.parametrize(
    ("rules", "state"),
    [
        (BOTH_RULES, State.OK),
        # Google's package names the vendors alone.
        (
            'SUBSYSTEM=="usb",ATTRS{idVendor}=="1a6e",GROUP="plugdev"\nSUBSYSTEM=="usb",ATTRS{idVendor}=="18d1"\n',
            State.OK,
        ),
        (BOTH_RULES.splitlines()[0], State.WRONG),
        (BOTH_RULES.splitlines()[1], State.WRONG),
        ("".join(f"#{line}\n" for line in BOTH_RULES.splitlines()), State.INFO),
        ('ATTRS{idVendor}=="18d1", ATTRS{idProduct}=="4ee7", GROUP="plugdev"\n', State.INFO),
    ],
)
def test_udev_rule_must_cover_both_identities(tmp_path, rules, state):
    write(tmp_path / "usr/lib/udev/rules.d/60-libedgetpu1-std.rules", rules)

    assert edgetpu.udev_rule(tmp_path).state is state


def test_remedy_for_the_udev_rule_does_what_it_says_when_pasted_with_its_indentation(tmp_path):
    write(tmp_path / "bin/sudo", '#!/bin/sh\n[ "$1" = tee ] && exec tee "$ROOT$2" >/dev/null\n:\n')
    (tmp_path / "bin/sudo").chmod(0o755)
    (tmp_path / "etc/udev/rules.d").mkdir(parents=True)
    pasted = "\n".join(f"          {line}" for line in edgetpu.UDEV_RULE.splitlines())

    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "ROOT": str(tmp_path)}
    subprocess.run(["sh", "-c", pasted], env=environment, check=True)

    assert edgetpu.udev_rule(tmp_path).state is State.OK


def test_apex_is_shown_with_its_temperature(build_in):
    found = edgetpu.pcie(build_in(47))

    assert (found.state, found.detail) == (State.OK, "apex_0 at 47 °C")


@pytest.mark.parametrize(
    ("temperature_c", "opens", "detail", "remedy"),
    [
        (91, edgetpu.may_open, "too hot: apex_0", "cool it"),
        (47, is_shut, "apex_0 at 47 °C; cannot be opened", 'GROUP="apex"'),
    ],
)
def test_apex_that_is_slowed_down_or_may_not_be_opened_is_wrong(build_in, temperature_c, opens, detail, remedy):
    found = edgetpu.pcie(build_in(temperature_c), opens)

    assert found.state is State.WRONG
    assert detail in found.detail
    assert remedy in found.remedy


def test_apex_without_a_temperature_is_not_called_cold(tmp_path):
    write(tmp_path / "dev/apex_0", "")

    assert edgetpu.pcie(tmp_path).detail == "apex_0, temperature unknown"


def test_edge_tpu_on_pcie_without_a_driver_is_missing_it(tmp_path):
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/vendor", "0x1ac1\n")
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/device", "0x089a\n")

    found = edgetpu.pcie(tmp_path)

    assert found.state is State.MISSING
    assert "gasket-dkms" in found.remedy


@pytest.fixture
def compile_library(tmp_path):
    """Compiles a shared library that answers as an Edge TPU library does."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed: apt install gcc")

    def make(source, *flags):
        (tmp_path / "library.c").write_text(source)
        file = tmp_path / "libedgetpu.so.1"
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", file, tmp_path / "library.c", *flags], check=True)
        return str(file)

    return make


@pytest.fixture
def dpkg_query(tmp_path):
    """A dpkg-query that knows the file as one of this package; of None, as nobody's."""

    def make(package):
        file = tmp_path / "dpkg-query"
        owner = f'echo "{package.split()[0]}:amd64: $2"' if package else "exit 1"
        file.write_text(f'#!/bin/sh\nif [ "$1" = -S ]; then {owner}; else printf %s "{package}"; fi\n')
        file.chmod(0o755)
        return str(file)

    return make


def answers(version):
    return f'const char* edgetpu_version(void) {{ return "{version}"; }}'


@pytest.mark.parametrize(
    ("version", "package", "judged"),
    [
        (COMMUNITY_BUILD, "libedgetpu1-max 16.0TF2.19.1-1", (State.OK, "built with TensorFlow 2.19")),
        (GOOGLES_BUILD, "libedgetpu1-std 16.0", (State.WRONG, "Google's build of 2021")),
        (GOOGLES_BUILD, None, (State.WRONG, "Google's build of 2021")),
        (COMMUNITY_BUILD, None, (State.INFO, "unknown which TensorFlow it was built with")),
    ],
)
def test_edge_tpu_library_is_judged_by_its_package_and_its_build(compile_library, dpkg_query, version, package, judged):
    found = edgetpu.library(is_wanted=True, name=compile_library(answers(version)), dpkg_query=dpkg_query(package))

    assert (found.state, found.detail.partition(":")[0].partition(",")[0]) == judged
    assert version in found.detail


@pytest.mark.parametrize(("is_wanted", "state"), [(True, State.MISSING), (False, State.INFO)])
def test_edge_tpu_library_is_missed_where_there_is_a_device_for_it(is_wanted, state):
    found = edgetpu.library(is_wanted=is_wanted, name="libedgetpu-of-nobody.so.1")

    assert found.state is state
    assert "is not installed" in found.detail


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (
            "__attribute__((constructor)) static void crash(void) { __builtin_trap(); }",
            "ended its process with status -",
        ),
        ("int other;", "undefined symbol: edgetpu_version"),
    ],
)
def test_library_that_crashes_or_is_no_edge_tpu_library_is_wrong(compile_library, source, detail):
    found = edgetpu.library(is_wanted=True, name=compile_library(source))

    assert found.state is State.WRONG
    assert detail in found.detail


def test_edge_tpu_library_without_libusb_names_libusb(compile_library, tmp_path):
    (tmp_path / "usb.c").write_text("int usb(void) { return 0; }")
    usb = tmp_path / "libusb-1.0.so.7"
    subprocess.run(["gcc", "-shared", "-Wl,-soname,libusb-1.0.so.7", "-o", usb, tmp_path / "usb.c"], check=True)
    file = compile_library("int usb(void); int use(void) { return usb(); }", str(usb))
    usb.unlink()

    found = edgetpu.library(is_wanted=True, name=file)

    assert found.state is State.WRONG
    assert "libusb-1.0.so.7: cannot open shared object file" in found.detail
    assert "apt install libusb-1.0-0" in found.remedy


def test_pycoral_without_edgetpu_is_the_wrong_one(tmp_path):
    assert edgetpu.pycoral([str(tmp_path)]).state is State.INFO

    write(tmp_path / "pycoral/__init__.py", "")
    found = edgetpu.pycoral([str(tmp_path)])
    assert found.state is State.WRONG
    assert "pip uninstall pycoral" in found.remedy

    write(tmp_path / "pycoral/utils/edgetpu.py", "")
    assert edgetpu.pycoral([str(tmp_path)]).state is State.OK
