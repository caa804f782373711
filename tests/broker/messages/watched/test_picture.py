import io

import numpy as np
import pytest
from PIL import Image

from broker.messages.watched import picture
from tflsplit import errors


def test_the_comment_is_read_from_what_pillow_writes_and_pillow_reads_the_picture():
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", comment=picture.comment(0xC0FFEE, 17.5))
    found = picture.parse(stream.getvalue())

    assert (found.boot, found.captured_ms) == (0xC0FFEE, 17.5)
    assert Image.open(io.BytesIO(found.jpeg)).size == (48, 32)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x89PNG\r\n",
        b"\xff\xd8",
        b"\xff\xd8\xff\xfe\x00\x01",
        b"\xff\xd8\xff\xda\x00\x02rest",
        b"\xff\xd8\xff\xfe\x00\x04{}",
        b"\xff\xd8\xff\xe0\xff\xffshort",
        b"\xff\xd8" + bytes(picture.MOST_BYTES),
    ],
)
def test_anything_else_is_refused(payload):
    with pytest.raises(errors.FrameError, match="picture begins"):
        picture.parse(payload)
