import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request

import pytest
import waiting

from tflsplit import errors
from tflsplit.observing import health, server

WELL = health.Health(is_live=True, is_ready=True, facts={"broker": "online"})
WAITS = health.Health(is_live=True, is_ready=False, why="broker is waiting")
STUCK = health.Health(is_live=False, is_ready=True, why="no frame for 60 s")
WAIT_S = waiting.WAIT_S


def render(accept):
    return f"metrics for {accept}\n".encode(), "text/plain"


@pytest.fixture
def serving(request):
    with server.Server(
        "127.0.0.1", 0, answer=server.observing(render, lambda: getattr(request, "param", WELL))
    ) as running:
        yield running


def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=WAIT_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def connect(serving):
    port = int(serving.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), WAIT_S)


def told(client):
    """All that the server says until it hangs up."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while received := client.recv(4096):
            said += received
    return said


def test_metrics_are_rendered_for_what_the_client_accepts(serving):
    assert get(f"{serving.url}/metrics", Accept="text/x") == (200, b"metrics for text/x\n")
    assert get(f"{serving.url}/metrics?name=a")[0] == 200


@pytest.mark.parametrize(
    ("serving", "codes"),
    [(WELL, (200, 200, 200)), (WAITS, (503, 200, 503)), (STUCK, (503, 503, 200))],
    indirect=["serving"],
)
def test_health_tells_apart_what_a_restart_cures_and_what_waiting_does(serving, codes):
    assert tuple(get(f"{serving.url}/health{path}")[0] for path in ("", "/live", "/ready")) == codes


@pytest.mark.parametrize(
    ("serving", "state"), [(WELL, "ok"), (WAITS, "not ready"), (STUCK, "stuck")], indirect=["serving"]
)
def test_health_says_why(serving, state, request):
    found = json.loads(get(f"{serving.url}/health")[1])

    assert found["state"] == state
    assert (found["why"] is None) == (state == "ok")


PATHS = ("/", "/metrics/", "/../etc/passwd", "/health/other", "http://elsewhere/metrics")
METHODS = ("POST", "PUT", "DELETE", "CONNECT", "nonsense")


@pytest.mark.parametrize(
    ("request_line", "code"),
    [*((f"GET {path}", 404) for path in PATHS), *((f"{method} /metrics", 501) for method in METHODS)],
)
def test_no_other_path_and_no_other_method_is_served(serving, request_line, code):
    with connect(serving) as client:
        client.sendall(f"{request_line} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        assert told(client).startswith(f"HTTP/1.0 {code} ".encode())


def test_head_has_the_length_and_no_body(serving):
    with connect(serving) as client:
        client.sendall(b"HEAD /metrics HTTP/1.1\r\n\r\n")
        said = told(client)

    assert said.startswith(b"HTTP/1.0 200 ")
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00" * 10 + b"\r\n\r\n", b"GET\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_request_is_survived(serving, sent):
    with connect(serving) as client:
        client.sendall(sent)
        told(client)

    assert get(f"{serving.url}/health")[0] == 200


def test_a_head_that_is_too_long_is_not_read_to_its_end(serving):
    with connect(serving) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 1_000_000)
        told(client)

    assert get(f"{serving.url}/health")[0] == 200


def requests_under_way():
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_clients_that_send_a_byte_now_and_then_take_nobodys_place(serving):
    with contextlib.ExitStack() as stack:
        dawdlers = [stack.enter_context(connect(serving)) for _ in range(3 * server.MOST_CONNECTIONS)]
        for dawdler in dawdlers:
            with contextlib.suppress(OSError):
                dawdler.sendall(b"G")

        assert get(f"{serving.url}/metrics")[0] == 200
        waiting.wait_for(lambda: requests_under_way() <= server.MOST_CONNECTIONS)
        # The first ones were hung up on to make room.
        assert told(dawdlers[0]) == b""


def test_a_request_that_is_not_whole_in_time_ends_whatever_still_arrives(serving, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    with connect(serving) as client, contextlib.suppress(OSError):
        while True:  # until it is hung up on
            client.sendall(b"G")
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if client.recv(1) == b"":
                    break

    assert get(f"{serving.url}/health")[0] == 200


def test_a_bug_in_what_is_measured_does_not_end_the_server():
    def broken(accept):
        raise RuntimeError("bug")

    with server.Server("127.0.0.1", 0, answer=server.observing(broken, lambda: WELL)) as serving:
        with connect(serving) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            told(client)

        assert get(f"{serving.url}/health")[0] == 200


def test_a_port_that_is_taken_is_refused_by_name(serving):
    port = int(serving.url.rpartition(":")[2])

    with pytest.raises(errors.DeviceError, match=f"metrics address 127.0.0.1:{port}: .*in use.*--metrics"):
        server.Server("127.0.0.1", port, answer=server.observing(render, lambda: WELL))


def test_the_address_is_free_again_once_closed():
    with server.Server("127.0.0.1", 0, answer=server.observing(render, lambda: WELL)) as first:
        port = int(first.url.rpartition(":")[2])
    with server.Server("127.0.0.1", port, answer=server.observing(render, lambda: WELL)) as second:
        assert get(f"{second.url}/health")[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9109", ("127.0.0.1", 9109)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:1", ("::1", 1)),
        ("box:65535", ("box", 65535)),
    ],
)
def test_addresses(text, expected):
    assert server.parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "box", "box:", "box:-1", "65536", "::1:80", "box:http", "1.2.3.4:9109:1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(errors.SettingsError, match="metrics address"):
        server.parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_address_of_a_server_on_all_addresses_can_be_opened(host):
    with server.Server(host, 0, answer=server.observing(render, lambda: WELL)) as serving:
        assert serving.url.startswith(f"http://{socket.gethostname()}:")
