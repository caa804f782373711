"""Whenever the power fails, the previous or the new model runs, complete."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
import updatable

from broker.messages.updates import Offer, Signed, State, sha256
from edge_runtime.updates import store
from tflsplit import errors
from tflsplit.package import reading

DYING = """
import json, os, pathlib, shutil, signal, sys
sys.path.insert(0, sys.argv[2])
from broker.messages.updates import Signed
from edge_runtime.updates import store
from edge_runtime.updates.download import Download
from tflsplit.package import reading

base = pathlib.Path(sys.argv[1])
old, new = (Signed((base / name).read_bytes(), b"") for name in ("old.json", "new.json"))

def dying(at):
    left = [at]
    def wrap(function):
        def counted(*given, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **options)
        return counted
    for module, name in ((os, "fsync"), (os, "rename"), (os, "replace"), (os, "symlink"), (os, "unlink"),
                         (os, "mkdir"), (os, "rmdir"), (shutil, "rmtree")):
        setattr(module, name, wrap(getattr(module, name)))

def until_killed(step):
    for at in range(1, 1000):
        place = base / f"{at}"
        place.mkdir()
        child = os.fork()
        if child == 0:
            step(place, at)
            os._exit(0)
        is_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        yield place, is_killed
        shutil.rmtree(place)
        if not is_killed:
            return
"""

# Receives `new` in chunks of 500 bytes, and goes on after each kill with what is there.
RECEIVING = (
    DYING
    + """
def lacking(place, folder):
    download = Download(folder, new.offer(), {})
    taken = 0
    while (lack := download.lack) is not None:
        data = (base / "new" / lack.path).read_bytes()[lack.have : lack.have + 500]
        download.append(data)
        taken += len(data)
    return taken, reading.open_package(download.finish()).digest

def receive(place, at):
    (place / "in").mkdir()
    dying(at)
    lacking(place, place / "in")

for place, is_killed in until_killed(receive):
    taken, digest = lacking(place, place / "in")
    print(json.dumps({"killed": is_killed, "taken": taken, "digest": digest}))
"""
)

# Installs `new` over `old`, keeps it or rolls it back, and dies at the N-th change of the disk; then looks what a start
# finds. All in children of one process, so that its imports are paid for once.
KILLED = (
    DYING
    + """
def install(place, at, ending):
    kept = store.Store(place / "models")
    kept.begin()
    dying(at)
    kept.note(serial=2, offer=new.id)
    kept.add(new, place / "models" / "incoming" / "new")
    kept.put_on_probation(kept.open(store.name_of(new.offer())))
    kept.keep() if ending == "keep" else kept.roll_back("it failed")
    kept.close(is_good_end=True)

def prepared(place):
    kept = store.Store(place / "models")
    for signed, name in ((old, "old"), (new, "new")):
        (place / "models" / "incoming").mkdir(exist_ok=True)
        shutil.copytree(base / name, place / "models" / "incoming" / name)
        if name == "old":
            kept.add(signed, place / "models" / "incoming" / name)
            kept.put_on_probation(kept.open(store.name_of(old.offer())))
            kept.keep()
    kept.close(is_good_end=True)

def begun(place, ending, at):
    prepared(place)
    install(place, at, ending)

for ending in ("keep", "roll back"):
    for place, is_killed in until_killed(lambda place, at: begun(place, ending, at)):
        kept = store.Store(place / "models")
        found = kept.begin()
        kept.close(is_good_end=True)
        again = store.Store(place / "models")
        same = again.begin()
        again.close(is_good_end=True)
        print(json.dumps({"ending": ending, "killed": is_killed, "found": found.name,
                          "again": same.name, "state": kept.record.state.value,
                          "left": sorted(p.name for p in (place / "models").iterdir())}))
