"""What an edge keeps of its inputs and models is nobody else's to read, whatever the umask and whoever made it."""

import os
import stat

import pytest

from edge_runtime.monitoring.frame_trace import Trace
from edge_runtime.storage.database import Database
from edge_runtime.updates.store import Store


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def others(path):
    return stat.S_IMODE(path.stat().st_mode) & 0o007


@pytest.mark.parametrize("was_there", [False, True])
def test_the_spool_and_its_log(tmp_path, was_there):
    path = tmp_path / "frames.sqlite"
    if was_there:
        path.touch(0o666)
    database = Database(path)
    database.set_fact("a", "b")
    kept = list(tmp_path.iterdir())
    assert [file for file in kept if others(file)] == []
    assert len(kept) > 1
    database.close()


@pytest.mark.parametrize("was_there", [False, True])
def test_the_trace(tmp_path, was_there):
    if was_there:
        (tmp_path / "trace").touch(0o644)
    with Trace(tmp_path / "trace", limit_bytes=1 << 20):
        assert not others(tmp_path / "trace")


@pytest.mark.parametrize("was_there", [False, True])
def test_the_models(tmp_path, was_there):
    if was_there:
        (tmp_path / "models").mkdir(0o755)
    Store(tmp_path / "models").close(is_good_end=True)
    assert not others(tmp_path / "models")


def test_what_a_group_was_given_it_keeps(tmp_path):
    (tmp_path / "trace").touch(0o664)
    with Trace(tmp_path / "trace", limit_bytes=1 << 20):
        assert stat.S_IMODE((tmp_path / "trace").stat().st_mode) == 0o660
