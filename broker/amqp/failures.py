"""Why a RabbitMQ was not reached or refused us: pika's exceptions in plain words that name what to do about it."""

import re
from typing import Any

from pika import exceptions

from broker.amqp.address import AmqpAddress
from broker.transport import remedies
from broker.transport.state import Lost
from tflsplit.values.classes import replace

_SAID = re.compile(r"""\((\d{3})(?:\)|,) (['"])(.*)\2""", re.DOTALL)  # pika has it only inside its own sentences
_ACCESS_REFUSED, _PRECONDITION_FAILED, _NOT_ALLOWED = 403, 406, 530

_REFUSALS = exceptions.ProbableAuthenticationError, exceptions.ProbableAccessDeniedError

_PORTS = "RabbitMQ's ports for AMQP are 5672 and, with TLS, 5671"
_RIGHTS = "`rabbitmqctl set_permissions` gives them, and docs/rabbitmq.md has them"


def lost(problem: BaseException, where: AmqpAddress, user: str | None) -> Lost:
    """What RabbitMQ itself refused stays refused; anything else may pass. A `user` of None shows a certificate."""
    cause = _innermost(problem)
    if isinstance(cause, OSError):
        opening = remedies.of_opening(cause, where.address, "amqp")
        is_closed = isinstance(cause, ConnectionRefusedError)
        return replace(opening, reason=f"{opening.reason}; {_PORTS}") if is_closed else opening
    if isinstance(cause, exceptions.IncompatibleProtocolError):
        return Lost(f"it hung up{remedies.of_hanging_up(where.address, 'amqp')}; {_PORTS}", cause=cause)
    if isinstance(cause, exceptions.AuthenticationError):  # of pika, which found no proof that both know
        return Lost(f"it takes no proof of ours{_of_login(where, user)}", is_for_good=True, cause=cause)
    said = _SAID.search(str(cause))
    if said is not None:
        words = said[3].rstrip(".")
        # pika says the same of a node that dies while it looks at us, but then without words of RabbitMQ's.
        is_for_good = isinstance(cause, _REFUSALS) and int(said[1]) in (_ACCESS_REFUSED, _NOT_ALLOWED)
        return Lost(words + _of_refusal(int(said[1]), words, where, user), is_for_good=is_for_good, cause=cause)
    is_slow = "Timeout while setting up" in str(cause)
    return Lost(f"no answer in time; {_PORTS}" if is_slow else str(cause) or repr(cause), cause=cause)


def _of_refusal(code: int, words: str, where: AmqpAddress, user: str | None) -> str:
    if code == _PRECONDITION_FAILED and "queue" in words:
        return "; it has this queue with other bounds: delete it when it is empty, and it is made anew"
    if code == _NOT_ALLOWED and "not found" in words:
        return f"; make it (rabbitmqctl add_vhost {where.vhost}), or end --queue with the right one"
    if code == _NOT_ALLOWED or (code == _ACCESS_REFUSED and " refused for user" in words):
        return f"; this user lacks rights there: {_RIGHTS}"
    return _of_login(where, user) if code == _ACCESS_REFUSED else ""


def _of_login(where: AmqpAddress, user: str | None) -> str:
    scheme = f"amqp{'s' * where.address.tls}"
    if user is None:
        return (
            "; a certificate needs the plugin rabbitmq_auth_mechanism_ssl, EXTERNAL among auth_mechanisms, and a user "
            "of its name; else give a user in --queue and --password-file"
        )
    if where.address.user is None:
        return (
            "; no user was given, and `guest` may come from RabbitMQ's own machine only: give a user "
            f"({scheme}://USER@{where}) and --password-file"
        )
    return f"; look at the user {user!r} and at its password in --password-file: rabbitmqctl authenticate_user {user}"


def _innermost(problem: BaseException) -> BaseException:
    """pika wraps what happened up to three times."""
    wrapped: Any = problem
    inner = (getattr(wrapped, "exceptions", None) or [getattr(wrapped, "exception", None)])[-1]
    if inner is None and isinstance(problem, exceptions.AMQPConnectionError) and problem.args:
        inner = problem.args[0]
    return _innermost(inner) if isinstance(inner, BaseException) else problem
