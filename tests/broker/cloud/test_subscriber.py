"""The cloud loop over a broker in memory: what it publishes and when it acknowledges, what it holds and how it ends."""

import dataclasses
import queue
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import tiny_models
from waiting import wait_for

from broker.cloud import answerer, engine, peers, subscriber
from broker.messages import acks, announcements, chunks, dead_letters, presence, results, topics, wire
from broker.messages.topics import Kind
from broker.transport import memory
from tflsplit import errors
from tflsplit.coding import feature_codec

WAIT_S = 60.0


def frame_of(package, sequence=0, /, *, cut="op000", fill=1, **changes):
    cut = package.cut(cut)
    fields = {"package": bytes.fromhex(package.digest)[:16], "cut": cut.position, "boot": 7, "boundary": cut.boundary}
    frame = wire.Frame(**fields | {"sequence": sequence, "captured_ns": 0, "head_us": 0} | changes)
    filled = [np.full(spec.shape, fill, spec.dtype) for spec in cut.boundary]
    return wire.encode(frame, filled, feature_codec.Plain())


class Later:
    """An engine that answers when it is told to."""

    def __init__(self, package):
        self.counters = engine.Counters()
        self.taken = queue.Queue()
        self.failure = None
        self._inline = engine.Inline.of(package)

    @property
    def waiting(self):
        return self.taken.qsize()

    @property
    def workers(self):
        return None

    def submit(self, job, done):
        self.taken.put((job, done))

    def finish_one(self):
        self._inline.submit(*self.taken.get(timeout=WAIT_S))

    def check(self):
        if self.failure:
            raise self.failure

    def close(self):
        pass


class Bench:
    """A broker with a cloud's connection, whose doings are noted, and those of a device and of someone who listens."""

    def __init__(self, package, device="n", **broker):
        self.network = memory.MemoryBroker(**broker)
        self.cloud = memory.MemoryTransport(self.network, client_id="cloud")
        self.edge = memory.MemoryTransport(self.network, client_id="edge")
        self.watcher = memory.MemoryTransport(self.network, client_id="watcher")
        for transport in (self.cloud, self.edge, self.watcher):
            transport.connect()
        self.watcher.subscribe(f"{topics.ROOT}/d/#")
        self.package, self.device = package, device
        self.subscribed = threading.Event()
        self.done = []
        for name in ("try_publish", "acknowledge", "subscribe", "unsubscribe"):
            setattr(self.cloud, name, self._noted(name, getattr(self.cloud, name)))

    def send(self, encoded, *, qos=1):
        self.edge.publish(topics.topic("d", self.device, Kind.FEATURES), encoded, qos=qos)

    def heard(self, *kinds):
        """The next message of these kinds."""
        while True:
            message = self.watcher.receive(WAIT_S)
            assert message is not None
            self.watcher.acknowledge(message)
            if (topic := topics.parse(message.topic)).kind in kinds:
                return topic.kind, message.payload

    def unacknowledged(self):
        return len(self.network._sessions["cloud"].unacknowledged)

    @contextmanager
    def running(self, made):
        failures = []

        def run():
            try:
                made.run()
            except errors.TflsplitError as failure:
                failures.append(failure)

        thread = threading.Thread(target=run)
        thread.start()
        assert self.subscribed.wait(WAIT_S)
        try:
            yield failures
        finally:
            made.stop()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def _noted(self, name, work):
        def noting(*given, **options):
            worked = work(*given, **options)
            self.done.append((name, given[0] if isinstance(given[0], str) else given[0].topic))
            if options.get("then") is not None:
                self.done.append(("then", options["then"][0]))
            self.done += [("acknowledge", message.topic) for message in options.get("done", ())]
            if name == "subscribe":
                self.subscribed.set()
            return worked

        return noting


@pytest.fixture
def bench(tiny_package):
    return Bench(tiny_package)


def cloud_of(bench, chosen=None, **options):
    return subscriber.Cloud(chosen or engine.Inline.of(bench.package), bench.cloud, "d", **options)


