"""A real Chromium, driven by its own chromedriver (Debian: chromium, chromium-driver), without a library between."""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

import ports
import pytest
import waiting

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


@contextlib.contextmanager
def started():
    """A browser with a profile of its own; the test is skipped where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs Debian's chromium and chromium-driver")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        port = ports.free_port()
        process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            browser = Browser(f"http://127.0.0.1:{port}")
            waiting.wait_for(browser.is_ready)
            browser.open([*_FLAGS, f"--user-data-dir={profile}"], chromium)
            try:
                yield browser
            finally:
                browser.close()
        finally:
            process.terminate()
            process.wait()


class Browser:
    """One tab. `run` gives what JavaScript returns."""

    def __init__(self, url):
        self._url = url
        self._session = None

    def is_ready(self):
        try:
            return self._ask("GET", "/status")["ready"]
        except OSError:
            return False

    def open(self, flags, binary):
        chrome = {"args": flags, "binary": binary}
        wanted = {"browserName": "chrome", "goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        told = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = told["sessionId"]

    def close(self):
        self._say("DELETE", "")

    def go(self, url):
        self._say("POST", "/url", {"url": url})

    def run(self, script, *arguments):
        return self._say("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def text(self):
        return self.run("return document.body.innerText")

    def wait_for(self, script, *arguments):
        waiting.wait_for(lambda: self.run(script, *arguments))

    def look(self, width, *, height=900, is_dark=False):
        """As on a screen of that width."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", {"features": [scheme]})

    def picture(self, path):
        """The whole page as a PNG."""
        shown = self._devtools("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shown["data"]))

    def complaints(self):
        """What the console says: errors, and what the page's own policy forbade."""
        told = self._say("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in told if entry["level"] in ("SEVERE", "WARNING")]

    def _devtools(self, command, parameters):
        return self._say("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _say(self, method, path, fields=None):
        return self._ask(method, f"/session/{self._session}{path}", fields)

    def _ask(self, method, path, fields=None):
        body = None if fields is None else json.dumps(fields).encode()
        request = urllib.request.Request(
            f"{self._url}{path}", body, {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=waiting.WAIT_S) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as refused:
            with refused:
                raise AssertionError(refused.read().decode()) from refused
