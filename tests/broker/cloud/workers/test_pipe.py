"""What crosses the pipe between dispatcher and workers arrives as it was."""

import pytest

from broker.cloud.answerer import Answer, Job, Kept, Refused
from broker.cloud.workers import pipe

ANSWERS = [
    Answer((1, 2), b"{}", None, None, "", 0.25, 0.5),
    Answer((1 << 63, 1 << 60), b"", b""),
    Answer(None, b"r" * 100_000, None, Refused.POISON, "gründlich"),
    *(Answer((0, 0), b"", b"a", refused) for refused in Refused),
    Answer((1, 3), b"{}", None, kept=Kept(b"state" * 99, 7)),
    Answer((1, 4), b"{}", None, kept=Kept(b"", 1)),
]


@pytest.mark.parametrize("answers", [[], ANSWERS[:1], ANSWERS], ids=len)
def test_answers(answers):
    assert pipe.unpack_answers(pipe.pack_answers(answers, 3)) == (answers, 3)


@pytest.mark.parametrize("encoded", [b"", b"frame", bytearray(100_000), memoryview(b"view")], ids=type)
def test_jobs(encoded):
    jobs = [
        Job("n", encoded, 12.5, kept=Kept(b"state", 1 << 50)),
        Job("a" * 64, b"other", 0.0, is_exact=True),
        Job("b", b"", 0.0, is_exact=False),
    ]
    arrived = pipe.unpack_jobs(pipe.pack_jobs(jobs))

    assert [(job.device, bytes(job.encoded), job.received_ms, job.is_exact, job.kept) for job in arrived] == [
        (job.device, bytes(job.encoded), job.received_ms, job.is_exact, job.kept) for job in jobs
    ]