def test_a_frame_is_acknowledged_after_its_result_and_its_acknowledgement_are_out(bench):
    cloud = cloud_of(bench)
    with bench.running(cloud):
        bench.send(frame_of(bench.package, 3, wants_ack=True))
        assert results.parse(bench.heard(Kind.RESULTS)[1]).sequence == 3
        assert acks.parse(bench.heard(Kind.ACKS)[1]) == acks.Acknowledgement("n", 7, 3)
    sent = [(name, topics.parse(topic).kind) for name, topic in bench.done if "subscribe" not in name]

    assert sent == [("try_publish", Kind.RESULTS), ("then", Kind.ACKS), ("acknowledge", Kind.FEATURES)]


def test_a_frame_that_wants_no_acknowledgement_gets_none(bench):
    with bench.running(cloud_of(bench)):
        bench.send(frame_of(bench.package, 3))
        bench.heard(Kind.RESULTS)

    assert all("acks" not in topic for _, topic in bench.done)


def test_a_refused_frame_is_refused_on_both_topics_and_becomes_a_dead_letter(bench):
    encoded = frame_of(bench.package, 5, package=bytes(16), wants_ack=True)
    cloud = cloud_of(bench)
    with bench.running(cloud):
        bench.send(encoded)
        said = results.parse(bench.heard(Kind.RESULTS)[1])
        acknowledged = acks.parse(bench.heard(Kind.ACKS)[1])
        letter = dead_letters.parse(bench.heard(Kind.DEAD)[1])

    assert isinstance(said, results.Refusal)
    assert said.error == acknowledged.error == letter.reason
    assert "this cloud serves" in letter.reason
    assert (letter.device, letter.key, letter.frame) == ("n", (7, 5), encoded)
    assert cloud.summary.refused == {answerer.Refused.WRONG_PACKAGE: 1}


def announcing(bench, name, digest, boot=5):
    transport = memory.MemoryTransport(
        bench.network, client_id=name, presence=presence.Presence(topics.topic("d", name, Kind.STATUS), boot)
    )
    transport.connect()
    made = announcements.Announcement(boot, ((digest, "other"),))
    transport.publish(topics.topic("d", name, Kind.SERVES), made.as_json(), retain=True)
    return transport


def peers_of(bench, name="cloud"):
    ours = announcements.Announcement(1, ((bench.package.digest, "ours"),))
    return peers.Peers(bench.cloud, "d", name, ours)


@pytest.mark.parametrize("cut", [None, 60_000])
def test_a_frame_that_another_cloud_serves_is_left_to_it_while_that_lives(bench, cut):
    digest = bench.package.digest if cut else "ab" * 32
    encoded = frame_of(bench.package, 5, package=bytes.fromhex(digest)[:16])
    if cut:  # a bundle without that tail
        encoded = wire.encode(
            dataclasses.replace(wire.describe(encoded), cut=cut), wire.decode(encoded)[1], feature_codec.Plain()
        )
    other = announcing(bench, "cloud2", digest)
    with bench.running(cloud := cloud_of(bench, peers=(seen := peers_of(bench)))):
        wait_for(lambda: seen.serve(digest))
        bench.send(encoded)
        wait_for(lambda: cloud.summary.left_to_others == 1)
        wait_for(lambda: bench.unacknowledged() == 0)
        bench.network.cut("cloud2")
        wait_for(lambda: not seen.serve(digest))
        bench.send(encoded)
        said = results.parse(bench.heard(Kind.RESULTS)[1])
    other.close()

    assert said.is_of_package
    assert (cloud.summary.duplicates, sum(cloud.summary.refused.values())) == (0, 1)


def test_a_cloud_names_another_one_that_died_until_that_is_back(bench):
    digest = bench.package.digest
    other = announcing(bench, "cloud2", digest)

    def gone():
        return announcements.parse(bench.heard(Kind.SERVES)[1]).gone

    with bench.running(cloud_of(bench, peers=(seen := peers_of(bench)))):
        wait_for(lambda: seen.serve(digest))
        while gone():
            pass
        bench.network.cut("cloud2")
        while gone() != {"cloud2"}:
            pass
        bench.network.restore("cloud2")
        while gone():
            pass
    other.close()


