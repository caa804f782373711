"""`tflsplit watch` and `tflsplit fleet` beside a secured broker, an edge and a cloud, each a process of its own."""

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import urllib.error
import urllib.request

import chromium
import pytest
import secured_broker
import waiting

from broker.messages import topics
from broker.messages.topics import Kind

COMMAND = (sys.executable, "-m", "tflsplit.cli.main")
STRANGE = "<img src=x onerror='document.title=1'>"


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, digits):
    """Edge and cloud of a secured deployment at work; gives the folder of a credentials by name, and the broker."""
    folder = tmp_path_factory.mktemp("watched")
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(secured_broker.Secured(folder / "broker"))

        def start(*words):
            log = stack.enter_context((folder / f"{words[0]}.log").open("wb"))
            process = subprocess.Popen([*COMMAND, *map(str, words)], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)

        clients = broker.path / "clients"
        start("cloud", digits, "--credentials", clients / "cloud", "--telemetry", "1s", "--workers", "1")
        source = ("--source", folder / "inputs.npy", "--count", "1000000", "--rate", "10")
        _save_digits(folder / "inputs.npy")
        start(
            "edge", digits, "--credentials", clients / "cam1", *source, "--telemetry", "1s", "--share-pictures", "200ms"
        )
        observer = broker.client("observer")
        observer.subscribe(topics.topic(secured_broker.DEPLOYMENT, "cam1", Kind.RESULTS))
        waiting.wait_for(lambda: observer.receive(0.2) is not None)
        yield broker


def _save_digits(path):
    import pathlib

    import numpy as np

    shipped = pathlib.Path(__file__).parents[4] / "tflsplit" / "demo" / "digits.npz"
    with np.load(shipped, allow_pickle=False) as arrays:
        np.save(path, arrays["test_images"])


@pytest.fixture
def consumer(deployment):
    return ("--credentials", deployment.path / "clients" / "consumer")


@pytest.fixture
def page(start, consumer):
    """The URL of a page that is served."""

    def begin(*options):
        process = start("watch", *consumer, "--serve", "0", *options)
        return process, re.match(r"watch (http://\S+)", process.stdout.readline())[1]

    return begin


def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=waiting.WAIT_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read()


def test_once_tells_of_edge_and_cloud_what_they_do(run, consumer):
    told = run("watch", *consumer, "--once", "--json").json()
    (device,), (cloud,) = told["of_devices"], told["of_clouds"]

    assert (device["device"], device["state"], device["problem"]) == ("cam1", "online", None)
    assert device["label"] in set("0123456789")
    assert device["fps"] > 0
    assert device["latency_ms"]["p50"] > 0
    assert {"head", "queue", "decode", "tail", "wire"} == set(device["parts_ms"])
    assert (cloud["cloud"], cloud["state"], cloud["workers"], cloud["health"]) == ("cloud", "online", 1, "ok")
    assert (told["unreadable"], told["left_out"], told["lost"]) == (0, 0, 0)


def test_to_a_pipe_it_prints_once_and_ends(run, consumer):
    shown = run("watch", *consumer, "--listen", "2s")

    assert shown.code == 0
    assert "plant1: 1 of 1 devices online, 1 of 1 clouds" in shown.out
    assert re.search(r"^online .* cam1 ", shown.out, re.MULTILINE)


def test_the_fleet_comes_from_what_is_retained(run, consumer, digits):
    told = run("fleet", *consumer, "--json").json()
    rows = list(csv.DictReader(io.StringIO(run("fleet", *consumer, "--csv").out)))

    (device,) = told["of_devices"]
    assert device["certificate_ends_s"] > 1.7e9
    assert device["version"]
    assert [(row["device"], row["state"], row["cut"]) for row in rows] == [("cam1", "online", device["cut"])]
    assert rows[0]["package"] == json.loads((digits / "manifest.json").read_text())["digest"]


