"""What browsers are answered, and who is answered nothing."""

import base64
import contextlib
import json
import threading

import pytest
from talk import Heard, birth, jpeg, result, status

from broker.messages.topics import Kind
from broker.watching import browser
from tflsplit import errors
from tflsplit.observing.server import Request

TOKEN = "a-token-of-many-letters"


class Listening:
    """Stands for a listener that has heard what a test told it."""

    link, lost = "", 0

    def __init__(self):
        self.told = Heard()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self):
        with self._lock:
            yield self.told


@pytest.fixture
def heard():
    listening = Listening()
    listening.told.tell("cam1", Kind.STATUS, status())
    listening.told.tell("cam1", Kind.BIRTH, birth())
    return listening


def ask(heard, path="/", *, token=None, query="", **headers):
    site = browser.Site(heard, token, clock=lambda: 1001.0)
    return site.answer(Request(path, query, {"host": "localhost:8080", **headers}))


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"])
def test_a_page_of_this_machine_answers_its_own_names(heard, host):
    assert ask(heard, host=host).status == 200


@pytest.mark.parametrize("host", ["", "evil.example:8080", "localhost.evil.example", "10.0.0.1"])
def test_another_name_that_was_led_here_is_refused(heard, host):
    refused = ask(heard, "/state", host=host)

    assert (refused.status, b"cam1" in refused.body) == (403, False)


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer ", "Bearer wrong", "Basic !!!", basic("x", "wrong"), basic(TOKEN, ""), "Bearer \xfftok", TOKEN],
)
@pytest.mark.parametrize("path", ["/", "/state", "/device", "/picture", "/watch.js", "/nothing"])
def test_without_the_token_there_is_nothing(heard, shown, path):
    refused = ask(heard, path, token=TOKEN, authorization=shown, host="anything")

    assert refused.status == 401
    assert dict(refused.headers)["WWW-Authenticate"].startswith("Basic")
    assert TOKEN.encode() not in refused.body


@pytest.mark.parametrize("shown", [f"Bearer {TOKEN}", f"bearer {TOKEN} ", basic("", TOKEN), basic("anna", TOKEN)])
def test_with_the_token_the_page_is_there_under_any_name(heard, shown):
    assert ask(heard, token=TOKEN, authorization=shown, host="watch.example").status == 200


@pytest.mark.parametrize("path", ["/", "/watch.js", "/watch.css", "/style.css", "/icon.svg", "/state", "/nothing"])
def test_every_answer_forbids_what_the_page_does_not_need(heard, path):
    headers = dict(ask(heard, path).headers)

    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_devices_come_a_page_at_a_time_and_can_be_looked_for(heard):
    for number in range(120):
        heard.told.tell(f"door{number:03}", Kind.BIRTH, birth(name="Other"))
        heard.told.tell(f"door{number:03}", Kind.STATUS, status())

    def names(query):
        told = json.loads(ask(heard, "/state", query=query).body)
        return told["found"], [each["device"] for each in told["of_devices"]]

    assert names("from=118&count=50") == (121, ["door117", "door118", "door119"])
    assert names("find=OTHER&count=1") == (120, ["door000"])
    assert names("find=cam")[0] == 1
    assert names("find=offline") == (0, [])
    assert len(names("count=100000")[1]) == 121
    assert len(names("from=-1&count=x")[1]) == 50


def test_a_device_has_an_hour_and_the_page_of_no_device_is_not_there(heard):
    heard.told.tell("cam1", Kind.RESULTS, result(), 985.0)
    told = json.loads(ask(heard, "/device", query="name=cam1").body)

    assert (len(told["fps_hour"]), told["fps_hour"][-2]) == (360, 0.1)
    assert ask(heard, "/device", query="name=cam2").status == 404
    assert ask(heard, "/device").status == 404


def test_a_picture_is_given_as_a_picture_and_nothing_else(heard):
    assert ask(heard, "/picture", query="name=cam1").status == 404
    heard.told.tell("cam1", Kind.PICTURE, jpeg(b"<script>"))
    shown = ask(heard, "/picture", query="name=cam1")

    assert (shown.status, shown.content_type) == (200, "image/jpeg")
    assert json.loads(ask(heard, "/device", query="name=cam1").body)["picture"]["captured_ms"] == 1234.0


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:80"])
def test_beyond_this_machine_a_token_is_needed(heard, address):
    with pytest.raises(errors.SettingsError, match="--token-file"), browser.serving(heard, address):
        pass


def test_a_token_is_made_once_for_its_owner_alone(heard, tmp_path):
    file = tmp_path / "token"
    for _ in range(2):
        with browser.serving(heard, "127.0.0.1:0", token_file=file) as url:
            made = file.read_text().strip()
            assert made not in url

    assert (len(made), file.stat().st_mode & 0o077) == (32, 0)


@pytest.mark.parametrize("content", ["", "short\n", "with ümläuts and length\n"])
def test_a_token_that_can_be_guessed_is_refused(heard, tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(errors.SettingsError, match="file"), browser.serving(heard, "127.0.0.1:0", token_file=file):
        pass
