import io

import numpy as np
import waiting
from PIL import Image

from broker.messages import topics
from broker.messages.watched import picture
from broker.transport import memory
from edge_runtime.delivery.settings import Settings
from edge_runtime.monitoring import shared_pictures
from edge_runtime.sources import frames

SETTINGS = Settings("shop", "cam1", boot=7)


def shared(source, wanted=1):
    """What consumers get while the source's captures are taken."""
    broker = memory.MemoryBroker()
    ends = (memory.MemoryTransport(broker, client_id=name) for name in ("edge", "consumer"))
    with next(ends) as edge, next(ends) as consumer:
        edge.connect()
        consumer.connect()
        consumer.subscribe(topics.topic("shop", "cam1", topics.Kind.PICTURE))
        found = []
        with shared_pictures.PictureSharer(source, edge, SETTINGS, every_s=1000.0):
            for _ in source.captures():
                pass
            if wanted:
                found.append(consumer.receive(waiting.WAIT_S))
        assert consumer.receive(0.0) is None
    return [picture.parse(message.payload) for message in found]


def source_of(row, count=3):
    return frames.Source(lambda: iter([row] * count), lambda raw: raw, is_live=False, shown=lambda raw: raw)


def test_one_picture_in_its_interval_says_of_which_frame_it_is():
    (found,) = shared(source_of(np.zeros((48, 64, 3), np.uint8)))

    assert found.boot == 7
    assert found.captured_ms > 1.7e12
    assert Image.open(io.BytesIO(found.jpeg)).size == (64, 48)


def test_a_large_file_is_shared_smaller_and_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter
    Image.new("RGB", (2000, 1000)).save(tmp_path / "large.jpg", exif=turned)
    (found,) = shared(source_of(tmp_path / "large.jpg"))

    assert Image.open(io.BytesIO(found.jpeg)).size == (320, 640)


def test_numbers_that_are_no_picture_are_not_shared_and_said_once(caplog):
    source = frames.Source(lambda: iter([np.zeros(4)] * 3), lambda raw: raw, is_live=False)
    assert shared(source, wanted=0) == []
    assert caplog.text.count("pictures not shared") <= 1


def test_a_file_that_is_no_picture_costs_a_line_and_no_frame(tmp_path, caplog):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nonsense")
    assert shared(source_of(tmp_path / "broken.jpg"), wanted=0) == []
