"""Passwords and keys are in no output, whatever is logged, and where no other user of the machine can read them."""

import pathlib

import ports
import pytest

from broker.local import server

pytestmark = pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")

DEPLOYMENT = ("--deployment", "plant1")


class Watched:
    """Commands of a deployment, and all that they gave away: output, command lines, environments."""

    def __init__(self, start, folder):
        self._start = start
        self._running = []
        self.folder = folder
        self.seen = []

    def start(self, *words):
        process = self._start(*words, "--debug")
        self._running.append(process)
        return process

    def run(self, *words):
        process = self.start(*words)
        done = process.done()
        self._running.remove(process)
        self.seen += [done.out, done.err]
        return done

    def credentials(self, name):
        return "--credentials", self.folder / "clients" / name

    def end(self):
        """Ends what still runs, the newest first, after a look at what other users can see of it."""
        for process in reversed(self._running):
            for part in ("cmdline", "environ"):
                self.seen.append(pathlib.Path(f"/proc/{process.pid}/{part}").read_bytes().decode("utf-8", "replace"))
            process.terminate()
            done = process.done()
            self.seen += [done.out, done.err]

    def secrets(self):
        """Every password, and every line of every private key."""
        found = set()
        for path in (*self.folder.rglob("password"), *self.folder.rglob("*.key")):
            found |= {line for line in path.read_text().splitlines() if line and "PRIVATE KEY" not in line}
        return found


@pytest.fixture(params=[(), ("--password-auth",)], ids=["certificate", "password"])
def watched(request, start, tmp_path):
    made = Watched(start, tmp_path / "broker")
    port = ports.free_port()
    names = ("--device", "cam1", "--device", "cam2", "--host", "localhost", "--port", port)
    assert made.run("broker", "init", made.folder, *DEPLOYMENT, *names, *request.param).code == 0
    broker = made.start("broker", "run", made.folder)
    ports.await_server(port, broker)
    made.url = f"mqtts://cam1@localhost:{port}"
    return made


def test_no_command_tells_a_secret_even_when_it_logs_all_it_can(watched, tiny_package, source, tmp_path):
    cloud = watched.start("cloud", tiny_package.path, *watched.credentials("cloud"), *DEPLOYMENT)
    watched.start("results", *watched.credentials("consumer"), *DEPLOYMENT)
    edge = ("edge", tiny_package.path, *DEPLOYMENT, "--device", "cam1", "--source", source, "--resend-after", "0.5")
    served = watched.run(*edge, *watched.credentials("cam1"))
    assert served.code == 0, served.err
    held = watched.secrets()
    assert watched.run("doctor", *watched.credentials("cam1")).code in (0, 1)
    assert watched.run("broker", "add-device", watched.folder, "cam3").code == 0
    held |= watched.secrets()
    assert watched.run("broker", "rotate", watched.folder, "cam1").code == 0
    assert watched.run("broker", "revoke", watched.folder, "cam2").code == 0
    (tmp_path / "wrong").write_text("a-wrong-guess\n")
    (tmp_path / "wrong").chmod(0o600)
    ca = ("--ca", watched.folder / "clients" / "cam1" / "ca.crt")
    assert watched.run(*edge, "--broker", watched.url, *ca, "--password-file", tmp_path / "wrong").code == 1
    assert watched.run(*edge, "--broker", watched.url.replace("@", ":in-the-address@")).code == 1
    assert cloud.poll() is None
    watched.end()
    held |= watched.secrets() | {"a-wrong-guess", "in-the-address"}

    assert len(held) > 6
    for secret in held:
        assert not [text for text in watched.seen if secret in text]


def test_no_other_user_can_read_a_secret(watched):
    watched.end()
    secret = [*watched.folder.rglob("password*"), *watched.folder.rglob("*.key")]

    assert secret
    assert not [path for path in secret if path.stat().st_mode & 0o077]
    assert watched.folder.stat().st_mode & 0o007 == 0
