"""The memory of answers is bounded in number and in bytes, and forgets the oldest first."""

from broker.cloud import reply_cache
from broker.cloud.answerer import Answer
from broker.cloud.reply_cache import ReplyCache


def answer(size):
    return Answer((1, 1), bytes(size))


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def test_answers_of_a_minute_are_kept_whatever_the_rate_and_some_always(monkeypatch):
    monkeypatch.setattr(reply_cache, "_ALWAYS", 3)
    clock = Clock()
    answered = ReplyCache(clock=clock)
    for number in range(5000):
        answered.add(("n", 1, number), answer(1))
    assert answered.get(("n", 1, 0)) is not None
    clock.now_s += 60.0
    answered.add(("n", 1, 5000), answer(1))

    assert [number for number in range(5001) if answered.get(("n", 1, number)) is not None] == [4998, 4999, 5000]
    assert answered.forgotten == 0


def test_answers_that_go_within_seconds_are_counted():
    clock = Clock()
    answered = ReplyCache(most_bytes=10_000, clock=clock)
    for number in range(4):
        answered.add(("n", 1, number), answer(4000))
    assert answered.forgotten == 2
    clock.now_s += 20.0
    answered.add(("n", 1, 4), answer(4000))

    assert answered.forgotten == 2


def test_the_oldest_is_forgotten_beyond_bytes_and_an_answer_that_is_replaced_counts_once():
    answered = ReplyCache(most_bytes=10_000)
    for _ in range(50):
        answered.add(("n", 1, 0), answer(4000))
    answered.add(("n", 1, 1), answer(4000))
    assert answered.get(("n", 1, 0)) is not None
    answered.add(("n", 1, 2), answer(4000))

    assert [answered.get(("n", 1, number)) is not None for number in range(3)] == [False, True, True]


def test_one_larger_than_all_is_not_kept():
    answered = ReplyCache(most_bytes=1000)
    answered.add(("n", 1, 0), answer(2000))

    assert answered.get(("n", 1, 0)) is None
    assert answered.forgotten == 1
