"""The memory of answers is bounded in number and in bytes, and forgets the oldest first."""

from broker.cloud.answerer import Answer
from broker.cloud.reply_cache import ReplyCache


def answer(size):
    return Answer((1, 1), bytes(size))


def test_the_oldest_is_forgotten_beyond_a_number():
    answered = ReplyCache(most=3)
    for number in range(5):
        answered.add(("n", 1, number), answer(1))

    assert [answered.get(("n", 1, number)) is not None for number in range(5)] == [False, False, True, True, True]


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
