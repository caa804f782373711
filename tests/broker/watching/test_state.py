"""What is known of a deployment, message by message; the clock is an argument."""

import pytest
from talk import BOOT, Heard, birth, jpeg, result, status, told

from broker.messages import announcements, updates
from broker.messages.peers import standing
from broker.messages.topics import Kind
from broker.messages.watched import load
from broker.watching import history, state
from tflsplit.decoding.found import Found, Keypoint, Object, Share

BOX = (0.1, 0.2, 0.3, 0.4)


@pytest.fixture
def heard():
    return Heard()


def test_retained_messages_alone_say_who_is_there_with_what(heard):
    for kind, payload in ((Kind.STATUS, status()), (Kind.BIRTH, birth())):
        heard.tell("cam1", kind, payload)
    found = heard.device("cam1")

    assert (found["state"], found["since_ms"], found["problem"]) == ("online", 5000, None)
    assert (found["model"], found["cut"], found["runs_on"]) == ("digits", "op012", "coral")
    assert (found["version"], found["certificate_ends_s"]) == ("0.1.0", 2e9)
    assert found["fps"] is found["label"] is found["drops"] is found["spool"] is None


def test_a_result_brings_label_age_rate_and_parts(heard):
    heard.tell("cam1", Kind.STATUS, status())
    for number in range(20):
        heard.tell("cam1", Kind.RESULTS, result(number), 1000.0 + number / 2)
    found = heard.device("cam1", 1012.0)

    assert (found["label"], found["score"], found["answered_s_ago"], found["answers"]) == ("cat", 0.75, 2.5, 20)
    assert found["fps"] == pytest.approx(20 / 12, abs=0.01)
    assert found["parts_ms"] == {"head": 3.0, "queue": 0.5, "decode": 0.25, "tail": 5.0}
    assert heard.totals(1012.0)["fps"] == found["fps"]


def test_a_result_that_a_cloud_says_again_is_not_counted_again(heard):
    for at_s, number in enumerate((1, 3, 2, 1, 2, 3)):
        heard.tell("cam1", Kind.RESULTS, result(number, label=f"of {number}"), 1000.0 + at_s)
    found = heard.device("cam1", 1006.0)

    assert (found["answers"], found["label"], found["answered_s_ago"]) == (3, "of 2", 4.0)
    assert (found["fps"], heard.totals(1006.0)["fps"]) == (0.5, 0.5)


def test_objects_of_a_detector_are_told_with_their_boxes(heard):
    found = Found(objects=(Object("cat" * 100, 0.5, (0.1, 0.2, 0.3, 0.4)),))
    heard.tell("cam1", Kind.RESULTS, result(found=found))

    (seen,) = heard.device("cam1")["objects"]
    assert (seen["box"], seen["score"], len(seen["label"])) == ([0.1, 0.2, 0.3, 0.4], 0.5, 128)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(objects=(Object("cat", 0.9, BOX), Object("dog", 0.8, BOX), Object("cat", 0.7, BOX))), "2 cat, 1 dog"),
        (Found(objects=tuple(Object(name, 0.9, BOX) for name in "abcd")), "1 a, 1 b, 1 c …"),
        (Found(objects=()), "nothing"),
        (Found(shares=(Share("road", 0.61), Share("sky", 0.22))), "road 61%, sky 22%"),
        (Found(keypoints=(Keypoint("", 0.1, 0.2),)), "1 keypoint"),
        (None, None),
    ],
)
def test_what_was_found_is_told_in_the_room_of_a_label(heard, found, words):
    heard.tell("cam1", Kind.RESULTS, result(found=found))

    assert heard.device("cam1")["found"] == words


def test_telemetry_brings_latency_drops_spool_and_link(heard):
    heard.tell("cam1", Kind.RESULTS, result())
    heard.tell("cam1", Kind.TELEMETRY, told())
    found = heard.device("cam1", 1001.0)

    assert found["latency_ms"] == {"p50": 20.0, "p95": 30.0, "p99": None}
    assert found["parts_ms"]["wire"] == 20.0 - 8.75
    assert found["drops"] == {"expired": 3.0}
    assert found["spool"] == {"frames": 4.0, "bytes": 400.0, "limit_bytes": 1000.0, "full": False}
    assert found["link"]["bits_per_second"] == 5e6