def test_a_cloud_says_what_it_serves_again_to_a_broker_that_forgot_it_and_takes_it_back_at_the_end(bench):
    ours = announcements.Announcement(1, ((bench.package.digest, "ours"),))
    with bench.running(cloud_of(bench, peers=peers_of(bench))):
        assert announcements.parse(bench.heard(Kind.SERVES)[1]) == ours
        bench.network.stop()
        bench.network.start()
        assert announcements.parse(bench.heard(Kind.SERVES)[1]) == ours
    assert bench.heard(Kind.SERVES)[1] == b""


def test_a_damaged_frame_is_refused_without_a_name_and_not_taken_for_another(bench):
    damaged = bytearray(frame_of(bench.package, 5))
    damaged[-1] ^= 1
    with bench.running(cloud := cloud_of(bench)):
        bench.send(bytes(damaged))
        said = results.parse(bench.heard(Kind.RESULTS)[1])
        bench.send(frame_of(bench.package, 5))
        good = results.parse(bench.heard(Kind.RESULTS)[1])

    assert (said.boot, said.sequence) == (None, None)
    assert "damaged" in said.error
    assert good.sequence == 5
    assert cloud.summary.duplicates == 0


def test_frames_that_are_called_alike_get_answers_of_their_own(bench):
    inputs = [{"fill": 1}, {"fill": 90}, {"fill": -90}, {"cut": "input", "fill": 90}, {"fill": 90, "wants_raw": True}]
    with bench.running(cloud := cloud_of(bench)):
        said = []
        for changes in [*inputs, *inputs]:
            bench.send(frame_of(bench.package, 3, **changes))
            said.append(results.parse(bench.heard(Kind.RESULTS)[1]))

    assert len({(each.cut, each.score, each.outputs) for each in said}) == len(inputs)
    assert said[: len(inputs)] == said[len(inputs) :]
    assert (cloud.summary.results, cloud.summary.duplicates) == (len(inputs), len(inputs))


def test_an_answer_without_acknowledgement_is_none_to_the_same_frame_that_wants_one(bench):
    with bench.running(cloud_of(bench)):
        bench.send(encoded := frame_of(bench.package, 3))
        bench.heard(Kind.RESULTS)
        bench.send(wire.with_ack(encoded, wanted=True))

        assert acks.parse(bench.heard(Kind.ACKS)[1]).sequence == 3


def test_a_flood_of_bad_frames_makes_few_dead_letters_and_counts_the_rest(bench):
    with bench.running(cloud := cloud_of(bench)):
        for _ in range(200):
            bench.send(b"no frame")
        wait_for(lambda: cloud.summary.refused[answerer.Refused.BAD_FRAME] == 200)

    assert dead_letters.BURST <= cloud.summary.dead_letters < 200
    assert cloud.summary.dead_letters + cloud.summary.dead_letters_left_out == 200


def test_a_frame_in_progress_is_not_begun_twice_and_both_its_messages_wait_for_the_result(bench):
    later = Later(bench.package)
    with bench.running(cloud := cloud_of(bench, later)):
        bench.send(frame_of(bench.package, 1))
        bench.send(frame_of(bench.package, 1))
        wait_for(lambda: cloud.summary.duplicates == 1)
        assert later.waiting == 1
        assert bench.unacknowledged() == 2
        later.finish_one()
        wait_for(lambda: bench.unacknowledged() == 0)

    assert (cloud.summary.results, cloud.held) == (1, 0)
    assert [name for name, _ in bench.done if name == "try_publish"] == ["try_publish"]


def test_a_frame_that_comes_again_is_answered_from_memory_with_its_acknowledgement(bench):
    with bench.running(cloud := cloud_of(bench)):
        answers = []
        for _ in range(2):
            bench.send(frame_of(bench.package, 1, wants_ack=True))
            answers += [bench.heard(kind)[1] for kind in (Kind.RESULTS, Kind.ACKS)]

    assert answers[:2] == answers[2:]
    assert (cloud.summary.frames, cloud.summary.results, cloud.summary.duplicates) == (2, 1, 1)


