"""Frames on disk: what stays, in which order, within which bounds, and what is refused."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from broker.messages import wire
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.framing import Packed
from edge_runtime.storage import tally
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.graph.tensors import TensorSpec

WAIT_S = 60.0
FRAME_BYTES = 1000
SPEC = TensorSpec("", (1, FRAME_BYTES), "int8", 0.5, 0)


def packed(sequence, *, boot=7, captured_ns=0, payload_bytes=FRAME_BYTES):
    spec = TensorSpec("", (1, payload_bytes), "int8", 0.5, 0)
    frame = wire.Frame(bytes(16), 3, boot, sequence, captured_ns, 1500, (spec,))
    encoded = wire.encode(frame, (np.full((1, payload_bytes), sequence % 100, np.int8),), feature_codec.Plain())
    return Packed(boot, sequence, bytes(16).hex(), "op002", captured_ns, 0.0015, encoded)


CHARGE = len(packed(0).encoded) + 64


@contextlib.contextmanager
def opened(folder, **limits):
    with spool.open_spool(folder, spool.limits(**limits), deployment="d", device="n") as found:
        yield found


def everything(found):
    """All frames, in the order in which they would be sent."""
    held, key = [], None
    while (one := found.after(key)) is not None:
        held.append(one)
        key = one.key
    return held


def fill(found, *sequences, **changes):
    return [found.put(packed(sequence, **changes)) for sequence in sequences]


def test_what_was_put_is_there_when_it_is_opened_again(tmp_path):
    with opened(tmp_path / "s") as first:
        fill(first, 0, 1, 2)
    with opened(tmp_path / "s") as second:
        held = everything(second)

        assert held == [packed(0), packed(1), packed(2)]
        assert (second.frames, second.bytes) == (3, 3 * CHARGE)


def test_runs_follow_each_other_whatever_their_boots(tmp_path):
    for boot in (2**64 - 1, 5, 0, 900):
        with opened(tmp_path / "s") as found:
            fill(found, 0, 1, boot=boot)
    with opened(tmp_path / "s") as found:
        keys = [one.key for one in everything(found)]

        assert keys == [(boot, sequence) for boot in (2**64 - 1, 5, 0, 900) for sequence in (0, 1)]
        assert [found.knows(boot) for boot in (0, 5, 6)] == [True, True, False]


def test_a_run_without_frames_is_forgotten(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, boot=1)
        found.remove(packed(0, boot=1))
        fill(found, 0, boot=2)
    with opened(tmp_path / "s") as found:
        assert (found.knows(1), found.knows(2)) == (False, True)


def test_what_is_removed_is_gone_and_may_be_removed_twice(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1)
        found.remove(packed(0))
        found.remove(packed(0))

        assert found.take((7, 1)) == packed(1)
        assert found.take((7, 1)) is None
        assert found.take((8, 1)) is None
        assert (found.frames, found.bytes) == (0, 0)
        assert found.wait_until_empty(0)
        assert found.after(None) is None


def test_who_waits_for_more_is_woken_by_the_next_frame(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0)
        assert not found.wait_for_more((7, 0), 0.0)
        woken = []
        waiting = threading.Thread(target=lambda: woken.append(found.wait_for_more((7, 0), WAIT_S)))
        waiting.start()
        fill(found, 1)
        waiting.join(WAIT_S)

        assert woken == [True]
        assert found.after((7, 0)) == packed(1)


def test_a_spool_whose_newer_frames_were_dropped_has_no_more(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1)
        found.take((7, 1))

        assert found.after((7, 0)) is None
        assert not found.wait_for_more((7, 0), 0.0)


def test_it_takes_no_more_than_its_bytes(tmp_path, caplog):
    caplog.set_level("INFO", logger=spool.__name__)
    with opened(tmp_path / "s", bytes=10 * CHARGE) as found:
        assert fill(found, *range(12)) == [True] * 10 + [False] * 2
        assert (found.frames, found.state, found.is_full) == (10, spool.State.FULL, True)
        assert not found.wait_for_room(0.0)

        found.remove(packed(0))
        assert found.wait_for_room(0.0)
        assert found.state is spool.State.ACCEPTING
        assert fill(found, 12) == [True]
    assert [record.levelname for record in caplog.records if record.name == spool.__name__] == ["WARNING", "INFO"]


def test_the_oldest_make_room_for_one(tmp_path):
    with opened(tmp_path / "s", bytes=4 * CHARGE) as found:
        fill(found, 0, 1, 2, 3)
        large = packed(4, payload_bytes=FRAME_BYTES + CHARGE)

        assert found.drop_oldest(large) == [(7, 0), (7, 1)]
        assert found.put(large)
        assert [one.sequence for one in everything(found)] == [2, 3, 4]


def test_frames_expire_by_the_time_of_their_capture(tmp_path):
    with opened(tmp_path / "s", age_s=10.0) as found:
        for second in range(5):
            fill(found, second, captured_ns=second * 10**9)

        assert found.expire(12 * 10**9) == [(7, 0), (7, 1)]
        assert found.frames == 3
    with opened(tmp_path / "s") as for_ever:
        assert for_ever.expire(10**18) == []


def test_a_frame_that_would_never_fit_is_refused(tmp_path):
    with (
        opened(tmp_path / "s", bytes=CHARGE - 1) as found,
        pytest.raises(errors.SettingsError, match=r"a frame of \d+ bytes does not fit"),
    ):
        fill(found, 0)


@pytest.mark.parametrize("wrong", [{"bytes": 0}, {"age_s": -1.0}])
def test_limits_that_cannot_be_kept_are_refused(wrong):
    with pytest.raises(errors.SettingsError):
        spool.limits(**wrong)


def test_no_other_process_may_use_it_meanwhile(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0)
        with pytest.raises(errors.SettingsError, match=r"in use by another process"), opened(tmp_path / "s"):
            pass
        fill(found, 1)
    with opened(tmp_path / "s") as again:
        assert again.frames == 2


def test_frames_of_another_device_are_not_sent_as_ours(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0)
    theirs = {"deployment": "d", "device": "m"}
    with (
        pytest.raises(errors.SettingsError, match=r"holds 1 frames of d/n, this is d/m"),
        spool.open_spool(tmp_path / "s", spool.limits(), **theirs),
    ):
        pass
    with opened(tmp_path / "s") as found:
        found.take((7, 0))
    with spool.open_spool(tmp_path / "s", spool.limits(), **theirs) as taken:
        assert taken.frames == 0


def edit(folder, *statements):
    with sqlite3.connect(folder / "frames.sqlite", isolation_level=None) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def refusal_of(folder):
    before = (folder / "frames.sqlite").read_bytes()
    with pytest.raises(errors.TflsplitError) as refused, opened(folder):
        pass
    assert (folder / "frames.sqlite").read_bytes() == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_another_schema_and_another_program_s_database_are_refused_and_left_alone(tmp_path):
    with opened(tmp_path / "newer") as found:
        fill(found, 0)
    edit(tmp_path / "newer", "PRAGMA user_version = 9")
    (tmp_path / "other").mkdir()
    edit(tmp_path / "other", "CREATE TABLE addresses (name TEXT)")

    assert "found version 9, this tflsplit reads version 1 to 2" in refusal_of(tmp_path / "newer")
    assert "a database of another program" in refusal_of(tmp_path / "other")


@pytest.mark.parametrize("damage", ["noise", "torn", "middle", "empty"])
def test_a_damaged_file_is_set_aside_and_what_it_still_holds_is_kept(tmp_path, caplog, damage):
    with opened(tmp_path / "s") as found:
        fill(found, *range(200))
    path = tmp_path / "s" / "frames.sqlite"
    data = bytearray(path.read_bytes())
    if damage == "noise":
        data[:] = os.urandom(len(data))
    elif damage == "torn":
        del data[len(data) // 2 :]
    elif damage == "middle":
        data[8192 : len(data) // 2] = bytes(len(data) // 2 - 8192)
    else:
        data.clear()
    path.write_bytes(data)

    with opened(tmp_path / "s") as found:
        kept = [one.sequence for one in everything(found)]

        assert [packed(sequence) for sequence in kept] == everything(found)
        assert len(kept) + found.damaged == 200
        assert (len(kept) > 50) == (damage in ("torn", "middle"))
        assert fill(found, 200) == [True]
    said = caplog.messages[-1]
    assert f"kept={len(kept)} lost={200 - len(kept)} missing=0000000000000007/" in said
    if damage != "empty":  # which SQLite takes for a new one: only the tally knows
        assert (tmp_path / "s" / "damaged-1" / "frames.sqlite").read_bytes() == data
    with opened(tmp_path / "s") as found:
        assert (found.frames, found.damaged) == (len(kept) + 1, 0)


def killed(folder, held):
    """The files of a spool as its process leaves them when it is killed."""
    with opened(folder) as found:
        held(found)
        shutil.copytree(folder, copy := folder.with_name("killed"))
    return copy


def filled(found):
    """60 frames accepted, of which 10 are settled, in two goes, with a checkpoint between."""
    fill(found, *range(60), payload_bytes=12_500)
    found._file._connection.execute("PRAGMA wal_checkpoint(RESTART)")
    for sequence in range(0, 20, 2):
        found.take((7, sequence))
    fill(found, *range(60, 70), payload_bytes=12_500)


@pytest.mark.parametrize("file", ["frames.sqlite", "frames.sqlite-wal"])
def test_whatever_bit_is_flipped_no_frame_is_lost_without_a_word_and_none_is_wrong(tmp_path, file):
    whole = killed(tmp_path / "s", filled)
    data = (whole / file).read_bytes()
    expected = [packed(n, payload_bytes=12_500) for n in [*range(1, 20, 2), *range(20, 70)]]
    lost = []
    for place in sorted({*range(0, len(data), len(data) // 60), *range(0, 100, 7), 4096 + 100, 32 + 4, 32 + 8}):
        shutil.copytree(whole, folder := tmp_path / f"{place}")
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        (folder / file).write_bytes(flipped)
        # A flip in the name of its program or in its version is refused.
        with contextlib.suppress(errors.SettingsError), opened(folder) as found:
            held = everything(found)
            assert len(held) + found.damaged == len(expected), place
            assert all(one in expected for one in held), place
            lost.append(found.damaged)
        shutil.rmtree(folder)

    assert len(lost) > 60
    assert max(lost) <= 1


def test_a_file_that_is_emptied_beside_its_log_loses_nothing_that_is_in_the_log(tmp_path):
    for keep in (b"", bytes(8192)):
        whole = killed(tmp_path / f"s{len(keep)}", lambda found: fill(found, *range(60)))
        (whole / "frames.sqlite").write_bytes(keep)
        with opened(whole) as found:
            assert [one.sequence for one in everything(found)] == list(range(60))
            assert found.damaged == 0
        shutil.rmtree(whole)


def test_what_a_killed_process_left_unfinished_is_no_damage(tmp_path):
    whole = killed(tmp_path / "s", lambda found: fill(found, *range(20)))
    log = whole / "frames.sqlite-wal"
    last = log.read_bytes()[-4120:]
    unfinished = last[:4] + bytes(4) + last[8:]  # no commit
    for number, more in enumerate((b"x", last[:2000], unfinished, unfinished + last[:100])):
        shutil.copytree(whole, folder := tmp_path / f"{number}")
        (folder / log.name).write_bytes(log.read_bytes() + more)
        with opened(folder) as found:
            assert (found.frames, found.damaged) == (20, 0)
        assert not list(folder.glob("damaged-*"))


@pytest.mark.parametrize("statement", ["DELETE FROM runs", "DROP TABLE runs", "DROP TABLE facts", "DELETE FROM facts"])
def test_a_spool_whose_tables_lack_something_keeps_its_frames(tmp_path, statement):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1, 2)
    edit(tmp_path / "s", statement)

    with opened(tmp_path / "s") as found:
        assert everything(found) == [packed(0), packed(1), packed(2)]
        assert found.damaged == 0


def test_rows_that_vanish_are_counted_and_named(tmp_path, caplog):
    with opened(tmp_path / "s") as found:
        fill(found, *range(10))
        found.take((7, 0))
    edit(tmp_path / "s", "DELETE FROM frames WHERE id & 15 BETWEEN 4 AND 6")

    with opened(tmp_path / "s") as found:
        assert (found.frames, found.damaged) == (6, 3)
    assert "missing=0000000000000007/0-0,0000000000000007/4-6" in caplog.messages[-1]


def test_the_count_of_an_earlier_start_of_the_machine_does_not_count_unless_it_was_closed(tmp_path, monkeypatch):
    whole = killed(tmp_path / "s", lambda found: fill(found, *range(10)))
    monkeypatch.setattr(tally, "_start_of_machine", lambda: bytes(16))
    for folder, lost in ((whole, 0), (tmp_path / "s", 4)):
        with sqlite3.connect(folder / "frames.sqlite", isolation_level=None) as connection:
            connection.execute("DELETE FROM frames WHERE id & 15 > 5")
        connection.close()
        with opened(folder) as found:
            assert found.damaged == lost


def test_a_row_that_is_not_what_was_put_there_is_not_sent(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1, 2, 3)
    edit(
        tmp_path / "s",
        "UPDATE frames SET cut = 'op007' WHERE id & 3 = 1",
        "UPDATE frames SET encoded = (SELECT encoded FROM frames WHERE id & 3 = 0) WHERE id & 3 = 2",
    )
    with opened(tmp_path / "s") as found:
        assert [one.sequence for one in everything(found)] == [0, 3]
        assert found.damaged == 2


def test_a_rescue_that_was_interrupted_is_done_again_or_finished(tmp_path):
    whole = killed(tmp_path / "s", lambda found: fill(found, *range(20)))
    (whole / "frames.sqlite.rescued").write_bytes(b"half of it")
    with opened(whole) as found:
        assert found.frames == 20
    (whole / "frames.sqlite").rename(whole / "frames.sqlite.rescued")
    with opened(whole) as found:
        assert (found.frames, found.damaged) == (20, 0)


def test_a_spool_of_the_version_before_is_taken_over(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1, 2)
    (tmp_path / "s" / "frames.tally").unlink()
    edit(tmp_path / "s", "ALTER TABLE frames DROP COLUMN checksum", "PRAGMA user_version = 1")

    with opened(tmp_path / "s") as found:
        fill(found, 3)
        assert everything(found) == [packed(sequence) for sequence in range(4)]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_spool_that_is_removed_under_its_edge_is_missed(tmp_path, is_replaced):
    with opened(tmp_path / "s") as found:
        fill(found, 0)
        shutil.rmtree(tmp_path / "s")
        if is_replaced:
            (tmp_path / "s").mkdir()
            (tmp_path / "s" / "frames.sqlite").touch()
        else:
            with pytest.raises(errors.DeviceError, match="removed or replaced while in use"):
                fill(found, 1)
        with pytest.raises(errors.DeviceError, match="removed or replaced while in use"):
            found.check_there()


def test_a_frame_that_the_disk_has_changed_is_dropped_and_counted(tmp_path):
    with opened(tmp_path / "s") as found:
        fill(found, 0, 1, 2)
    edit(tmp_path / "s", "UPDATE frames SET encoded = zeroblob(length(encoded)) WHERE id & 3 = 1")
    with opened(tmp_path / "s") as found:
        assert [one.sequence for one in everything(found)] == [0, 2]
        assert (found.damaged, found.frames) == (1, 2)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(errors.DeviceError, match=r"give a folder"), opened(tmp_path / "file" / "s"):
        pass


def fill_the_disk(found, *, payload_bytes=100_000):
    """How many frames it took."""
    count = 0
    while found.put(packed(count, payload_bytes=payload_bytes)):
        count += 1
    assert found.state is spool.State.DISK_FULL
    assert found.wait_for_room(0.0)  # to try again
    return count


def test_a_spool_leaves_some_of_its_disk_to_others_and_works_on(mounted):
    folder = mounted("size=32m") / "s"
    with opened(folder) as found:
        count = fill_the_disk(found)
        disk = os.statvfs(folder)
        assert disk.f_bavail * disk.f_frsize > 8 << 20
        assert count > 50

        for one in everything(found)[: count // 2]:
            found.remove(one)
        assert found.frames == count - count // 2
    with opened(folder) as again:
        assert [one.sequence for one in everything(again)] == list(range(count // 2, count))


@pytest.mark.parametrize("is_opened_again", [False, True])
def test_a_spool_that_filled_its_disk_accepts_again_once_it_is_empty(mounted, is_opened_again):
    """Its file does not shrink: the room is inside it."""
    folder = mounted("size=40m") / "s"
    with opened(folder) as found:
        count = fill_the_disk(found)
        for one in everything(found):
            found.remove(one)
        if not is_opened_again:
            assert fill(found, *range(count, count + 20)) == [True] * 20
            return
    with opened(folder) as again:
        assert fill(again, *range(count, count + 20)) == [True] * 20


def test_a_disk_without_room_for_a_frame_is_refused_at_once(mounted):
    folder = mounted("size=8m") / "s"
    expected = pytest.raises(errors.DeviceError, match=r"7 MB are free on its disk, of which 16 MB are always left")
    with expected, opened(folder):
        pass


def test_a_disk_that_others_filled_holds_up_frames_and_loses_none(mounted):
    folder = mounted("size=32m") / "s"
    with opened(folder) as found:
        fill(found, *range(20))
        filler = folder.parent / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert fill(found, 20) == [False]
        for one in everything(found)[:15]:  # more than there is room for to note in the log
            found.remove(one)
        assert found.frames == 5
        assert [one.sequence for one in everything(found)] == list(range(15, 20))

        filler.unlink()
        assert fill(found, 20) == [True]
        found.remove(packed(15))
    with opened(folder) as again:
        assert [one.sequence for one in everything(again)] == list(range(16, 21))


CHILD = """
import sys
sys.path.insert(0, {folder!r})
import test_spool
with test_spool.opened(test_spool.Path(sys.argv[1]), sync=sys.argv[2]) as found:
    sequence = 0
    while found.put(test_spool.packed(sequence, boot=int(sys.argv[3]))):
        print(sequence, flush=True)
        sequence += 1
