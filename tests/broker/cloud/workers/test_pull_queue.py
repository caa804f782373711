"""The queue that workers pull from: order, what goes together, and its end."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from broker.cloud.answerer import Job
from broker.cloud.workers import pull_queue
from broker.messages import wire
from tflsplit.coding import feature_codec
from tflsplit.graph.tensors import TensorSpec

WAIT_S = 60.0


def waiting(number, *, cut=1, package=b"p" * 16):
    spec = TensorSpec("", (1,), "int8")
    frame = wire.Frame(package, cut, 1, number, 0, 0, (spec,))

    encoded = wire.encode(frame, [np.zeros(1, np.int8)], feature_codec.Plain())
    return pull_queue.Waiting(Job(str(number), encoded, 0.0), lambda answer: None)


def of_device(device, count):
    return [dataclasses.replace(each, job=Job(device, each.job.encoded, 0.0)) for each in map(waiting, range(count))]


def numbers(taken):
    return [int(each.job.device) for each in taken]


@pytest.fixture
def queue():
    return pull_queue.PullQueue()


def test_frames_come_in_their_order_and_one_that_is_put_back_comes_first(queue):
    for number in range(3):
        queue.put(waiting(number))
    first = queue.take(0.0)
    queue.put_back(first)

    assert numbers([queue.take(0.0) for _ in range(3)]) == [0, 1, 2]
    assert queue.take(0.0) is None


def test_a_device_that_floods_is_not_served_before_others_that_come_later(queue):
    for each in of_device("flood", 50):
        queue.put(each)
    queue.take(0.0)
    for each in of_device("victim", 3):
        queue.put(each)
    taken = [queue.take(0.0).job.device for _ in range(6)]

    assert taken.count("victim") == 3


def test_a_batch_is_shared_too(queue):
    for each in (*of_device("flood", 50), *of_device("victim", 3)):
        queue.put(each)
    batch = queue.take_like(queue.take(0.0), most=7, until_s=0.0)

    assert [each.job.device for each in batch].count("victim") == 3


def test_what_is_like_the_first_is_taken_past_others_which_keep_their_order(queue):
    for number, cut in enumerate((1, 2, 1, 2, 1, 1)):
        queue.put(waiting(number, cut=cut))
    first = queue.take(0.0)

    assert numbers(queue.take_like(first, most=2, until_s=time.monotonic() + WAIT_S)) == [2, 4]
    assert numbers([queue.take(0.0) for _ in range(3)]) == [1, 3, 5]


def test_others_waiting_end_the_wait_for_more(queue):
    for number, cut in enumerate((1, 1, 2)):
        queue.put(waiting(number, cut=cut))
    began_s = time.monotonic()

    assert numbers(queue.take_like(queue.take(0.0), most=7, until_s=began_s + WAIT_S)) == [1]
    assert time.monotonic() - began_s < WAIT_S


def test_a_wait_for_more_ends_when_there_are_enough(queue):
    queue.put(waiting(0))
    first = queue.take(0.0)
    late = threading.Timer(0.05, lambda: [queue.put(waiting(number)) for number in (1, 2)])
    late.start()

    assert numbers(queue.take_like(first, most=2, until_s=time.monotonic() + WAIT_S)) == [1, 2]
    late.join()


def test_frames_of_other_packages_or_that_killed_a_worker_go_alone(queue):
    queue.put(waiting(0))
    queue.put(waiting(1, package=b"q" * 16))
    deadly = waiting(2)
    deadly.deaths = 1
    queue.put(deadly)
    first = queue.take(0.0)

    assert queue.take_like(first, most=7, until_s=0.0) == []
    assert queue.take_like(deadly, most=7, until_s=time.monotonic() + WAIT_S) == []


def test_closing_wakes_who_waits(queue):
    taken = []
    thread = threading.Thread(target=lambda: taken.append(queue.take(WAIT_S)))
    thread.start()
    queue.close()
    thread.join(WAIT_S)

    assert taken == [None]
