"""Which identity may write and read which topics, in the format of Mosquitto's access file.

Pure. Each identity has a block of topics, without patterns of the user name: an identity without a block may do
nothing, so removing its block revokes all its rights.
"""

import contextlib
from collections.abc import Iterator, Sequence

from broker.deploy.ledger import Identity, Ledger
from broker.messages import topics
from broker.messages.topics import Kind
from broker.transport.credentials import Role
from tflsplit import errors

_DEVICE_WRITES = (Kind.FEATURES, Kind.STATUS, Kind.BIRTH, Kind.TELEMETRY, Kind.PICTURE)
_DEVICE_READS = (Kind.RESULTS, Kind.ACKS, Kind.CONTROL, Kind.STATUS)
_CLOUD_WRITES = (Kind.RESULTS, Kind.ACKS, Kind.DEAD, Kind.CONTROL)
_CLOUD_READS = (Kind.FEATURES, Kind.STATUS, Kind.BIRTH, Kind.TELEMETRY, Kind.SERVES)
_TOLD = (Kind.DEAD, Kind.STATUS, Kind.BIRTH, Kind.TELEMETRY, Kind.SERVES, Kind.EPOCH, Kind.SHARE, Kind.LOAD)
_CONSUMER_READS = (Kind.RESULTS, Kind.PICTURE, *_TOLD)
# A worker speaks to any other one of its deployment, and the last of them has the results of the source's inputs.
_WORKER_WRITES = (Kind.STATUS, Kind.EPOCH, Kind.SHARE, Kind.TELEMETRY)
_WORKER_WRITES_TO_ALL = (Kind.PARTS, Kind.RESULTS)
_WORKER_READS = (Kind.PARTS,)
_WORKER_READS_OF_ALL = (Kind.STATUS, Kind.EPOCH, Kind.SHARE)
_OPERATOR_WRITES = (Kind.CONTROL,)
# Results too: a rollout compares how a device's labels come with both models.
_OPERATOR_READS = (Kind.RESULTS, *_TOLD)

# Home Assistant is a consumer that publishes its start, and reads the announcements of devices.
_HOME_STATUS = f"{topics.DISCOVERY_PREFIX}/status"
_EVERY_DISCOVERY = f"{topics.DISCOVERY_PREFIX}/device/+/config"

_HEADER = """\
# Written by `tflsplit broker`, again with every change of the identities: do not edit it.
# An identity without a block below may neither write nor read anything.
"""


# Names that stand for those of a kind: one that Home Assistant accepts, and one that it does not.
_STAND_INS = {True: "tflsplit-2f8c41", False: "tflsplit.2f8c41"}


def render(ledger: Ledger) -> str:
    """The rules of a role are worked out once, and written for each of its names: there may be ten thousand."""
    blocks: dict[tuple[Role, bool], str] = {}
    written = []
    for identity in ledger.identities:
        kind = (identity.role, bool(_discovery(ledger.deployment, identity.name)))
        stand_in = _STAND_INS[kind[1]]
        if kind not in blocks:
            block = _rules(ledger, Identity(stand_in, identity.role))
            blocks[kind] = "\n".join((f"user {stand_in}", *block, ""))
        written.append(blocks[kind].replace(stand_in, identity.name) + _more(identity))
    return "\n".join((_HEADER, *written))


def _more(identity: Identity) -> str:
    """What was allowed to it alone."""
    lines = [*(f"topic write {each}" for each in identity.writes), *(f"topic read {each}" for each in identity.reads)]
    return "".join(f"{line}\n" for line in lines)


def may_write(deployment: str, identity: Identity) -> Sequence[str]:
    """The topic filters that an identity may publish to by its role."""
    own = _topics_of(deployment, identity.name)
    match identity.role:
        case Role.DEVICE:
            return [*(own[kind] for kind in _DEVICE_WRITES), *_discovery(deployment, identity.name)]
        case Role.CLOUD:
            return [
                *(topics.every_device(deployment, kind) for kind in _CLOUD_WRITES),
                own[Kind.STATUS],
                own[Kind.SERVES],
                own[Kind.LOAD],
                own[Kind.MARK],
            ]
        case Role.CONSUMER:
            return [_HOME_STATUS]
        case Role.OPERATOR:
            return [topics.every_device(deployment, kind) for kind in _OPERATOR_WRITES]
        case Role.WORKER:
            to_all = [topics.every_device(deployment, kind) for kind in _WORKER_WRITES_TO_ALL]
            return [*to_all, *(own[kind] for kind in _WORKER_WRITES)]
        case Role.GUEST:
            return []


def may_read(deployment: str, identity: Identity) -> Sequence[str]:
    """The topic filters that an identity may subscribe to by its role."""
    own = _topics_of(deployment, identity.name)
    match identity.role:
        case Role.DEVICE:
            # An edge goes on when a cloud says that it has come, and notices another one of its name. What it announced
            # before tells it which entities are to go.
            clouds, announced = topics.every_device(deployment, Kind.SERVES), _discovery(deployment, identity.name)
            return [*(own[kind] for kind in _DEVICE_READS), clouds, _HOME_STATUS, *announced]
        case Role.CLOUD:
            return [*(topics.every_device(deployment, kind) for kind in _CLOUD_READS), own[Kind.MARK]]
        case Role.CONSUMER:
            return [*(topics.every_device(deployment, kind) for kind in _CONSUMER_READS), _EVERY_DISCOVERY]
        case Role.OPERATOR:
            return [topics.every_device(deployment, kind) for kind in _OPERATOR_READS]
        case Role.WORKER:
            of_all = [topics.every_device(deployment, kind) for kind in _WORKER_READS_OF_ALL]
            return [*of_all, *(own[kind] for kind in _WORKER_READS)]
        case Role.GUEST:
            return []


def _rules(ledger: Ledger, identity: Identity) -> Iterator[str]:
    yield from (f"topic write {topic}" for topic in may_write(ledger.deployment, identity))
    yield from (f"topic read {topic}" for topic in may_read(ledger.deployment, identity))


def _discovery(deployment: str, device: str) -> Sequence[str]:
    """The discovery topic, or nothing if Home Assistant does not accept the device's name."""
    with contextlib.suppress(errors.SettingsError):
        return [topics.discovery(deployment, device)]
    return []


def _topics_of(deployment: str, name: str) -> dict[Kind, str]:
    return {kind: topics.topic(deployment, name, kind) for kind in Kind}
