"""The demo's files for who goes through its steps by hand, and what is said to be typed next."""

import sys

import numpy as np
import pytest
from PIL import Image

from tflsplit.cli.commands import demo
from tflsplit.cli.trials import demo_files


def test_its_files_are_those_that_the_demo_runs_on(typed, tmp_path):
    folder = tmp_path / "a folder"
    shown = typed("demo", "--unpack", folder)
    shipped = demo_files.data()

    assert (shown.code, str(folder) in shown.out) == (0, True)
    assert np.array_equal(np.load(folder / "calibration.npy"), shipped["calibration"])
    assert (folder / "labels.txt").read_text().split() == list(demo_files.LABELS)
    pictures = sorted((folder / "pictures").iterdir())
    assert len(pictures) == 20
    for number, path in enumerate(pictures):
        assert path.stem == f"{number:02}-is-{shipped['test_labels'][number]}"
        assert np.array_equal(np.asarray(Image.open(path)), shipped["test_images"][number][:, :, 0])


def test_files_that_are_there_are_not_touched(typed, tmp_path):
    (tmp_path / "mine").write_text("mine")
    refused = typed("demo", "--unpack", tmp_path)

    assert (refused.code, "exists already" in refused.err) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("given", [("--serve", "0", "--json"), ("--unpack", "x", "--json")])
def test_one_way_at_a_time(typed, given):
    assert typed("demo", *given).code == 2


def test_the_next_step_begins_with_what_makes_the_command_one(monkeypatch, tmp_path):
    ours = tmp_path / "env" / "bin"
    ours.mkdir(parents=True)
    for name in ("activate", "tflsplit", "python"):
        (ours / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(ours / "python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert demo.activation() == "\n  . env/bin/activate"

    monkeypatch.setenv("PATH", str(ours))
    assert demo.activation() == ""
