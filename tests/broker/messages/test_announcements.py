"""What a cloud says of itself, read back as it was written."""

import pytest

from broker.messages import announcements
from broker.messages.announcements import Announcement
from tflsplit import errors
from tflsplit.coding import feature_codec

TEXT = b'{"boot":"000000000000b007","packages":[{"digest":"%s","name":"digits"}],"codecs":[0,36]}' % (b"ab" * 32)


def test_an_announcement_reads_back_as_it_was_written():
    made = Announcement(0xB007, (("ab" * 32, "digits"),), codecs=(0, 36))

    assert made.as_json() == TEXT
    assert announcements.parse(TEXT) == made
    assert (made.serves("ab" * 16), made.serves("ab" * 32), made.serves("ba" * 16)) == (True, True, False)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"boot":"x","packages":[]}', b'{"boot":"1","packages":[1]}']
)
def test_what_is_no_announcement_is_refused(text):
    with pytest.raises(errors.FrameError, match="announcement is"):
        announcements.parse(text)


def test_a_cloud_tells_all_codecs_that_it_reads_and_an_older_one_none():
    made = Announcement(1, (("ab" * 32, "digits"),))

    assert set(made.codecs) == set(feature_codec.CodecId)
    assert announcements.parse(TEXT.replace(b',"codecs":[0,36]', b"")).codecs == ()


def test_open_tails_are_told_by_package_and_left_out_where_there_are_none():
    made = Announcement(1, (("ab" * 32, "digits"), ("cd" * 32, "other")), ready=frozenset({("ab" * 32, "op001")}))

    assert announcements.parse(made.as_json()) == made
    assert (made.ready_cuts("ab" * 16), made.ready_cuts("cd" * 32)) == ({"op001"}, frozenset())
    assert made.as_json().count(b"ready") == 1