def test_a_frame_is_served_before_the_backlog_of_a_device_that_floods_and_before_it_is_read_no_tail_runs(bench):
    cloud = cloud_of(bench)
    cloud.subscribe()
    for sequence in range(30):
        bench.send(frame_of(bench.package, sequence))
    bench.device = "victim"
    bench.send(frame_of(bench.package, 0))
    with bench.running(cloud):
        said = [results.parse(bench.heard(Kind.RESULTS)[1]) for _ in range(31)]

    assert [each.device for each in said].index("victim") <= 1
    assert [each.sequence for each in said if each.device == "n"] == list(range(30))


def test_what_comes_sooner_than_a_device_may_send_is_refused_with_the_rate_and_answered_later(bench, monkeypatch):
    with bench.running(cloud := cloud_of(bench, limits=subscriber.Limits(device_per_s=0.001))):
        for sequence in range(10):
            bench.send(frame_of(bench.package, sequence))
        said = [results.parse(bench.heard(Kind.RESULTS)[1]) for _ in range(10)]
        monkeypatch.setattr(cloud._shares, "_limits", subscriber.Limits())
        bench.send(frame_of(bench.package, 9))
        wait_for(lambda: cloud.summary.results == 9)

    busy = [each for each in said if isinstance(each, results.Refusal)]
    assert sorted(each.sequence for each in busy) == [8, 9]
    assert all(each.is_busy and "0.001 frames a second" in each.error for each in busy)
    assert (cloud.summary.rate_limited, cloud.summary.refused) == (2, {answerer.Refused.BUSY: 2})


def test_what_exceeds_the_share_of_its_device_is_refused_as_busy_and_answered_when_it_comes_again(bench):
    later = Later(bench.package)
    with bench.running(cloud := cloud_of(bench, later, limits=subscriber.Limits(frames=40))):
        for sequence in range(30):
            bench.send(frame_of(bench.package, sequence, wants_ack=True))
        busy = [results.parse(bench.heard(Kind.RESULTS)[1]) for _ in range(10)]
        acknowledged = acks.parse(bench.heard(Kind.ACKS)[1])
        bench.device = "victim"
        bench.send(frame_of(bench.package, 0))
        wait_for(lambda: later.waiting == 21)
        for _ in range(21):
            later.finish_one()
        wait_for(lambda: cloud.held == 0)
        bench.device = "n"
        bench.send(frame_of(bench.package, 29))
        later.finish_one()
        wait_for(lambda: cloud.summary.results == 22)

    assert [each.sequence for each in busy] == list(range(20, 30))
    assert all(each.is_busy for each in (*busy, acknowledged))
    assert cloud.summary.refused == {answerer.Refused.BUSY: 10}
    assert cloud.summary.dead_letters == 0


@pytest.mark.parametrize("limits", [subscriber.Limits(frames=2), subscriber.Limits(bytes=1500)])
def test_at_its_bounds_a_cloud_takes_no_more_from_the_broker(bench, limits):
    later = Later(bench.package)
    with bench.running(cloud := cloud_of(bench, later, limits=limits)):
        for sequence in range(10):
            bench.send(frame_of(bench.package, sequence))
        for left in range(10, 0, -1):
            wait_for(lambda left=left: cloud.held == min(2, left))
            later.finish_one()
        wait_for(lambda: bench.unacknowledged() == 0)

    assert cloud.summary.results == 10


def test_while_a_broker_is_away_results_wait_and_no_frame_is_taken(bench):
    small = memory.protocol.Limits(outbox_messages=1)
    bench.cloud._shared.outbox._limits = small
    later = Later(bench.package)
    with bench.running(cloud := cloud_of(bench, later)):
        for sequence in range(4):
            bench.send(frame_of(bench.package, sequence))
        wait_for(lambda: later.waiting == 4)
        bench.network.cut("cloud")
        for _ in range(4):
            later.finish_one()
        assert cloud.held == 3
        bench.network.restore("cloud")
        wait_for(lambda: cloud.held == 0)

    assert {results.parse(bench.heard(Kind.RESULTS)[1]).sequence for _ in range(4)} == {0, 1, 2, 3}
    assert cloud.summary.unpublished == 0


