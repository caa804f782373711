"""A device starts from what others of its kind have measured, and says what it measures."""

import contextlib

import pytest
from memory_cloud import WAIT_S, cloud_for

from broker.messages import siblings as messages
from broker.messages import topics
from broker.messages.siblings import Figures
from broker.transport import memory
from edge_runtime.adapting import siblings
from edge_runtime.adapting.siblings import Siblings
from tflsplit.switching.choices import Present

KIND = b"12345678"
HERE = Present(1e-6, 0.1, 2.0, 3.0, 0.2)


@pytest.fixture
def network():
    return memory.MemoryBroker()


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def join(network, stack):
    def joined(name, **changes):
        online = stack.enter_context(memory.MemoryTransport(network, client_id=name))
        online.connect()
        online.subscribe(topics.topic("d", name, topics.Kind.CONTROL))
        return online, Siblings(online, "d", name, KIND, **({"may_tell": lambda: True} | changes))

    return joined


def test_the_second_is_told_what_the_first_has_measured(network, join, tiny_package):
    with cloud_for(tiny_package, network):
        _, first = join("one")
        first.tell(0.0, HERE)
        online, second = join("two")
        second.ask(0.0)
        told = second.take(online.receive(WAIT_S).payload)

    assert (told.devices, told.age_s, second.devices) == (1, 0.0, 1)
    assert siblings.present_of(told) == HERE


def test_one_that_is_answered_asks_no_more_and_takes_no_other_answer(network, join):
    asked, listener = [], memory.MemoryTransport(network, client_id="listener")
    with listener:
        listener.connect()
        listener.subscribe(topics.topic("d", "one", topics.Kind.TELEMETRY))
        _, device = join("one")
        for second in range(3):
            device.ask(float(second))
            asked.append(messages.parse(listener.receive(WAIT_S).payload))
        assert device.take(Figures(KIND, 0).encode()) is None
        assert device.take(siblings.figures_of(KIND, HERE).encode()) is None
        device.ask(10.0)
        assert listener.receive(0.0) is None

    assert [each.devices for each in asked] == [0, 0, 0]


def test_questions_without_an_answer_end(network, join):
    online, device = join("one")
    for second in range(100):
        device.ask(float(second))

    assert online.counters.published == siblings._MOST_QUESTIONS


def test_figures_of_another_kind_and_other_words_are_no_answer(network, join):
    _, device = join("one")
    assert device.take(siblings.figures_of(b"another!", HERE).encode()) is None
    assert device.take(b"TFSP and so on") is None
    assert device.take(b"TFSK") is None

    assert device.take(siblings.figures_of(KIND, HERE).encode()).devices == 1


def test_it_speaks_at_intervals_or_not_at_all(network, join):
    online, device = join("one")
    silent, other = join("two", may_tell=lambda: False)
    for step in range(41):
        device.tell(step * 0.5, HERE)
        other.tell(step * 0.5, HERE)

    assert (online.counters.published, silent.counters.published) == (3, 0)


def test_it_speaks_at_once_when_it_has_measured_and_not_only_a_while_after_its_question(network, join):
    online, device = join("one")
    device.ask(0.0)
    device.tell(0.2, HERE)

    assert online.counters.published == 2


def test_a_kind_is_of_package_plan_and_processor():
    given = ("9f", [{"cut": "input", "edge_s": 0.1}], {"name": "wifi"}, "cpu")
    others = ("8f", [], {"name": "4g"}, "arm")
    kinds = {siblings.kind_of(*given[:place], other, *given[place + 1 :]) for place, other in enumerate(others)}

    assert len(kinds | {siblings.kind_of(*given)}) == 5