def test_the_slowest_come_first_once_telemetry_has_told(run, consumer):
    (device,) = run("fleet", *consumer, "--sort", "latency", "--listen", "3s", "--json").json()["of_devices"]

    assert device["latency_ms"]["p50"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--serve", "0.0.0.0:0"), "--token-file"),
        (("--serve", "nonsense"), "serve address 'nonsense'"),
        (("--serve", "0", "--token-file", "/nowhere/token"), "token file /nowhere/token"),
    ],
)
def test_a_page_that_cannot_be_served_is_refused_in_one_line(run, consumer, options, words):
    refused = run("watch", *consumer, *options)

    assert refused.code == 1
    assert words in refused.err.splitlines()[-1]


def test_a_device_may_not_watch(run, deployment):
    refused = run("watch", "--credentials", deployment.path / "clients" / "cam1", "--once")

    assert refused.code == 1
    assert "role consumer" in refused.err.splitlines()[-1]


def test_who_has_no_token_gets_nothing_and_no_log_has_it(page, tmp_path):
    process, url = page("--token-file", tmp_path / "token")
    token = (tmp_path / "token").read_text().strip()

    assert get(f"{url}/state")[0] == 401
    assert get(f"{url}/state", Authorization="Bearer wrong")[0] == 401
    status, body = get(f"{url}/state", Authorization=f"Bearer {token}")
    assert (status, json.loads(body)["deployment"]) == (200, "plant1")
    process.send_signal(signal.SIGINT)
    ended = process.done()
    assert ended.code == 0
    assert token not in ended.out + ended.err


def test_nothing_can_be_changed_through_the_page(page):
    _, url = page()
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(urllib.request.Request(f"{url}/state", b"{}", method=method), timeout=waiting.WAIT_S)


def test_a_browser_shows_it_and_obeys_no_stranger(page, deployment):
    speaker = deployment.client("observer", client_id="stranger")
    _say_as_a_stranger(deployment)
    _, url = page()
    with chromium.started() as browser:
        browser.look(1280)
        browser.go(url)
        browser.wait_for("return document.querySelectorAll('#devices tr').length >= 2")
        browser.wait_for("return document.body.innerText.includes(arguments[0])", STRANGE)
        browser.wait_for("return Number(document.querySelector('#totals li:last-child b').textContent) > 0")
        browser.run("[...document.querySelectorAll('button.name')].find((each) => each.textContent == 'cam1').click()")
        browser.wait_for("return document.querySelectorAll('#detail svg polyline').length == 2")
        browser.wait_for("return (document.querySelector('#detail img') || {}).naturalWidth > 0")
        assert browser.run("return document.querySelectorAll('td img, dd img').length") == 0
        assert browser.run("return document.title") != "1"
        assert browser.run("return [...document.querySelectorAll('svg')].every((each) => each.ariaLabel)")
        browser.look(390)
        assert browser.run("return document.documentElement.scrollWidth") <= 390
        assert browser.complaints() == []
    assert speaker.state.value == "online"


def _say_as_a_stranger(deployment):
    """Of cam2, with its own rights: a model's name that would be a picture, were it HTML."""
    speaker = deployment.client("cam2")
    birth = json.dumps({"name": STRANGE, "cut": STRANGE, "accelerator": {"reason": STRANGE}}).encode()
    speaker.publish(topics.topic(secured_broker.DEPLOYMENT, "cam2", Kind.BIRTH), birth, retain=True)
    assert speaker.flush(waiting.WAIT_S)


class Screen:
    """A terminal of so many columns, and a command on it."""

    def __init__(self, columns, words):
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        surroundings = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=follower,
            stdout=follower,
            stderr=subprocess.DEVNULL,
            env={**surroundings, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(follower)
        self.shown = ""

    def read_until(self, words):
        while words not in self.shown:
            assert select.select([self._leader], [], [], waiting.WAIT_S)[0], self.shown
            self.shown += os.read(self._leader, 65_536).decode(errors="replace")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_live_table_fits_its_terminal_and_ctrl_c_puts_back_what_was_there(consumer, columns):
    with contextlib.closing(Screen(columns, ("watch", *consumer))) as screen:
        screen.read_until("cam1")
        screen.process.send_signal(signal.SIGINT)
        screen.read_until("\x1b[?1049l")
        assert screen.process.wait(waiting.WAIT_S) == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", screen.shown).splitlines()
    assert "\x1b[?1049h" in screen.shown
    assert max(map(len, lines)) <= columns
