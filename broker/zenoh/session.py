"""One Zenoh session: the only file that knows the library. It carries bytes; what they mean is for `transport`.

Its callbacks run on the library's threads, one for each link, in the order in which messages came by that link.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from tflsplit import errors, extras
from tflsplit.values.classes import dataclass

try:
    import zenoh
    from zenoh import handlers
except ModuleNotFoundError as missing:
    raise errors.DeviceError(extras.need("a direct link", "zenoh")) from missing

# Where each member is asked, and its presence is seen.
_MEMBERS = "tflsplit-members"

# The library appends its own source files to each reason.
_PLACE = re.compile(r"\s+at /\S+\.rs:\d+\.?")


class Asked(Protocol):
    """A message that its sender waits to hear of."""

    def answer(self, payload: bytes, beside: bytes | None = None) -> None: ...


# Takes the payload of an answer, and what is beside it.
OnAnswer: TypeAlias = Callable[[bytes, bytes | None], None]


@dataclass(frozen=True, slots=True)
class Listener:
    """What is called when something happens. `on_message` gets key, payload, envelope, and whom to answer, if anybody
    waits; `on_hello` the hello and whom to answer; `on_member` its id and whether it is there."""

    on_message: Callable[[str, bytes, bytes, Asked | None], None]
    on_hello: Callable[[bytes, Asked], None]
    on_member: Callable[[bytes, bool], None]


class Session:
    """Opened at once; BrokerError if that is not possible."""

    def __init__(self, settings: Mapping[str, object], member: bytes, listener: Listener) -> None:
        self._member = member
        self._listener = listener
        self._filters: dict[str, tuple[Any, Any]] = {}
        self._held: list[Any] = []
        config = zenoh.Config()
        for key, value in settings.items():
            config.insert_json5(key, json.dumps(value))
        with _foreign_errors():
            self._session = zenoh.open(config)

    def start(self) -> None:
        """Tells the others that we are there, and us of them. A hello may come before this returns."""
        key, session = f"{_MEMBERS}/{self._member.hex()}", self._session
        with _foreign_errors():
            self._held += [
                session.declare_queryable(key, _direct(self._on_hello)),
                session.liveliness().declare_subscriber(f"{_MEMBERS}/*", _direct(self._on_token), history=True),
                session.liveliness().declare_token(key),
            ]

    def close(self) -> None:
        with contextlib.suppress(zenoh.ZError):
            self._session.close()  # type: ignore[no-untyped-call] # its stub leaves out what it returns

    def subscribe(self, topic_filter: str) -> None:
        with _foreign_errors():
            expression = _expression(topic_filter)
            self._filters[topic_filter] = (
                self._session.declare_subscriber(expression, _direct(self._on_sample)),
                self._session.declare_queryable(expression, _direct(self._on_query)),
            )

    def unsubscribe(self, topic_filter: str) -> None:
        for declared in self._filters.pop(topic_filter, ()):
            with contextlib.suppress(zenoh.ZError):
                declared.undeclare()

    def send(self, key: str, payload: bytes, envelope: bytes) -> None:
        """Returns when it is on its way; nobody says that it arrived."""
        with _foreign_errors():
            self._session.put(key, payload, attachment=envelope, congestion_control=_BLOCK, express=True)

    def ask(
        self,
        key: str,
        payload: bytes,
        envelope: bytes,
        on_answer: OnAnswer,
        on_end: Callable[[], None],
        *,
        timeout_s: float,
    ) -> None:
        """Sends it to all who take it. `on_end` follows when each has answered, is gone, or time is up."""

        def answered(reply: Any) -> None:
            if reply.ok is not None:
                beside = reply.ok.attachment
                on_answer(reply.ok.payload.to_bytes(), None if beside is None else beside.to_bytes())

        with _foreign_errors():
            self._session.get(
                key,
                handlers.Callback(answered, on_end, indirect=False),
                target=zenoh.QueryTarget.ALL,
                consolidation=zenoh.ConsolidationMode.NONE,
                timeout=timeout_s,
                congestion_control=_BLOCK,
                express=True,
                payload=payload,
                attachment=envelope,
            )

    def ask_members(
        self,
        hello: bytes,
        on_answer: OnAnswer,
        on_end: Callable[[], None],
        *,
        timeout_s: float,
        member: bytes | None = None,
    ) -> None:
        """One member, or all of them."""
        key = f"{_MEMBERS}/{'*' if member is None else member.hex()}"
        self.ask(key, hello, b"", on_answer, on_end, timeout_s=timeout_s)

    def _on_sample(self, sample: Any) -> None:
        self._take(sample, None)

    def _on_query(self, query: Any) -> None:
        self._take(query, _Query(query, query.key_expr))

    def _take(self, came: Any, asked: Asked | None) -> None:
        payload, beside = came.payload, came.attachment
        if beside is not None:
            held = b"" if payload is None else payload.to_bytes()
            self._listener.on_message(str(came.key_expr), held, beside.to_bytes(), asked)

    def _on_hello(self, query: Any) -> None:
        if query.payload is not None:
            self._listener.on_hello(query.payload.to_bytes(), _Query(query, f"{_MEMBERS}/{self._member.hex()}"))

    def _on_token(self, sample: Any) -> None:
        with contextlib.suppress(ValueError):  # a key that is none of ours
            member = bytes.fromhex(str(sample.key_expr).rpartition("/")[2])
            if member != self._member:
                self._listener.on_member(member, sample.kind == zenoh.SampleKind.PUT)


class _Query:
    """`Asked` of the library. It ends when nobody holds it any longer."""

    def __init__(self, query: Any, key: Any) -> None:
        self._query = query
        self._key = key

    def answer(self, payload: bytes, beside: bytes | None = None) -> None:
        with contextlib.suppress(zenoh.ZError):  # who asked is gone
            self._query.reply(self._key, payload, attachment=beside, express=True)


_BLOCK = zenoh.CongestionControl.BLOCK


def check_topic(topic: str) -> str | None:
    """Why nothing can be published there; None if it can."""
    try:
        return "wildcards are for filters" if "*" in str(zenoh.KeyExpr(topic)) else None
    except zenoh.ZError as problem:
        return _words(problem)


def _expression(topic_filter: str) -> Any:
    levels = ({"+": "*", "#": "**"}.get(level, level) for level in topic_filter.split("/"))
    return zenoh.KeyExpr.autocanonize("/".join(levels))


def _direct(function: Callable[[Any], None]) -> Any:
    return handlers.Callback(function, indirect=False)


@contextlib.contextmanager
def _foreign_errors() -> Iterator[None]:
    try:
        yield
    except zenoh.ZError as problem:
        raise errors.BrokerError(_words(problem)) from problem


def _words(problem: BaseException) -> str:
    return _PLACE.sub("", str(problem)).rstrip(".")
