import pytest

from broker.messages import presence
from broker.messages.presence import Status
from tflsplit import errors

CASES = [
    (b'{"state":"online","boot":"000000000000b007","connection":3}', Status("online", 0xB007, 3)),
    (
        b'{"state":"offline","boot":"ffffffffffffffff","connection":1,"reason":"lost"}',
        Status("offline", 2**64 - 1, 1, "lost"),
    ),
]


@pytest.mark.parametrize(("text", "status"), CASES)
def test_status_reads_back_as_it_was_written(text, status):
    assert status.as_json() == text
    assert presence.parse(text) == status


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"\xff", b'{"state":"asleep","boot":"1","connection":1}', b"[" * 100_000]
)
def test_what_is_no_status_is_refused(text):
    with pytest.raises(errors.FrameError, match="status is"):
        presence.parse(text)


@pytest.mark.parametrize(
    ("said", "latest", "is_late"),
    [
        (Status("offline", 1, 1, "lost"), Status("online", 1, 1), False),
        (Status("offline", 1, 1, "lost"), Status("online", 1, 2), True),
        (Status("offline", 1, 9, "lost"), Status("online", 2, 1), True),
        (Status("offline", 2, 1, "closed"), Status("online", 2, 1), False),
        (Status("online", 1, 1), Status("online", 2, 1), False),
        (Status("online", 1, 1, at_ms=10), Status("offline", 1, 1, "closed", at_ms=20), True),
        (Status("online", 1, 1, at_ms=30), Status("offline", 1, 1, "closed", at_ms=20), False),
        (Status("online", 2, 1, at_ms=10), Status("offline", 1, 1, "closed", at_ms=20), False),
        (Status("online", 1, 1, at_ms=10), Status("offline", 1, 1, "lost", at_ms=5), False),
        (Status("online", 1, 1), Status("offline", 1, 1, "closed"), False),
    ],
)
def test_what_was_replaced_since_is_late(said, latest, is_late):
    assert said.is_late(latest) is is_late
