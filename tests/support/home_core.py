"""A real Home Assistant Core, if one is installed: `hass` in the PATH, or as TFLSPLIT_TEST_HASS names it.

It starts with the MQTT integration set up as a person would leave it, and an owner whose token we know. What a person
would see is what its own API tells.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import subprocess
import time
import urllib.request

import ports
import pytest
import waiting

_BEGAN = "2025-01-01T00:00:00+00:00"
_KEY, _TOKEN, _USER = "f" * 128, "a" * 32, "b" * 32
_START_S = 300.0


def program() -> str:
    """The path of `hass`; the test is skipped where there is none."""
    found = shutil.which(os.environ.get("TFLSPLIT_TEST_HASS", "hass"))
    if found is None:
        pytest.skip("Home Assistant Core is not installed: TFLSPLIT_TEST_HASS names the hass of an environment with it")
    return found


class HomeCore:
    """Runs on a folder of its own, which it finds again when it is started anew."""

    def __init__(self, folder: pathlib.Path, broker_port: int) -> None:
        self._program = program()
        self._folder = folder
        self._port = ports.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / ".storage").mkdir(parents=True)
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {self._port}\napi:\nlogger:\n  default: warning\n"
        )
        self._store("auth", 1, _auth())
        self._store("core.config_entries", 5, {"entries": [_entry(broker_port)]})

    def __enter__(self) -> "HomeCore":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program, "--config", self._folder, "--skip-pip"], stdout=output, stderr=output
            )
        waiting.wait_for(self._is_up, _START_S)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(waiting.WAIT_S)
            self._process.kill()
            self._process.wait()
            self._process = None

    def entities(self, device: str) -> "dict[str, dict[str, object]]":
        """State and attributes of each entity of a device, by the rest of its id: `sensor.label`."""
        told = self.ask("/api/states")
        parts = ((each["entity_id"].partition("."), each) for each in told)
        return {
            f"{platform}.{name.removeprefix(f'{device}_')}": each
            for (platform, _, name), each in parts
            if name.startswith(f"{device}_")
        }

    def warnings(self) -> str:
        """What it logged of MQTT and of templates."""
        log = self._folder / "home-assistant.log"
        lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
        return "\n".join(line for line in lines if "mqtt" in line or "template" in line)

    def picture(self, entity_id: str) -> bytes:
        return self._read(f"/api/image_proxy/{entity_id}")

    def ask(self, path: str) -> "list[dict[str, object]]":
        found = json.loads(self._read(path))
        assert isinstance(found, list)
        return found

    def _read(self, path: str) -> bytes:
        headers = {"Authorization": f"Bearer {_bearer()}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=waiting.WAIT_S) as response:
            data: bytes = response.read()
            return data

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "output").read_text()
        try:
            told = json.loads(self._read("/api/config"))
        except OSError:
            return False
        assert not told["recovery_mode"], (self._folder / "output").read_text()
        return bool(told["state"] == "RUNNING")

    def _store(self, key: str, minor: int, data: object) -> None:
        whole = {"version": 1, "minor_version": minor, "key": key, "data": data}
        (self._folder / ".storage" / key).write_text(json.dumps(whole))


def _auth() -> object:
    user = {"id": _USER, "group_ids": ["system-admin"], "is_owner": True, "is_active": True, "name": "owner"}
    token = {
        "id": _TOKEN,
        "user_id": _USER,
        "client_id": None,
        "client_name": "tests",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": _BEGAN,
        "access_token_expiration": 315360000.0,
        "token": "c" * 128,
        "jwt_key": _KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": None,
    }
    groups = [{"id": "system-admin", "name": "Administrators"}, {"id": "system-users", "name": "Users"}]
    return {
        "users": [user | {"system_generated": False, "local_only": False}],
        "groups": [*groups, {"id": "system-read-only", "name": "Read Only"}],
        "credentials": [],
        "refresh_tokens": [token],
    }


def _entry(broker_port: int) -> object:
    return {
        "created_at": _BEGAN,
        "modified_at": _BEGAN,
        "data": {"broker": "127.0.0.1", "port": broker_port},
        "options": {"discovery": True, "discovery_prefix": "homeassistant"},
        "disabled_by": None,
        "discovery_keys": {},
        "domain": "mqtt",
        "entry_id": "d" * 32,
        "minor_version": 2,
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "subentries": [],
        "title": "broker",
        "unique_id": None,
        "version": 1,
    }


def _bearer() -> str:
    """A JSON web token as Home Assistant makes them."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": _TOKEN, "iat": now, "exp": now + 3600})
    said = b".".join(_coded(json.dumps(part).encode()) for part in parts)
    return (said + b"." + _coded(hmac.new(_KEY.encode(), said, hashlib.sha256).digest())).decode()


def _coded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
