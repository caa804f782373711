"""Downloads a bundle from a web server, file after file, and continues where an earlier try ended.

No server is trusted: the signed SHA-256 decides whether data is accepted. The device's own configuration says which
servers an offer may send it to, so that an offer cannot make it call hosts in its network.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import IO, Any

from broker.messages import updates
from edge_runtime.updates.download import Download, Lack
from tflsplit import errors

_TIMEOUT_S = 30.0
_READ_BYTES = 1 << 16
_TRIES = 3


def check_allowed(url: str, prefix: str | None) -> None:
    """SettingsError unless the device is configured to fetch from that URL."""
    if prefix is None:
        raise errors.SettingsError("this device fetches from no URL: it was started without --update-url-prefix")
    if not updates.is_folder_url(url) or not f"{url.rstrip('/')}/".startswith(f"{prefix.rstrip('/')}/"):
        raise errors.SettingsError(f"URL {url[:200]!r}: this device fetches only from {prefix}")


def fetch(download: Download, url: str, on_progress: Callable[[], bool]) -> None:
    """Fetches until nothing is missing or `on_progress` returns False. PeerError if the server fails."""
    failures = 0
    while (lack := download.lack) is not None:
        try:
            if not _fetch_one(download, lack, f"{url.rstrip('/')}/{lack.path}", on_progress):
                return
        except (OSError, http.client.HTTPException) as cause:
            if isinstance(cause, urllib.error.HTTPError):
                cause.close()  # it is a response, with a connection of its own
            failures = 0 if _has_advanced(download, lack) else failures + 1
            if failures >= _TRIES or (isinstance(cause, urllib.error.HTTPError) and 300 <= cause.code < 500):
                raise errors.PeerError(f"{url}/{lack.path}: cannot be fetched ({cause})") from cause


def _fetch_one(download: Download, lack: Lack, url: str, on_progress: Callable[[], bool]) -> bool:
    """Fetches one file or the rest of it; False if `on_progress` stopped it."""
    headers = {"Range": f"bytes={lack.have}-", "Accept-Encoding": "identity"} if lack.have else {}
    with _OPENER.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:  # noqa: S310 - check_allowed looked at the scheme
        if lack.have and response.status != http.client.PARTIAL_CONTENT:
            _skip(response, lack.have)
        while (now := download.lack) is not None and now.sha256 == lack.sha256:
            data = response.read1(_READ_BYTES)  # what has arrived: a slow server must not keep us from stopping
            if not data:
                raise http.client.IncompleteRead(b"", now.bytes - now.have)
            download.append(data)
            if not on_progress():
                return False
    return True


def _skip(response: IO[bytes], count: int) -> None:
    """Skips bytes that we have already: a server without ranges sends them again."""
    while count > 0:
        data = response.read(min(_READ_BYTES, count))
        if not data:
            raise http.client.IncompleteRead(b"", count)
        count -= len(data)


def _has_advanced(download: Download, before: Lack) -> bool:
    return download.lack is None or (download.lack.sha256, download.lack.have) != (before.sha256, before.have)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: they may lead to servers that the device may not fetch from."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.HTTPHandler(),
    urllib.request.HTTPSHandler(),
    urllib.request.HTTPErrorProcessor(),
    urllib.request.HTTPDefaultErrorHandler(),
    _NoRedirect(),
):
    _OPENER.add_handler(_handler)