def test_a_stopped_cloud_takes_no_new_frames_and_finishes_what_it_has(bench):
    later = Later(bench.package)
    cloud = cloud_of(bench, later)
    with bench.running(cloud):
        for sequence in range(3):
            bench.send(frame_of(bench.package, sequence))
        wait_for(lambda: later.waiting == 3)
        cloud.stop()
        wait_for(lambda: any(name == "unsubscribe" for name, _ in bench.done))
        bench.send(frame_of(bench.package, 99))
        for _ in range(3):
            later.finish_one()

    assert (cloud.summary.frames, cloud.summary.results, cloud.summary.unfinished) == (3, 3, 0)


def test_a_stop_that_takes_too_long_leaves_frames_unacknowledged_and_counts_them(bench):
    cloud = cloud_of(bench, Later(bench.package), drain_s=0.1)
    with bench.running(cloud):
        bench.send(frame_of(bench.package, 1))
        wait_for(lambda: cloud.held == 1)

    assert cloud.summary.unfinished == 1
    assert bench.unacknowledged() == 1


def test_an_engine_that_fails_ends_the_cloud_with_its_reason(bench):
    later = Later(bench.package)
    with bench.running(cloud_of(bench, later)) as failures:
        later.failure = errors.DeviceError("no worker can be started: gone")
        wait_for(lambda: failures)

    assert str(failures[0]) == "no worker can be started: gone"


def test_packages_are_served_side_by_side_and_another_is_refused_with_all_their_names(
    tiny_package, residual_model, tmp_path
):
    second, third = (
        tiny_models.write_package(tmp_path / f"{name}.tflsplit", residual_model, name=name, labels=(name, "y"))
        for name in ("second", "third")
    )
    bench = Bench(tiny_package)
    with bench.running(cloud_of(bench, engine.Inline.of(tiny_package, second))):
        for sequence, package in enumerate((tiny_package, second, third)):
            bench.send(frame_of(package, sequence))
        answers = [results.parse(bench.heard(Kind.RESULTS)[1]) for _ in range(3)]

    assert [answer.package for answer in answers[:2]] == [tiny_package.digest, second.digest]
    assert "(tiny), " in answers[2].error
    assert "(second)" in answers[2].error


def test_the_same_package_twice_is_refused(tiny_package):
    with pytest.raises(errors.SettingsError, match="two of them have the same digest"):
        engine.Inline.of(tiny_package, tiny_package)


def test_a_result_that_the_broker_would_not_take_becomes_a_refusal(tiny_package):
    bench = Bench(tiny_package, max_packet_bytes=500)
    with bench.running(cloud := cloud_of(bench)):
        bench.send(frame_of(tiny_package, 1, wants_raw=True))
        said = results.parse(bench.heard(Kind.RESULTS)[1])

    assert "does not fit the broker's packet limit of 500" in said.error
    assert cloud.summary.refused == {answerer.Refused.TOO_LARGE: 1}


def test_clouds_that_share_refuse_chunks_and_name_the_frame(bench):
    encoded = frame_of(bench.package, 8, cut="op001", wants_ack=True)
    parts = chunks.split(encoded, len(encoded) - 1)
    bench.cloud.subscribe(topics.every_device("d", Kind.FEATURES))  # the broker in memory knows no groups
    with bench.running(cloud := cloud_of(bench, share="g")):
        for chunk in parts:
            bench.send(chunk)
        said = results.parse(bench.heard(Kind.RESULTS)[1])
        acknowledged = acks.parse(bench.heard(Kind.ACKS)[1])

    assert (said.boot, said.sequence) == (acknowledged.boot, acknowledged.sequence) == (7, 8)
    assert "run one cloud without --share" in acknowledged.error
    assert cloud.summary.refused[answerer.Refused.CHUNK] == len(parts)


def test_observers_are_told_of_every_answer(bench):
    told = []

    class Noting:
        def answered(self, device, answer):
            told.append((device, answer.key, answer.refused))

    with bench.running(cloud_of(bench, observers=[Noting()])):
        bench.send(frame_of(bench.package, 1))
        bench.heard(Kind.RESULTS)
        bench.send(b"no frame")
        bench.heard(Kind.DEAD)

    assert told == [("n", (7, 1), None), ("n", None, answerer.Refused.BAD_FRAME)]
