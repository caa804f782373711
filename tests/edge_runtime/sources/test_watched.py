"""A folder of its own, written to as other programs do."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import tiny_models
from PIL import Image

from edge_runtime.sources import frames, watched
from edge_runtime.sources.watched import Memory
from tflsplit import errors


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def memory_of_the_test(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))


def picture(path, seed=0, age_s=60):
    """Of that age, as one that was moved here whole."""
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    now = 1_800_000_000 - age_s
    os.utime(path, (now, now))
    return path


def looked(folder, memory, wait):
    """Sizes of what comes until the folder was looked through for the last time of `wait`, and what was dropped."""
    dropped, steps = Counter(), iter(wait)

    def next_step(_):
        next(steps)()

    found = []
    try:
        for taken in watched.captures(folder, memory, lambda reason: dropped.update([reason]), next_step):
            if taken is not None:
                found.append(taken.raw.size)
    except RuntimeError:  # no more steps
        return found, dropped
    raise AssertionError


def test_files_come_oldest_first_once_each_and_after_a_restart_only_new_ones(folder, manifest):
    for name, seed, age_s in (("b.png", 1, 90), ("a.png", 2, 60), ("deeper/c.png", 3, 30), (".hidden.png", 4, 99)):
        (folder / name).parent.mkdir(exist_ok=True)
        picture(folder / name, seed, age_s)
    expected = [frames.open_source(folder / name, manifest) for name in ("b.png", "a.png", "deeper/c.png")]
    expected = [next(each.inputs()).arrays[0] for each in expected]

    def arrays(count):
        source = frames.open_source(f"watch:{folder}", manifest, reader="d/cam")
        taken = [each.arrays[0] for each in islice(source.inputs(), count)]
        source.close()
        return taken

    assert np.array_equal(arrays(2), expected[:2])
    assert np.array_equal(arrays(1), expected[2:])
    picture(folder / "new.png", 9)
    assert len(arrays(1)) == 1


def test_another_edge_has_a_memory_of_its_own_and_the_same_one_is_refused(folder, manifest):
    picture(folder / "a.png")
    first = frames.open_source(f"watch:{folder}", manifest, reader="d/cam")
    other = frames.open_source(f"watch:{folder}", manifest, reader="d/other")

    assert next(first.captures()).raw.size == next(other.captures()).raw.size == (11, 9)
    with pytest.raises(errors.SettingsError, match="watches it already"):
        frames.open_source(f"watch:{folder}", manifest, reader="d/cam")
    first.close()
    other.close()


def test_a_half_written_file_is_waited_for_and_read_whole(folder, tmp_path):
    whole = picture(tmp_path / "whole.png", 5).read_bytes()
    late = folder / "late.png"
    late.write_bytes(whole[: len(whole) // 2])

    found, dropped = looked(
        folder, Memory(folder, None), [lambda: None, lambda: late.write_bytes(whole), lambda: None, lambda: None]
    )

    assert found == [(11, 9)]
    assert not dropped


def test_what_is_no_picture_is_counted_once_and_passed_over(folder, monkeypatch):
    (folder / "notes.txt").write_text("no picture")
    picture(folder / "a.png")
    monkeypatch.setattr(watched, "_PATIENCE_S", 0.0)

    found, dropped = looked(folder, Memory(folder, None), [lambda: None] * 4)

    assert found == [(11, 9)]
    assert dropped == {"no_picture": 1}


def test_a_file_written_anew_is_a_new_one_and_names_need_not_be_text(folder, tmp_path):
    odd = folder / os.fsdecode(b"caf\xe9 \xf0.png")
    picture(odd, 1)
    file = tmp_path / "memory.jsonl"
    memory = Memory(folder, file)
    found, _ = looked(folder, memory, [lambda: None, lambda: picture(odd, 2, 10), lambda: None])
    memory.close()
    file.write_text(file.read_text() + '["cut off by a cra')

    again = Memory(folder, file)
    assert found == [(11, 9)] * 2
    assert looked(folder, again, [lambda: None] * 2) == ([], {})
    again.close()


@pytest.mark.parametrize("instant", ["os.fsync", "pathlib.Path.replace"])
def test_an_edge_that_is_killed_while_it_starts_forgets_nothing(folder, tmp_path, instant):
    picture(folder / "a.png")
    file = tmp_path / "memory.jsonl"
    memory = Memory(folder, file)
    assert looked(folder, memory, [lambda: None])[0] == [(11, 9)]
    memory.close()
    program = f"""if True:
        import os, pathlib, signal
        from edge_runtime.sources.watched import Memory
        {instant} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        Memory(pathlib.Path({str(folder)!r}), pathlib.Path({str(file)!r}))
    """
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL

    again = Memory(folder, file)
    assert looked(folder, again, [lambda: None]) == ([], {})
    again.close()


def test_a_folder_that_goes_away_and_comes_back_is_looked_through_again(folder, tmp_path):
    aside = tmp_path / "aside"

    def back():
        shutil.move(aside, folder)
        picture(folder / "a.png")

    found, dropped = looked(
        folder, Memory(folder, None), [lambda: shutil.move(folder, aside), lambda: None, back, lambda: None]
    )

    assert found == [(11, 9)]
    assert not dropped


def test_links_in_a_circle_and_what_is_no_file_are_left_alone(folder):
    (folder / "d").mkdir()
    picture(folder / "1.png")
    picture(folder / "d" / "2.png")
    (folder / "d" / "loop").symlink_to(folder)
    (folder / "gone.png").symlink_to(folder / "nothing")
    (folder / "linked.png").symlink_to(folder / "1.png")
    os.mkfifo(folder / "pipe.png")
    os.utime(folder / "pipe.png", (1, 1))

    found, dropped = looked(folder, Memory(folder, None), [lambda: None])

    assert (len(found), dropped) == (3, {})


def test_a_disk_that_is_full_costs_the_memory_and_no_picture(folder, tmp_path, caplog):
    memory = Memory(folder, tmp_path / "memory")
    memory.close()
    memory._lines = pathlib.Path("/dev/full").open("w")  # noqa: SIM115 - the memory closes it
    for number in range(3):
        picture(folder / f"{number}.png")

    found, _ = looked(folder, memory, [lambda: None, lambda: None])

    assert len(found) == 3
    assert caplog.text.count("is forgotten at the next start") == 1


def test_a_folder_that_is_not_there_is_refused(manifest, tmp_path):
    with pytest.raises(errors.DataError, match="give a folder"):
        frames.open_source(f"watch:{tmp_path}/none", manifest)
