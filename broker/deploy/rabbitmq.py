"""Users and rights for RabbitMQ, as one file of definitions that `rabbitmqctl import_definitions` reads. Pure.

Derived from the ledger as Mosquitto's access rules are. Clients show certificates: nobody has a password.
"""

import json
import re
from collections.abc import Iterable

from broker.deploy import access
from broker.deploy.ledger import Identity, Ledger, Proof
from broker.transport.credentials import Role
from tflsplit import errors

DEFINITIONS = "rabbitmq.json"
_EXCHANGE, _VHOST = "amq.topic", "/"
# As `broker.mqtt.online` begins the client ids of programs that only read.
_READERS = ("results", "watch")


def check(ledger: Ledger) -> None:
    """SettingsError for what RabbitMQ cannot have: it takes a dot in a topic for a slash."""
    if ledger.proof is Proof.PASSWORD:
        raise errors.SettingsError("--rabbitmq: clients show it certificates; leave --password-auth out")
    for what, name in (("deployment", ledger.deployment), *(("name", each.name) for each in ledger.identities)):
        if "." in name:
            raise errors.SettingsError(f"--rabbitmq: {what} {name!r} has a dot, which RabbitMQ takes for a slash")


def render(ledger: Ledger) -> str:
    check(ledger)
    users = [{"name": each.name, "password_hash": "", "tags": ""} for each in ledger.identities]
    permissions = [_permission(ledger.deployment, each) for each in ledger.identities]
    topics = [_topic_permission(ledger.deployment, each) for each in ledger.identities]
    made = {
        "vhosts": [{"name": _VHOST}],
        "users": users,
        "permissions": permissions,
        "topic_permissions": topics,
    }
    return json.dumps(made, indent=1) + "\n"


def _permission(deployment: str, identity: Identity) -> dict[str, str]:
    """Its subscriptions are queues that are named after its client ids; a cloud also uses the deployment's queues."""
    names = [identity.name, *(_READERS if identity.role is Role.CONSUMER else ())]
    prefix = f"mqtt-subscription-tflsplit-{deployment}-({'|'.join(map(re.escape, names))})-"
    own, exchanges = f"{prefix}.*", r"amq\.topic"
    if identity.role is Role.CLOUD:
        own, exchanges = rf"{own}|tflsplit\.{deployment}\..*", r"amq\.(default|topic)"
    used = f"^({exchanges}|{own})$"
    return {"user": identity.name, "vhost": _VHOST, "configure": f"^({own})$", "write": used, "read": used}


def _topic_permission(deployment: str, identity: Identity) -> dict[str, str]:
    return {
        "user": identity.name,
        "vhost": _VHOST,
        "exchange": _EXCHANGE,
        "write": _pattern(access.may_write(deployment, identity)),
        "read": _pattern(access.may_read(deployment, identity)),
    }


def _pattern(filters: Iterable[str]) -> str:
    """Of routing keys: a slash is a dot there, and a subscription's + a star."""
    keys = sorted({_key(each) for each in filters})
    return f"^({'|'.join(keys)})$" if keys else "^$"


def _key(topic_filter: str) -> str:
    levels = [{"+": "[^.]+", "#": ".*"}.get(level) or re.escape(level) for level in topic_filter.split("/")]
    return r"\.".join(levels)
