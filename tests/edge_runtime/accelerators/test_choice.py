"""What may be written after --accelerator, and what it means."""

import ast
import pathlib

import pytest
import tiny_models

from edge_runtime.accelerators import choice
from edge_runtime.accelerators.coral import Coral
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.delegate import Delegate
from tflsplit import errors
from tflsplit.cli.options import accelerator as options_accelerator

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("cpu", Cpu(2)),
        ("cpu?cores=0-2,5", Cpu(2, frozenset({0, 1, 2, 5}))),
        ("coral", Coral(threads=2)),
        ("coral:usb", Coral("usb", threads=2)),
        ("coral:usb:0", Coral("usb:0", threads=2)),
        ("coral:pci:1", Coral("pci:1", threads=2)),
        ("coral:1", Coral(":1", threads=2)),
        ("coral:usb:0?Performance=Max", Coral("usb:0", {"Performance": "Max"}, threads=2)),
        ("delegate:/usr/lib/libvx_delegate.so", Delegate("/usr/lib/libvx_delegate.so", threads=2)),
        ("delegate:libx.so?a=1&b=", Delegate("libx.so", {"a": "1", "b": ""}, threads=2)),
    ],
)
def test_a_name_means_an_accelerator(text, meant):
    assert choice.parse(text, threads=2) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tpu",
        "cpu:0",
        "cpu?cores=",
        "cpu?cores=3-1",
        "cpu?cores=0-99999",
        "cpu?threads=2",
        "coral:",
        "coral:gpu",
        "coral:usb:x",
        "coral?Performance=Max",
        "coral:usb:0?device=pci",
        "delegate:",
        "delegate:x.so?a",
        "delegate:x.so?a=1&a=2",
    ],
)
def test_what_names_none_is_refused_in_one_line(text):
    with pytest.raises(errors.SettingsError) as refused:
        choice.parse(text)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("device", ["", "usb", "usb:0", "pci:1", ":1"])
def test_a_coral_is_called_as_it_was_asked_for(device):
    name = Coral(device).name

    assert choice.parse(name) == Coral(device)


def test_auto_is_the_cpu_where_nothing_is_compiled():
    assert choice.automatic(is_compiled=False) == (Cpu(), "the head is not compiled for the Edge TPU")


def test_auto_is_the_cpu_where_no_edge_tpu_answers_and_says_why():
    def refuses(wanted):
        raise errors.DeviceError("no Edge TPU here")

    assert choice.automatic(is_compiled=True, probe=refuses) == (Cpu(), "no Edge TPU here")


def test_auto_is_the_edge_tpu_that_answers():
    accelerator, _ = choice.automatic(is_compiled=True, probe=lambda wanted: None)

    assert accelerator == Coral()


def test_nothing_in_a_package_can_name_a_library_to_load(residual_model, tmp_path):
    named = "delegate:/tmp/evil.so"
    opened = tiny_models.write_package(tmp_path / "p.tflsplit", residual_model, target=named, name=named)

    assert options_accelerator.resolve(opened, opened.cuts[1], choice.AUTO) == Cpu(1)


def test_libraries_to_load_come_from_the_caller_and_the_configuration_alone():
    """Not from a message, a package or a plan: whoever parses those has no way to a delegate."""
    allowed = {
        "edge_runtime/accelerators/choice.py",
        "edge_runtime/accelerators/coral.py",  # a fixed name
        "edge_runtime/service/permissions.py",  # the unit's rights, from the configuration
        "tflsplit/api/accelerators.py",  # what a person calls or types
        "tflsplit/cli/commands/accelerator.py",  # what a person types
        "tflsplit/cli/settings/edge_checks.py",  # checks the configuration
        "tflsplit/cli/streams/members.py",  # what stands in the configuration
    }
    leading = {
        str(file.relative_to(CHECKOUT))
        for package in ("tflsplit", "edge_runtime", "broker")
        for file in (CHECKOUT / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("choice.parse", "Delegate", "delegate.Delegate")
    }

    assert "tflsplit/api/accelerators.py" in leading
    assert leading <= allowed