def test_old_telemetry_says_nothing_of_the_present(heard):
    heard.tell("cam1", Kind.STATUS, status())
    heard.tell("cam1", Kind.TELEMETRY, told(why="no answer came"))

    assert heard.device("cam1", 1010.0)["problem"] == "no answer came"
    assert heard.device("cam1", 1200.0)["problem"] is None
    assert heard.device("cam1", 1200.0)["latency_ms"] == {}


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([(Kind.BIRTH, birth())], "never said that it is there"),
        ([(Kind.STATUS, status("offline", reason="lost")), (Kind.BIRTH, birth())], "connection lost"),
        ([(Kind.STATUS, status("offline", reason="closed")), (Kind.BIRTH, birth())], None),
        (
            [
                (Kind.STATUS, status()),
                (Kind.BIRTH, birth(accelerator={"name": "coral", "runs_on": "cpu", "reason": "unplugged"})),
            ],
            "unplugged",
        ),
        (
            [
                (Kind.STATUS, status()),
                (Kind.TELEMETRY, updates.Report("0" * 16, updates.State.ROLLED_BACK, None, "too slow").encode()),
            ],
            "update rolled_back: too slow",
        ),
    ],
)
def test_what_a_person_should_look_at(heard, messages, problem):
    for kind, payload in messages:
        heard.tell("cam1", kind, payload)

    assert heard.device("cam1")["problem"] == problem


def test_the_will_of_a_connection_that_was_replaced_is_late(heard):
    heard.tell("cam1", Kind.BIRTH, birth())
    heard.tell("cam1", Kind.STATUS, status(connection=2))
    heard.tell("cam1", Kind.STATUS, status("offline", connection=1, reason="lost"))

    assert heard.device("cam1")["state"] == "online"


def test_a_cloud_is_no_device_in_whatever_order_it_tells(heard):
    heard.tell("cloud", Kind.STATUS, status())
    heard.tell("cloud", Kind.SERVES, announcements.Announcement(BOOT, (("9f", "digits"),)).as_json())
    busy = load.Load(BOOT, "ok", None, 10, 9, 4.5, 2, 1, 3, {"busy": 1}, {"p95": 1.5}, {"p50": 5.0})
    heard.tell("cloud", Kind.LOAD, busy.as_json())
    found = heard.as_json(1001.0)

    assert found["of_devices"] == []
    (cloud,) = found["of_clouds"]
    assert (cloud["state"], cloud["workers"], cloud["held"], cloud["waiting"]) == ("online", 3, 2, 1)
    assert cloud["packages"] == [{"package": "9f", "model": "digits"}]
    assert heard.totals(1001.0)["clouds_online"] == 1
    heard.tell("cloud", Kind.SERVES, b"")
    heard.tell("cloud", Kind.STATUS, status("offline", reason="closed"))
    assert heard.as_json(1001.0)["of_clouds"][0]["packages"] == []
    assert heard.totals(1001.0)["devices"] == 0


def test_who_is_online_without_a_birth_is_counted(heard):
    for name in ("cam1", "cam2", "cloud"):
        heard.tell(name, Kind.STATUS, status())
    heard.tell("cam1", Kind.BIRTH, birth())
    heard.tell("cloud", Kind.SERVES, announcements.Announcement(BOOT, ()).as_json())

    assert heard.totals(1000.0)["unborn"] == 1


def test_a_device_whose_birth_is_taken_back_is_gone(heard):
    heard.tell("cam1", Kind.BIRTH, birth())
    heard.tell("cam1", Kind.BIRTH, b"")

    assert heard.totals(1000.0)["devices"] == 0