"""
)


def offer_of(made, serial, cut="op000"):
    text = (made.path / reading.MANIFEST).read_bytes()
    total = len(text) + sum(file.bytes for file in made.manifest.files.values())
    return Signed(Offer("d", "n", made.digest, "tiny", cut, sha256(text), len(text), total, serial).text(), b"")


@pytest.fixture
def bundles(field, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for number, (name, whole) in enumerate((("old", field.old), ("new", field.new)), start=1):
        made = updatable.edge_bundle(whole, base / name)
        (base / f"{name}.json").write_bytes(offer_of(made, number).text)
    return base


def said_by(script, bundles):
    """In memory where there is such a folder: a hundred updates wait for the disk two thousand times."""
    memory = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        shutil.copytree(bundles, folder, dirs_exist_ok=True)
        command = [sys.executable, "-c", script, folder, updatable.SUPPORT]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_kill_during_a_download_costs_at_most_one_file(bundles, field):
    seen = said_by(RECEIVING, bundles)
    total = sum(place.stat().st_size for place in (bundles / "new").rglob("*") if place.is_file())

    assert [one["killed"] for one in seen] == [True] * (len(seen) - 1) + [False]
    assert {one["digest"] for one in seen} == {field.new.digest}
    assert seen[0]["taken"] == total
    assert any(one["taken"] < total for one in seen)


def test_a_kill_at_any_step_leaves_the_old_model_or_the_new_one(bundles):
    seen = said_by(KILLED, bundles)
    old, new = (store.name_of(Signed((bundles / name).read_bytes(), b"").offer()) for name in ("old.json", "new.json"))

    for ending in ("keep", "roll back"):
        ways = [one for one in seen if one["ending"] == ending]
        assert len(ways) > 10
        assert [one["killed"] for one in ways] == [True] * (len(ways) - 1) + [False]
        for one in ways:
            assert one["found"] == one["again"]
            assert one["found"] in (old, new)
            assert "current" in one["left"]
        found = [one["found"] for one in ways]
        assert found[0] == old
        assert found[-1] == (new if ending == "keep" else old)
        assert new in found if ending == "keep" else new not in found
        # A model that was on probation at a kill is rolled back.
        assert all(one["state"] != "probation" for one in ways)
        assert all({name for name in one["left"] if "-" in name} <= {old, new} for one in ways)


@pytest.fixture
def installed(bundles, tmp_path):
    """A store that runs `new`, with `old` before it."""
    kept = store.Store(tmp_path / "models")
    for name in ("old", "new"):
        signed = Signed((bundles / f"{name}.json").read_bytes(), b"")
        (tmp_path / "models" / "incoming").mkdir()
        kept.add(signed, (bundles / name).rename(tmp_path / "models" / "incoming" / name))
        kept.put_on_probation(kept.open(store.name_of(signed.offer())))
        kept.keep()
    kept.close(is_good_end=True)
    return tmp_path / "models"


@pytest.mark.parametrize("file", ["package/cuts/op000/head.tflite", "package/manifest.json", "offer.json"])
def test_a_damaged_model_gives_way_to_the_previous_one(field, installed, file):
    (installed / "current" / file).write_bytes(b"damaged")
    kept = store.Store(installed)
    found = kept.begin()
    kept.close(is_good_end=True)

    assert found.package.digest == field.old.digest
    assert kept.record.state is State.ROLLED_BACK
    assert "cannot be opened" in kept.record.reason


def test_if_all_are_damaged_the_edge_runs_the_package_it_was_started_with(installed):
    for head in installed.glob("*/package/cuts/op000/head.tflite"):
        head.write_bytes(b"damaged")
    kept = store.Store(installed)

    assert kept.begin() is None
    kept.close(is_good_end=True)


def test_a_damaged_record_is_refused_for_the_serial_in_it(installed):
    for text in ("", "[]", "{}", '{"schema": 9}', '{"schema": 1, "state": "odd"}'):
        (installed / "record.json").write_text(text)
        with pytest.raises(errors.DeviceError, match=r"record\.json: damaged"):
            store.Store(installed)


def test_two_edges_do_not_share_a_store(installed):
    kept = store.Store(installed)
    with pytest.raises(errors.SettingsError, match="another edge runs with it"):
        store.Store(installed)
    kept.close(is_good_end=True)
    store.Store(installed).close(is_good_end=True)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.DeviceError, match="cannot be written"):
        store.Store(tmp_path / "file" / "models")


@pytest.mark.parametrize("target", ["../elsewhere", "/etc", "record.json", ""])
def test_a_link_to_anything_but_a_model_is_none(installed, target):
    (installed / "current").unlink()
    if target:
        (installed / "current").symlink_to(target)
    kept = store.Store(installed)

    assert kept.current() is None
    assert kept.begin() is None
    kept.close(is_good_end=True)
