"""A small HTTP server that is only read from, and what it answers for a running edge or cloud: metrics and health.

    /metrics        as Prometheus or OpenMetrics has it
    /health         200 if all is well, 503 else; JSON that says why
    /health/live    200 unless only a restart helps
    /health/ready   200 if model and broker are there

Each connection carries one request and has a thread; their number is bounded. A request must be complete within
`REQUEST_S` seconds, however slowly it arrives. Where all places are taken, the oldest connection is closed.
"""

import contextlib
import http.server
import io
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

from tflsplit import errors
from tflsplit.observing.exposition import Render
from tflsplit.observing.health import Health
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)

DEFAULT_HOST = "127.0.0.1"
REQUEST_S = 5.0
MOST_CONNECTIONS = 32
_ALL = ("0.0.0.0", "::")  # noqa: S104 - what is recognised here
_LOOK_S = 0.1  # how often it looks if it was closed; no client waits for that
_MOST_BYTES = 8192
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Request:
    """A GET or HEAD; `query` is what stands behind the question mark. Names of headers are in lower case."""

    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """`headers` are beside type and length of the body."""

    body: bytes
    content_type: str
    status: HTTPStatus = HTTPStatus.OK
    headers: tuple[tuple[str, str], ...] = ()


Answer = Callable[[Request], Reply]


def of_words(status: HTTPStatus, words: str, *headers: tuple[str, str]) -> Reply:
    """A refusal in one line, such as `404 there are …`."""
    return Reply(f"{status.value} {words}\n".encode(), "text/plain; charset=utf-8", status, headers)


def observing(render: Render, health: Callable[[], Health]) -> Answer:
    """Answers with the metrics and the health of an edge or a cloud."""

    def answer(request: Request) -> Reply:
        match request.path:
            case "/metrics":
                return Reply(*render(request.headers.get("accept", "")))
            case "/health":
                return _of_health(health(), lambda found: found.is_live and found.is_ready)
            case "/health/live":
                return _of_health(health(), lambda found: found.is_live)
            case "/health/ready":
                return _of_health(health(), lambda found: found.is_ready)
        return of_words(HTTPStatus.NOT_FOUND, "there are /metrics, /health, /health/live and /health/ready")

    return answer


def _of_health(found: Health, is_well: Callable[[Health], bool]) -> Reply:
    status = HTTPStatus.OK if is_well(found) else HTTPStatus.SERVICE_UNAVAILABLE
    return Reply(found.as_json() + b"\n", _JSON, status)


def parse_address(text: str, what: str = "metrics") -> tuple[str, int]:
    """`[HOST:]PORT`, the host of version 6 in brackets; SettingsError for anything else. Port 0 takes a free one."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65_535 or (":" in host and not host.startswith("[")):
        raise errors.SettingsError(f"{what} address {text!r}: give PORT, HOST:PORT or [IPV6]:PORT")
    return host.strip("[]") or DEFAULT_HOST, int(port)


class Server:
    """Serves from its construction until `close`. DeviceError if the address cannot be had; `what` is served names
    address, thread and option.

    `answer` is called on the threads of requests.
    """

    def __init__(self, host: str, port: int, *, answer: Answer, what: str = "metrics") -> None:
        try:
            self._listening = _Listening(host, port, answer)
        except (OSError, UnicodeError) as cause:
            raise errors.DeviceError(
                f"{what} address {host}:{port}: {cause}; give --{what} another port or host of this machine"
            ) from cause
        self._thread = threading.Thread(target=self._listening.serve_forever, args=(_LOOK_S,), name=what, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """An address that can be opened: where it listens on all of this machine's, that of its name."""
        host, port = str(self._listening.server_address[0]), self._listening.server_address[1]
        host = socket.gethostname() if host in _ALL else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def close(self) -> None:
        self._listening.shutdown()
        self._listening.server_close()
        self._thread.join()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listening(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False  # a slow client must not delay the end of an edge
    allow_reuse_address = True
    request_queue_size = 2 * MOST_CONNECTIONS

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]  # TCP
        with self._lock:
            if len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread then fails and closes it
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]  # TCP
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        if isinstance(sys.exc_info()[1], OSError):
            log.debug("client hung up, or was hung up on client=%s", client_address)
        else:  # a bug in health or metrics must not stop the work
            log.exception("request failed client=%s", client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Listening
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(io.BytesIO(_request(self.connection)))
        self.connection.settimeout(REQUEST_S)

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        reply = self.server.answer(Request(path, query, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_HEAD = do_GET  # noqa: N815 - http.server's name for it

    def version_string(self) -> str:
        return "tflsplit"

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: a line for each scrape would bury all others."""


def _request(connection: socket.socket) -> bytes:
    """The head of a request, or as much of it as came before the connection ended; a body is not read."""
    give_up_s = time.monotonic() + REQUEST_S
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MOST_BYTES:
        left_s = give_up_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no whole request within {REQUEST_S:g} s")
        connection.settimeout(left_s)
        received = connection.recv(_MOST_BYTES - len(head))
        if not received:
            break
        head += received
    return head