@pytest.mark.parametrize("kind", [Kind.STATUS, Kind.BIRTH, Kind.TELEMETRY, Kind.RESULTS, Kind.LOAD, Kind.PICTURE])
@pytest.mark.parametrize("payload", [b"\xff\x00", b"[]", b'{"boot": 1}', b"{" * 5000])
def test_what_no_program_of_ours_says_is_counted(heard, kind, payload):
    heard.tell("cam1", kind, payload)

    is_a_birth = kind is Kind.BIRTH and payload == b'{"boot": 1}'  # every field is optional to who only looks
    assert heard.unreadable == (0 if is_a_birth else 1)


def test_a_birth_with_fields_of_other_types_shows_none_of_them(heard):
    odd = {"name": 7, "accelerator": "coral", "software": [1], "payload_bytes": "many", "cut": ["a"]}
    heard.tell("cam1", Kind.BIRTH, birth(**odd))
    found = heard.device("cam1")

    assert [found[name] for name in ("model", "runs_on", "version", "payload_bytes", "cut")] == [None] * 5


def test_devices_beyond_the_most_are_counted_and_not_kept(heard, monkeypatch):
    monkeypatch.setattr(state, "MOST_DEVICES", 3)
    for number in range(5):
        heard.tell(f"cam{number}", Kind.BIRTH, birth())

    assert (heard.totals(1000.0)["devices"], heard.left_out) == (3, 2)


def test_those_with_a_problem_come_first(heard):
    for name, which in (("a", "online"), ("b", "offline"), ("c", "online")):
        heard.tell(name, Kind.BIRTH, birth())
        heard.tell(name, Kind.STATUS, status(which, reason="lost" if which == "offline" else None))

    assert [device.name for device in heard.ordered(1000.0)] == ["b", "a", "c"]


def test_a_picture_keeps_its_frame_and_the_newest_are_kept(heard, monkeypatch):
    monkeypatch.setattr(state, "_MOST_PICTURES", 2)
    for name in ("a", "b", "a", "c"):
        heard.tell(name, Kind.PICTURE, jpeg(b"pixels"))

    assert set(heard.pictures) == {"a", "c"}
    assert heard.pictures["a"][1].captured_ms == 1234.0


def test_an_hour_has_steps_in_which_nothing_came_and_forgets_what_is_older():
    kept = history.History(0.0)
    kept.add(5.0, answers=10)
    kept.add(25.0, answers=20, latency_ms=4.0)
    kept.add(26.0, latency_ms=6.0)

    assert list(kept.rates(30.0))[-3:] == [1.0, 0.0, 2.0]
    assert list(kept.latencies_ms(30.0))[-3:] == [None, None, 5.0]
    assert set(list(kept.rates(30.0))[:-3]) == {None}
    kept.add(5.0 + history.STEPS * history.STEP_S, answers=1)
    assert list(kept.rates(3700.0)).count(1.0) == 0


def test_the_rate_is_of_the_time_that_was_heard():
    kept = history.History(100.0)
    for tenth in range(30):
        kept.add(100.0 + tenth / 10, answers=1)

    assert kept.rate(103.0) == 10.0
    assert kept.rate(130.0) == 0.0


def test_a_worker_says_its_share_and_its_rate_and_may_be_a_source_too(heard):
    heard.tell("pi2", Kind.STATUS, status())
    for second, frames in ((0, 10), (2, 30)):
        told = standing.Standing(BOOT, "9f", 1, standing.State.READY, frames=frames, epoch=3, speed=0.98)
        heard.tell("pi2", Kind.SHARE, told.as_json(), 1000.0 + second)
    found = heard.as_json(1003.0)

    (worker,) = found["of_workers"]
    assert (worker["state"], worker["share"], worker["fps"], worker["epoch"]) == ("online", "ready", 10.0, 3)
    assert found["of_devices"] == []
    heard.tell("pi2", Kind.RESULTS, result())
    assert heard.device("pi2")["state"] == "online"
    heard.tell("pi2", Kind.SHARE, b"")
    assert heard.as_json(1003.0)["of_workers"] == []
