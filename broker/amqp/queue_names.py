"""How topics appear on RabbitMQ's AMQP side, and the queue in which a deployment's frames wait.

RabbitMQ's MQTT plugin publishes to the exchange `amq.topic` with each `/` of a topic turned into a dot, and turns each
dot into a `/` for MQTT's subscribers. So a name with a dot in it comes out as two levels: it is refused here.
"""

from broker.messages import topics
from broker.messages.topics import Kind
from tflsplit import errors
from tflsplit.values.classes import dataclass

EXCHANGE = "amq.topic"

# Frames wait here for as long as all clouds are busy, at most a window of each device. So the bounds are met when
# devices send again what still waits, and then the oldest goes first: what it was is the likeliest to be there twice.
# RabbitMQ's other answer to a full queue, to refuse the new one, makes its MQTT plugin hang up (tried with 3.10.8).
_FRAMES, _FRAME_BYTES = 100_000, 2 << 30

# RabbitMQ 4's own number. A cloud's death counts for every frame that it held, so a low one would hit the innocent.
_DELIVERIES = 20

# Frames that were dropped or given back too often, for whoever looks for the reason.
_DEAD, _DEAD_BYTES = 1_000, 64 << 20


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and what it must be declared with; RabbitMQ refuses a second declaration that differs."""

    name: str
    arguments: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class Frames:
    """Where the frames of a deployment wait, and where those end that no cloud could do."""

    waiting: Queue
    dead: Queue
    binding: str


def frames(topic_filter: str) -> Frames:
    """The queue behind a subscription to a deployment's frames, shared or not: whoever subscribes shares it.

    BrokerError for any other filter; only frames wait in a queue.
    """
    levels = topic_filter.split("/")
    unshared = "/".join(levels[2:] if levels[0] == "$share" else levels)
    deployment = unshared.removeprefix(f"{topics.ROOT}/").partition("/")[0]
    try:
        is_frames = unshared == topics.every_device(deployment, Kind.FEATURES)
    except errors.SettingsError:
        is_frames = False
    if not is_frames:
        raise errors.BrokerError(f"{topic_filter} cannot be had over AMQP: only the frames of a deployment wait there")
    return frames_of(deployment)


def frames_of(deployment: str) -> Frames:
    """BrokerError for a deployment that RabbitMQ cannot tell from a longer topic."""
    if "." in deployment:
        raise errors.BrokerError(
            f"deployment {deployment!r}: RabbitMQ takes a dot in a topic for a slash; use a name without"
        )
    prefix = f"tflsplit.{deployment}"
    dead = Queue(f"{prefix}.dead", _quorum(_DEAD, _DEAD_BYTES))
    arguments = _quorum(_FRAMES, _FRAME_BYTES) | {
        "x-delivery-limit": _DELIVERIES,
        "x-dead-letter-exchange": "",  # the one that every queue is bound to by its name
        "x-dead-letter-routing-key": dead.name,
    }
    # `#` and not `*`: frames of a device with a dot in its name come too, and are refused where it is seen.
    binding = f"{routing_key(topics.ROOT)}.{deployment}.#.{Kind.FEATURES.value}"
    return Frames(Queue(f"{prefix}.{Kind.FEATURES.value}", arguments), dead, binding)


def routing_key(topic: str) -> str:
    """BrokerError for a topic that subscribers would see as another."""
    if "." in topic:
        raise errors.BrokerError(f"topic {topic}: RabbitMQ takes a dot for a slash; use names without")
    return topic.replace("/", ".")


def topic(routing_key: str) -> str:
    return routing_key.replace(".", "/")


def _quorum(messages: int, held_bytes: int) -> dict[str, str | int]:
    return {
        "x-queue-type": "quorum",
        "x-max-length": messages,
        "x-max-length-bytes": held_bytes,
        "x-overflow": "drop-head",
    }
