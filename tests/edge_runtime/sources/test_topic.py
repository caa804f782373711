"""Pictures from a topic of a real Mosquitto, published as Frigate and cameras do."""

import io
from collections import Counter

import numpy as np
import pytest
import tiny_models
from PIL import Image
from waiting import wait_for

from broker.links.relay import Relay
from broker.links.shaping import Shape
from broker.local import server
from broker.mqtt.transport import MqttTransport
from broker.transport.backoff import Backoff
from edge_runtime.sources import frames, topic
from tflsplit import errors
from tflsplit.api import connections

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

CAMERA = "frigate/front door/person/snapshot"


@pytest.fixture
def manifest(builder):
    x = builder.tensor("x", (1, 4, 6, 3), scale=1 / 255, zero_point=-128)
    y = builder.add(x, x, "y", (1, 4, 6, 3))
    return tiny_models.describe(builder.build((x,), (y,)))


def picture(seed=0, kind="PNG", size=(11, 9)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


class Camera:
    """It publishes retained, as Frigate does."""

    def __init__(self, url):
        self._transport = MqttTransport(url, client_id="camera")

    def __enter__(self):
        self._transport.connect()
        return self

    def __exit__(self, *_):
        self._transport.close()

    def say(self, payload, name=CAMERA, *, retain=True):
        self._transport.publish(name, payload, retain=retain)
        assert self._transport.flush(60.0)


class Reader:
    def __init__(self, word, manifest):
        quick = connections.of_pictures(None, ("d", "n"))
        self.source = frames.open_source(word, manifest, connect=quick)
        self.dropped = Counter()
        self.source.drop = lambda reason: self.dropped.update([reason])
        self._captures = self.source.awaited()

    def next(self):
        return next(each for each in self._captures if each is not None)

    def look(self):
        return next(self._captures)


@pytest.fixture
def reader(manifest, monkeypatch):
    opened = []
    monkeypatch.setattr(topic, "LOOK_S", 0.05)
    monkeypatch.setattr(Backoff.__init__, "__defaults__", (0.02, 0.2, *Backoff.__init__.__defaults__[2:]))

    def begin(word):
        opened.append(Reader(word, manifest))
        return opened[-1]

    yield begin
    for each in opened:
        each.source.close()


def test_pictures_come_in_their_order_and_what_is_none_is_counted(reader, manifest, tmp_path, caplog):
    with server.run(port=0) as broker, Camera(broker.url) as camera:
        camera.say(picture(1))
        found = reader(f"{broker.url}/frigate/+/person/snapshot")
        first = found.next()
        camera.say(picture(2))
        camera.say(b"")
        for payload in (b"ON", picture(3)[:60], b'{"after": {}}'):
            camera.say(payload)
        camera.say(picture(4, "JPEG"), "frigate/yard/person/snapshot")
        camera.say(picture(4), "frigate/yard/person/snapshot")
        rest = [found.next() for _ in range(3)]

    assert found.source.is_live
    assert found.dropped == {"no_picture": 3}
    assert caplog.text.count("message is no picture") == 1
    taken = [first, *rest]
    for seed in (1, 2, 4):
        (tmp_path / f"{seed}.png").write_bytes(picture(seed))
    of_files = [each.arrays for each in frames.open_source(tmp_path, manifest).inputs()]
    of_topic = [found.source.convert(each.raw) for each in (taken[0], taken[1], taken[3])]
    assert np.array_equal(of_files, of_topic)


def test_a_connection_that_is_lost_comes_back_is_counted_and_repeats_no_retained_picture(reader):
    with (
        server.run(port=0) as broker,
        Camera(broker.url) as camera,
        Relay(broker.address, up=Shape(), down=Shape()) as link,
    ):
        camera.say(picture(1))
        found = reader(f"mqtt://{link.address}/frigate/#")
        found.next()
        link.interrupt()
        wait_for(lambda: found.look() is None and found.dropped["stream_lost"])
        camera.say(small := picture(2, size=(2, 3)), retain=False)
        again = found.next()
        camera.say(small, retain=False)  # live ones are taken as often as they come
        found.next()

    assert found.source.size_of(again.raw) == (2, 3)
    assert found.dropped == {"stream_lost": 1}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("topic:frigate/x", "there is no broker here"),
        ("mqtt://me:s3cret@127.0.0.1:1/frigate/x", "127.0.0.1:1"),
        ("mqtt://127.0.0.1:1", "write topic:TOPIC"),
        ("topic:a/b+/c", "whole level"),
        ("topic:a/#/c", "whole level"),
        ("topic:", "no topic"),
        ("topic:\udcff", "no topic"),
    ],
)
def test_what_cannot_be_read_is_refused_without_its_password(reader, word, message):
    with pytest.raises(errors.TflsplitError, match=message) as refused:
        reader(word)

    assert "s3cret" not in str(refused.value)
