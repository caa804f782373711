"""A deployment begun by `tflsplit init`: what it writes runs, it asks somebody who is there, and shows no keys."""

import os
import pathlib
import pty
import shutil
import subprocess

import ports
import pytest

from broker.local import server
from tflsplit import extras

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed"),
]


@pytest.fixture
def home(run, tmp_path, tiny_package, source):
    folder = tmp_path / "home"
    given = ("--model", tiny_package.path, "--broker", "localhost", "--source", source)
    done = run("init", folder, *given, "--deployment", "plant", "--device", "yard", stdin=subprocess.DEVNULL)

    assert done.code == 0, done.err
    return folder


def test_what_it_writes_runs_as_its_last_lines_say(home, start, run):
    port = ports.free_port()  # the usual one may be taken on this machine
    for file in (home / "broker" / "server" / "mosquitto.conf", *home.glob("broker/clients/*/broker.json")):
        file.write_text(file.read_text().replace("8883", str(port)))
    start("broker", "run", home / "broker")
    start("cloud", "--config", home / "cloud.toml")
    summary = run("edge", "--config", home / "edge.toml", "--json", "--count", 20, "--exact", "any").json()

    assert (summary["results"], summary["unanswered"]) == (20, 0)
    for name in ("edge", "cloud"):
        assert run("config", "check", home / f"{name}.toml").code == 0


def test_an_edge_may_read_the_topic_that_is_its_source_and_whoever_publishes_it_is_told_how(
    run, tmp_path, tiny_package
):
    given = ("--model", tiny_package.path, "--broker", "localhost", "--deployment", "plant", "--device", "yard")
    own = run("init", tmp_path / "own", *given, "--source", "topic:door/+/image").out
    other = run("init", tmp_path / "other", *given, "--source", "mqtt://elsewhere/door/image").out

    assert "yard may read door/+/image" in own
    assert f"tflsplit broker allow {tmp_path}/own/broker NAME --write 'door/+/image'" in own
    assert "topic read door/+/image" in (tmp_path / "own" / "broker" / "server" / "access.acl").read_text()
    assert "may read" not in other


def test_no_container_sees_the_authority_or_runs_as_root(home):
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((home / "compose.yaml").read_text())["services"]

    assert set(services) == {"broker", "cloud", "watch", "edge"}
    for name, service in services.items():
        outside = [volume.split(":")[0] for volume in service["volumes"]]
        assert not [path for path in outside if path.rstrip("/") in (".", "./broker") or "authority" in path], name
        assert not service["user"].startswith("0:")
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for path in outside:
            assert (home / path).exists(), path
    assert services["watch"]["ports"] == ["127.0.0.1:8080:8080"]
    assert (home / "watch-token").stat().st_mode & 0o777 == 0o600


def test_images_are_built_out_of_the_checkout_that_it_runs_in(tmp_path, run, tiny_package):
    yaml = pytest.importorskip("yaml")
    checkout = extras.checkout()
    given = ("--model", tiny_package.path, "--source", "camera:0", "--edge-elsewhere")
    on_hosts = {
        host: run("init", tmp_path / host, *given, "--broker", host) for host in ("server.example", "localhost")
    }
    read = {
        name: yaml.safe_load((tmp_path / "server.example" / name).read_text())["services"]
        for name in ("compose.yaml", "compose.edge.yaml")
    }

    assert "docker compose up" in on_hosts["server.example"].out
    assert "docker compose up" not in on_hosts["localhost"].out  # in a container that is the container
    assert "build" not in read["compose.edge.yaml"]["edge"]  # there it has no checkout
    for name in ("cloud", "watch"):
        build = read["compose.yaml"][name].get("build")
        if checkout is None:
            assert build is None
        else:
            assert (pathlib.Path(build["context"]), build["target"]) == (checkout, name)
            assert f" AS {name}\n" in (checkout / build["dockerfile"]).read_text()


def test_compose_takes_the_files(home, run, tiny_package, tmp_path):
    compose = shutil.which("docker-compose")
    if compose is None:
        pytest.skip("docker-compose is not installed: apt install docker-compose")
    other = tmp_path / "two"
    (tmp_path / "new pictures").mkdir()
    watched = f"watch:{tmp_path / 'new pictures'}"
    given = ("--model", tiny_package.path, "--broker", "localhost", "--source", watched, "--edge-elsewhere")
    assert run("init", other, *given, stdin=subprocess.DEVNULL).code == 0
    assert f'"{tmp_path}/new pictures:{tmp_path}/new pictures:ro"' in (other / "compose.edge.yaml").read_text()
    for file in (home / "compose.yaml", other / "compose.yaml", other / "compose.edge.yaml"):
        done = subprocess.run([compose, "-f", file, "config", "-q"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_it_asks_for_what_was_not_given_where_somebody_is_there(start, tmp_path, tiny_package):
    controller, terminal = pty.openpty()
    typed = ("--model", tiny_package.path, "--source", "camera:0", "--labels", "", "--calibration", "")
    asking = start("init", tmp_path / "asked", *typed, stdin=terminal, stderr=terminal)
    os.close(terminal)
    os.write(controller, b"shop\ncam7\nlocalhost\n")
    said = asking.stdout.read()
    asking.wait()

    assert asking.returncode == 0
    assert "deployment shop with edge cam7, a cloud, and a broker for localhost" in said
    assert (tmp_path / "asked" / "broker" / "clients" / "cam7").is_dir()
    os.close(controller)


@pytest.mark.parametrize(
    "given",
    [
        ("--device", "../x"),
        ("--model", "nowhere.h5"),
        ("--broker", "a b"),
        ("--source", "pictures", "--edge-elsewhere"),
    ],
)
def test_what_is_refused_leaves_no_folder(run, tmp_path, tiny_package, given):
    words = ("init", tmp_path / "refused", "--model", tiny_package.path, "--source", "camera:0", *given)
    done = run(*words, stdin=subprocess.DEVNULL)

    assert done.code == 1
    assert not (tmp_path / "refused").exists()


def test_a_folder_that_is_there_is_not_touched(run, home, tiny_package):
    before = {file: file.stat().st_mtime_ns for file in home.rglob("*")}
    refused = run("init", home, "--model", tiny_package.path, stdin=subprocess.DEVNULL)

    assert "exists already" in refused.refusal()
    assert {file: file.stat().st_mtime_ns for file in home.rglob("*")} == before
