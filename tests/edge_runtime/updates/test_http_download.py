"""Bundles from a web server: only from where the device may fetch, gone on with, and checked like any other."""

import functools
import http.server
import threading

import pytest
import updatable

from broker.messages.updates import State
from edge_runtime.updates import http_download
from tflsplit import errors


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, in ranges if `has_ranges`; answers break off after as many bytes as `cuts` says."""

    asked, cuts, has_ranges, redirect = [], [], True, None

    def do_GET(self):
        type(self).asked.append((self.path, self.headers.get("Range")))
        if self.redirect is not None:
            self.send_response(302)
            self.send_header("Location", self.redirect)
            self.end_headers()
            return
        path = self.translate_path(self.path)
        try:
            with open(path, "rb") as stream:
                data = stream.read()
        except OSError:
            self.send_error(404)
            return
        start = 0
        if self.has_ranges and self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = type(self).cuts.pop(0) if type(self).cuts else None
        self.wfile.write(data[start:] if cut is None else data[start : start + cut])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    """A web server for `tmp_path`; `web.url`, and `web.handler` says how it answers."""
    handler = type("Handler", (Handler,), {"asked": [], "cuts": []})
    served = functools.partial(handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), served) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        server.url, server.handler = f"http://127.0.0.1:{server.server_address[1]}", handler
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def bundle(field, tmp_path):
    return updatable.edge_bundle(field.new, tmp_path / "e.tflsplit")


def test_a_device_fetches_what_it_was_offered_by_url(served, web, bundle):
    served.start(url_prefix=web.url)
    outcome = served.push(bundle, url=f"{web.url}/e.tflsplit/")

    assert (outcome.state, outcome.sent_bytes) == (State.INSTALLED, 0)
    assert sorted(path for path, _ in web.handler.asked) == [
        "/e.tflsplit/cuts/op000/head.tflite",
        "/e.tflsplit/golden.npz",
        "/e.tflsplit/manifest.json",
    ]


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_connection_that_breaks_is_gone_on_with(served, web, bundle, has_ranges):
    web.handler.has_ranges = has_ranges
    web.handler.cuts = [700, None, 100]
    served.start(url_prefix=web.url)

    assert served.push(bundle, url=f"{web.url}/e.tflsplit").is_installed
    assert web.handler.asked[1] == ("/e.tflsplit/manifest.json", "bytes=700-")


@pytest.mark.parametrize(
    ("prefix", "url", "reason"),
    [
        (None, "http://127.0.0.1:1/x", "started without --update-url-prefix"),
        ("https://models.example/tflsplit", "https://models.example/tflsplit-evil/x", "fetches only from"),
        ("https://models.example/a", "https://models.example/a/../b", "fetches only from"),
        ("https://models.example/a", "https://models.example/a/%2e%2e/b", "fetches only from"),
        ("https://models.example", "https://models.example@evil.example/a", "fetches only from"),
        ("https://models.example", "https://models.example.evil.example/a", "fetches only from"),
        ("https://models.example", "http://models.example/a", "fetches only from"),
        ("https://models.example", "https://models.example/a?b=c", "fetches only from"),
        ("file:///", "file:///etc/passwd", "fetches only from"),
        ("https://models.example", "https://models.example/[/../", "fetches only from"),
        ("https://[", "https://[/a", "fetches only from"),
    ],
)
def test_a_device_is_sent_nowhere_else(prefix, url, reason):
    with pytest.raises(errors.SettingsError, match=reason):
        http_download.check_allowed(url, prefix)


def test_a_refused_url_is_told_to_the_operator(served, bundle, web):
    served.start()
    outcome = served.push(bundle, url=f"{web.url}/e.tflsplit")

    assert outcome.state is State.REFUSED
    assert "--update-url-prefix" in outcome.reason
    assert web.handler.asked == []


def test_a_redirect_is_not_followed(served, web, bundle):
    web.handler.redirect = "file:///etc/passwd"
    served.start(url_prefix=web.url)
    outcome = served.push(bundle, url=f"{web.url}/e.tflsplit")

    assert outcome.state is State.ROLLED_BACK
    assert "cannot be fetched (HTTP Error 302" in outcome.reason


def test_what_is_not_there_or_something_else_rolls_back(served, web, bundle):
    served.start(url_prefix=web.url)
    missing = served.push(bundle, url=f"{web.url}/nowhere")
    head = bundle.path / "cuts/op000/head.tflite"
    head.write_bytes(bytes(len(head.read_bytes())))
    other = served.push(bundle, url=f"{web.url}/e.tflsplit")

    assert missing.state is other.state is State.ROLLED_BACK
    assert "HTTP Error 404" in missing.reason
    assert "its SHA-256 was not what was signed" in other.reason


def test_a_server_that_is_away_rolls_back(served, bundle):
    served.start(url_prefix="http://127.0.0.1:1")
    outcome = served.push(bundle, url="http://127.0.0.1:1/e.tflsplit")

    assert outcome.state is State.ROLLED_BACK
    assert "cannot be fetched" in outcome.reason
