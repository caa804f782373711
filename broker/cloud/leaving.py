"""Answers that leave a cloud: published in the order in which they came, as far as the transport has room for them."""

import logging
import time
from collections import deque

from broker.cloud import answerer
from broker.cloud.answerer import Answer, Job, Refused
from broker.cloud.summary import Summary
from broker.messages import dead_letters, topics
from broker.messages.topics import Kind
from broker.transport.protocol import Message, Transport, publish_packet_bytes
from tflsplit import errors
from tflsplit.values.classes import dataclass, field

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """A device, the topics of its answers, and what of a packet is no answer."""

    device: str
    results: str
    acks: str
    dead: str
    overhead_bytes: int


def route_of(name: str) -> Route:
    """Of the device whose frames come under that topic. FrameError if it is none."""
    topic = topics.parse(name)
    named = (topic.deployment, topic.device)
    results, acks, dead = (topics.topic(*named, kind) for kind in (Kind.RESULTS, Kind.ACKS, Kind.DEAD))
    return Route(topic.device, results, acks, dead, publish_packet_bytes(results, 0, qos=1, expires=False) + 3)


# A topic and a payload, and what follows it once the broker has it.
_Publication = tuple[str, bytes, tuple[str, bytes] | None]


@dataclass(slots=True, eq=False)
class Held:
    """A frame that is not acknowledged yet: its messages and, once it is answered, the messages to publish."""

    route: Route
    job: Job
    messages: list[Message]
    held_bytes: int
    publications: deque[_Publication] = field(default_factory=deque)
    qos: int = 0  # of these


class Leaving:
    """For one thread at a time. Frames are acknowledged behind the last message of their answers."""

    def __init__(self, transport: Transport, summary: Summary) -> None:
        self.queue: deque[Held] = deque()
        self._transport = transport
        self._summary = summary
        self._allowance = dead_letters.Allowance()

    def add(self, held: Held, answer: Answer) -> Answer:
        """Queues the messages of an answer; returns the answer, without masks or refused if too large to publish."""
        # Of `busy` nothing is promised: its frame comes again.
        held.qos = 0 if answer.refused is Refused.BUSY else held.messages[0].qos
        route = held.route
        answer = answerer.fitted(held.job, answer, route.overhead_bytes, self._transport.max_packet_bytes)
        # An edge that asked for an acknowledgement forgets its frame by it: whoever waits for the result has it then.
        ack = None if answer.ack is None else (route.acks, answer.ack)
        *others, last = answer.results
        held.publications += [*((route.results, each, None) for each in others), (route.results, last, ack)]
        self.queue.append(held)
        return answer

    def add_dead_letter(self, held: Held, answer: Answer) -> None:
        if not self._allowance.take(time.monotonic()):
            self._summary.dead_letters_left_out += 1
            return
        self._summary.dead_letters += 1
        job, topic = held.job, held.route.dead
        letter = dead_letters.DeadLetter(
            job.device, answer.key, answer.error, job.received_ms, len(job.encoded), bytes(job.encoded)
        )
        overhead = publish_packet_bytes(topic, 0, qos=1, expires=False) + 3
        held.publications.append((topic, letter.as_json(self._transport.max_packet_bytes - overhead), None))

    def publish(self) -> int:
        """Publishes what the transport has room for, without waiting: workers and other deployments would wait too.
        Returns how many bytes of frames it let go."""
        freed_bytes = 0
        while self.queue:
            held = self.queue[0]
            try:
                while held.publications:
                    topic, payload, then = held.publications[0]
                    done = held.messages if len(held.publications) == 1 else ()
                    if not self._transport.try_publish(topic, payload, qos=held.qos, then=then, done=done):
                        return freed_bytes
                    held.publications.popleft()
            except errors.BrokerError as problem:
                self._summary.unpublished += 1
                log.error("result not published reason=%s", problem)
            self.queue.popleft()
            freed_bytes += held.held_bytes
        return freed_bytes
