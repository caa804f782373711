"""What a cloud knows of its devices' heads, from their births alone."""

import json
import logging

import kernel_classes
import memory_cloud
import pytest
from kernel_classes import HERE
from waiting import wait_for

from broker.cloud import exactness
from broker.messages import topics, wire
from broker.transport import memory
from broker.transport.protocol import Message
from tflsplit.kernels.heads import HeadKernels, Standing

ADDING = ("ADD/int8",)


@pytest.fixture
def known(tiny_package):
    transport = memory.MemoryTransport(memory.MemoryBroker(), client_id="cloud")
    return exactness.Exactness(transport, "d", [tiny_package], HERE)


def born(known, package, device="n", *, boot=7, cut="op000", kernel_class=HERE, changes=()):
    fields = {"boot": f"{boot:016x}", "package": package.digest, "cut": cut}
    fields |= HeadKernels(kernel_class, ADDING).as_json() | dict(changes)
    payload = json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()
    return known.take(Message(topics.topic("d", device, topics.Kind.BIRTH), payload))


def label(package, cut="op000", boot=7):
    return wire.Label(bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES], package.cut(cut).position, boot, 0, False)


@pytest.mark.parametrize(
    ("kernel_class", "standing"),
    [
        (HERE, Standing.EXACT),
        (kernel_classes.unlike("SOFTMAX/int8"), Standing.EXACT),
        (kernel_classes.unlike("ADD/int8"), Standing.INEXACT),
        (None, Standing.UNKNOWN),
    ],
)
def test_a_frame_is_judged_by_the_birth_of_its_run_and_cut(known, tiny_package, kernel_class, standing):
    assert born(known, tiny_package, kernel_class=kernel_class)

    assert known.of("n", label(tiny_package)) is standing
    assert known.devices == {each: int(each is standing) for each in Standing}
    for other in (label(tiny_package, boot=8), label(tiny_package, "op001")):
        assert known.of("n", other) is Standing.UNKNOWN
    assert known.of("m", label(tiny_package)) is Standing.UNKNOWN
    assert known.of("m", label(tiny_package, "input")) is Standing.EXACT


def test_births_that_made_room_for_others_are_counted_and_unknown(tiny_package, monkeypatch):
    monkeypatch.setattr(exactness, "_MOST_BYTES", 2 * (exactness._DEVICE_BYTES + exactness._SAID_BYTES))
    transport = memory.MemoryTransport(memory.MemoryBroker(), client_id="cloud")
    known = exactness.Exactness(transport, "d", [tiny_package], HERE)
    for device in ("a", "b", "c"):
        born(known, tiny_package, device)

    assert sum(known.devices.values()) == 2
    assert known.forgotten == 1
    assert known.of("c", label(tiny_package)) is Standing.EXACT


def test_frames_of_earlier_runs_and_cuts_are_judged_as_they_were_made(known, tiny_package):
    born(known, tiny_package, kernel_class=kernel_classes.unlike("ADD/int8"))
    born(known, tiny_package, boot=8, cut="op001")

    assert known.of("n", label(tiny_package)) is Standing.INEXACT
    assert known.of("n", label(tiny_package, "op001", boot=8)) is Standing.EXACT
    assert known.devices[Standing.EXACT] == 1


def test_each_device_is_told_once_and_again_when_class_or_cut_changes(known, tiny_package, caplog):
    caplog.set_level(logging.INFO)
    softmax = kernel_classes.unlike("SOFTMAX/int8", "ADD/int8")
    for boot in (1, 2, 3):
        born(known, tiny_package, "a", boot=boot)
        born(known, tiny_package, "b", boot=boot, kernel_class=softmax)
    born(known, tiny_package, "a", cut="op001", kernel_class=HERE)
    born(known, tiny_package, "a", cut="op001", kernel_class=softmax)
    said = [(record.levelname, record.getMessage().partition(" device=")) for record in caplog.records]

    assert [(level, phrase, rest[0]) for level, (phrase, _, rest) in said] == [
        ("INFO", "results are exact", "a"),
        ("WARNING", "results may differ", "b"),
        ("INFO", "results are exact", "a"),
        ("WARNING", "results may differ", "a"),
    ]
    assert "reason=ADD/int8 may differ by a step or more" in said[1][1][2]


def test_an_edge_of_an_older_version_is_said_to_be_unknown_once(known, tiny_package, caplog):
    for _ in range(2):
        born(known, tiny_package, changes={"head_operators": ..., "kernel_class": ...})

    assert known.of("n", label(tiny_package)) is Standing.UNKNOWN
    (told,) = caplog.records
    assert told.getMessage().startswith("results not known to be exact device=n cut=op000")
    assert told.getMessage().endswith("reason=the edge tells no kernel class")


def test_a_device_that_was_taken_away_is_counted_no_more(known, tiny_package):
    born(known, tiny_package)
    known.take(Message(topics.topic("d", "n", topics.Kind.BIRTH), b""))

    assert sum(known.devices.values()) == 0


@pytest.mark.parametrize(
    "changes",
    [{"boot": "x"}, {"package": 7}, {"package": "zz"}, {"cut": ...}, {"head_operators": 1}, {"kernel_class": {}}],
)
def test_what_is_no_birth_is_ignored(known, tiny_package, changes):
    assert born(known, tiny_package, changes=changes)
    assert sum(known.devices.values()) == 0


def test_births_of_packages_that_another_cloud_serves_are_not_counted(known, tiny_package):
    born(known, tiny_package, changes={"package": "ab" * 32})

    assert sum(known.devices.values()) == 0


def test_other_messages_are_left_to_others(known):
    assert not known.take(Message(topics.topic("d", "n", topics.Kind.SERVES), b"{}"))


def test_each_cut_of_ours_that_a_birth_names_is_told(known, tiny_package):
    told = []
    known.on_cut = lambda package, cut: told.append((package, cut.id))
    adapts = {"candidates": ["op000", "op001", "op777"]}
    born(known, tiny_package, changes={"adapts": adapts})
    born(known, tiny_package, changes={"package": "ab" * 32}.items())

    assert told == [(tiny_package, "op000"), (tiny_package, "op000"), (tiny_package, "op001")]


@pytest.mark.parametrize("cut", ["input", "op000", "output"])
def test_the_tail_of_a_birth_is_open_before_its_first_frame(tiny_package, cut):
    network = memory.MemoryBroker()
    birth = json.dumps({"boot": "07", "package": tiny_package.digest, "cut": cut}).encode()
    network.publish(topics.topic("d", "n", topics.Kind.BIRTH), birth, 1, retain=True)
    with memory_cloud.cloud_for(tiny_package, network) as cloud:
        (tails,) = cloud._engine._answerer._tails.values()
        wait_for(lambda: tiny_package.cut(cut).position in tails._used)

    assert (cloud.summary.frames, cloud.summary.results, dict(cloud.summary.refused)) == (0, 0, {})


def test_a_device_that_moves_its_cut_is_told_of_when_it_comes_and_when_it_comes_again(known, tiny_package):
    told = []
    known.on_moving = lambda: told.append("came")
    adapts = {"adapts": {"candidates": ["op000"]}}
    for _ in range(2):
        born(known, tiny_package, changes=adapts)
    born(known, tiny_package, "m")  # stays at its cut
    assert len(told) == 1
    born(known, tiny_package, changes=adapts | {"boot": "00000000000000ff"})

    assert len(told) == 2
