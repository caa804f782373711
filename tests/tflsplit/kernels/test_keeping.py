import dataclasses
import json
from pathlib import Path

import pytest

from tflsplit import processor
from tflsplit.kernels import keeping, probe
from tflsplit.kernels.classes import KernelClass

CLASS = KernelClass("ai-edge-litert 2.3.0", "x86_64", True, {"CONV_2D/int8": "00000001", "SOFTMAX/int8": "00000002"})


def measured(found: KernelClass = CLASS):
    """As `probe.measure`; counts how often it is asked."""

    def measure() -> KernelClass:
        measure.times += 1
        return found

    measure.times = 0
    return measure


def test_a_class_is_measured_once(tmp_path):
    measure = measured()

    assert (
        keeping.find_in(tmp_path / "new", measure) == keeping.find_in(tmp_path / "new", measure) == keeping.Found(CLASS)
    )
    assert measure.times == 1


@pytest.mark.parametrize("what", ["runtime", "processor", "word size"])
def test_a_class_is_measured_again_when_what_it_depends_on_changes(tmp_path, monkeypatch, what):
    keeping.find_in(tmp_path, measured())
    changed = {
        "runtime": (probe, "runtime_version", lambda: "ai-edge-litert 9.9"),
        "processor": (processor, "identity", lambda: "another"),
        "word size": (processor, "machine", lambda: "armv7l"),
    }
    monkeypatch.setattr(*changed[what])
    measure = measured()

    assert keeping.find_in(tmp_path, measure).change == ""
    assert measure.times == 1


def test_a_change_between_two_starts_is_said(tmp_path, monkeypatch):
    keeping.find_in(tmp_path, measured())
    monkeypatch.setattr(probe, "runtime_version", lambda: "ai-edge-litert 9.9")
    now = dataclasses.replace(
        CLASS, runtime="ai-edge-litert 9.9", operators={**CLASS.operators, "SOFTMAX/int8": "0000000a"}
    )

    found = keeping.find_in(tmp_path, measured(now))

    assert found == keeping.Found(now, before=CLASS)
    assert found.change == (
        f"this machine's kernels changed since the last start, from {CLASS} to {now}: differs in SOFTMAX/int8"
    )
    assert keeping.find_in(tmp_path, measured()) == keeping.Found(now)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"key": 3, "class": {}}',
        json.dumps({"key": "x", "class": CLASS.as_json() | {"id": "00000000"}}),
        "\x00" * 100,
    ],
    ids=range(7),
)
def test_a_damaged_file_is_measured_anew(tmp_path, text):
    (tmp_path / keeping.FILE).write_text(text)

    assert keeping.find_in(tmp_path, measured()) == keeping.Found(CLASS)
    assert keeping.find_in(tmp_path, measured(dataclasses.replace(CLASS, machine="kept"))) == keeping.Found(CLASS)


def test_a_folder_that_cannot_be_written_is_no_failure():
    assert keeping.find_in(Path("/proc/nowhere"), measured()) == keeping.Found(CLASS)


def test_a_folder_is_left_without_partial_files(tmp_path):
    (tmp_path / keeping.FILE).mkdir()

    assert keeping.find_in(tmp_path, measured()) == keeping.Found(CLASS)
    assert [file.name for file in tmp_path.iterdir()] == [keeping.FILE]


def test_nothing_found_out_is_not_kept(tmp_path):
    keeping.find_in(tmp_path, measured(dataclasses.replace(CLASS, operators={})))

    assert not list(tmp_path.iterdir())


def test_the_folder_is_the_services_or_the_users(tmp_path):
    assert keeping.folder({"CACHE_DIRECTORY": "/var/cache/a:/var/cache/b", "HOME": "/root"}) == Path("/var/cache/a")
    assert keeping.folder({"XDG_CACHE_HOME": "/elsewhere", "HOME": "/root"}) == Path("/elsewhere/tflsplit")
    assert keeping.folder({"XDG_CACHE_HOME": "relative", "HOME": "/root"}) == Path("/root/.cache/tflsplit")


def test_this_machine_has_a_class(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keeping.find.cache_clear()

    assert keeping.here().operators
    assert (tmp_path / "tflsplit" / keeping.FILE).exists()
    keeping.find.cache_clear()
