import os
import select
import signal
import socket
import subprocess
import sys

import pytest
import waiting

from broker.local import server
from tflsplit import errors

SOON_S = waiting.WAIT_S


@pytest.fixture(params=server.KINDS)
def kind(request):
    if request.param not in server.available():
        pytest.skip(f"{request.param} is not installed")
    return request.param


def has_ended(pid):
    """Whether the process ends soon; it need not be a child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle):
        return bool(select.select([handle], [], [], SOON_S)[0])


def test_broker_answers_from_the_first_moment_and_ends_with_the_context(kind, join):
    with server.run(port=0, kind=kind) as broker:
        assert broker.kind == kind
        assert broker.url == f"mqtt://127.0.0.1:{broker.address.port}"
        client = join(broker.address, "client")
        client.subscribe("t")
        client.publish("t", b"x")
        assert client.receive(SOON_S).payload == b"x"
    assert has_ended(broker.pid)


def test_broker_ends_when_the_body_fails(kind):
    with pytest.raises(KeyError), server.run(port=0, kind=kind) as broker:
        raise KeyError
    assert has_ended(broker.pid)


def test_broker_dies_with_a_killed_parent(kind):
    script = (
        "from broker.local import server\n"
        f"with server.run(port=0, kind={kind!r}) as broker:\n"
        "    print(broker.pid, flush=True)\n"
        "    input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        broker_pid = int(parent.stdout.readline())
        os.kill(broker_pid, 0)
        parent.kill()
    assert has_ended(broker_pid)


def test_frozen_broker_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(server, "_STOP_TIMEOUT_S", 0.1)
    with server.run(port=0) as broker:
        os.kill(broker.pid, signal.SIGSTOP)
    assert has_ended(broker.pid)


def test_port_in_use_is_one_line(kind):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(
                errors.DeviceError, match=f"^broker cannot listen on 127.0.0.1:{port}: Address already in use$"
            ),
            server.run(port=port, kind=kind),
        ):
            pass


def test_only_this_machine_may_connect_unless_told_otherwise():
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com"):
        with pytest.raises(errors.SettingsError, match="lets anyone in"), server.run(host, 0):
            pass
    with server.run("0.0.0.0", 0, allow_remote=True) as broker:
        assert socket.create_connection(("127.0.0.1", broker.address.port), 5.0).close() is None


def test_address_that_is_not_ours_is_refused():
    with (
        pytest.raises(errors.DeviceError, match=r"broker cannot listen on 192\.0\.2\.1:0: "),
        server.run("192.0.2.1", 0, allow_remote=True),
    ):
        pass


def test_absent_broker_names_what_to_install(monkeypatch):
    monkeypatch.setattr(server, "available", lambda: ())
    with (
        pytest.raises(errors.DeviceError, match=r"apt install mosquitto, or pip install .*\[demo\]"),
        server.run(),
    ):
        pass
    with (
        pytest.raises(errors.SettingsError, match="kind 'emqx': expected mosquitto or amqtt"),
        server.run(kind="emqx"),
    ):
        pass


def test_broker_that_cannot_start_gives_its_last_words(monkeypatch, tmp_path):
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho 'Error: out of sorts' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(server, "mosquitto_path", lambda: str(broken))
    with (
        pytest.raises(errors.DeviceError, match=r"mosquitto did not start on .*: Error: out of sorts"),
        server.run(port=0, kind="mosquitto"),
    ):
        pass