"""


@pytest.mark.chaos
@pytest.mark.parametrize("sync", ["frame", "none"])
def test_what_was_accepted_before_a_kill_is_there_after_it(tmp_path, sync):
    accepted = []
    for boot in range(4):
        command = (
            sys.executable,
            "-c",
            CHILD.format(folder=str(Path(__file__).parent)),
            tmp_path / "s",
            sync,
            str(boot),
        )
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            said = [int(next(writer.stdout)) for _ in range(50)]
            writer.send_signal(signal.SIGKILL)
            said += [int(line) for line in writer.stdout if line.endswith("\n")]
        accepted += [(boot, sequence) for sequence in said]
    with opened(tmp_path / "s") as found:
        held = everything(found)

        assert set(accepted) <= {one.key for one in held}
        assert len(held) <= len(accepted) + 4  # at each kill one may have been accepted and not said to be
        assert held == [packed(one.sequence, boot=one.boot) for one in held]
        assert [one.key for one in held] == sorted(one.key for one in held)


TRACED = """
import sys
sys.path.insert(0, {folder!r})
import test_spool
with test_spool.opened(test_spool.Path(sys.argv[1]), sync=sys.argv[2]) as found:
    for sequence in range(20):
        found.put(test_spool.packed(sequence))
        print("accepted", flush=True)
    for sequence in range(20):
        found.remove(test_spool.packed(sequence))
    print("removed", flush=True)
"""


@pytest.mark.parametrize(("sync", "each"), [("frame", 1), ("none", 0)])
def test_the_disk_is_waited_for_before_a_frame_is_accepted_and_never_when_it_goes(tmp_path, sync, each):
    """What a power cut takes is what was not synchronised; cutting the power is not for a test."""
    trace, program = tmp_path / "trace", TRACED.format(folder=str(Path(__file__).parent))
    command = ("strace", "-f", "-e", "trace=fsync,fdatasync,write", "-o", trace)
    try:
        subprocess.run([*command, sys.executable, "-c", program, tmp_path / "s", sync], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("strace is not installed, or may not trace here")
    said = trace.read_text("utf-8").split('"accepted')
    between = [part.count("sync(") for part in said[1:-1]]

    assert between == [each] * 19
    assert said[-1].split('"removed')[0].count("sync(") == 0
