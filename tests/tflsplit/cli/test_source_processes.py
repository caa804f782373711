"""Sources that wait, at an edge and a cloud as the processes they are in service."""

import io
import signal

import numpy as np
import pytest
from pictured import pictures_package
from PIL import Image

from tflsplit.inputs import preprocessing

pytestmark = pytest.mark.chaos


@pytest.fixture
def package(builder, tmp_path):
    return pictures_package(builder, tmp_path, preprocessing=preprocessing.NAMED["unit"])


@pytest.fixture
def deployment(brokers, watch, start, package):
    url = brokers.start("mosquitto")
    joined = watch(url)
    joined.names = ("--broker", url, "--deployment", "d")
    start("cloud", package.path, *joined.names)
    joined.wait_for_cloud()
    return joined


def png(seed):
    held = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (33, 17, 3), dtype=np.uint8)).save(held, "PNG")
    return held.getvalue()


def test_an_edge_that_watches_a_folder_waits_for_files_ends_when_told_and_takes_none_twice(
    start, package, deployment, tmp_path, monkeypatch
):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    folder = tmp_path / "comes in"
    folder.mkdir()

    def edge():
        words = ("--device", "n", "--source", f"watch:{folder}", "--json")
        return start("edge", package.path, *deployment.names, *words)

    (folder / "1.png").write_bytes(png(1))
    first = edge()
    deployment.wait_for_results(1)
    (folder / "2.png").write_bytes(png(2))
    deployment.wait_for_results(2)
    first.send_signal(signal.SIGTERM)
    assert first.done().json()["results"] == 2

    (folder / "3.png").write_bytes(png(3))
    second = edge()
    deployment.wait_for_results(3)
    second.send_signal(signal.SIGTERM)
    assert second.done().json()["results"] == 1


def test_an_edge_takes_pictures_from_a_pipe_until_it_ends(start, package, deployment, tmp_path):
    (tmp_path / "stream").write_bytes(png(1) + b"no picture" + png(2) + png(3)[:50])
    with (tmp_path / "stream").open("rb") as stream:
        words = ("--device", "n", "--source", "stdin:", "--json")
        summary = start("edge", package.path, *deployment.names, *words, stdin=stream).done().json()

    assert summary["results"] == 2
    assert summary["dropped"] == {"no_picture": 2}


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_check_of_settings_shows_no_password_of_a_camera(run, tmp_path, words):
    file = tmp_path / "edge.toml"
    file.write_text('[edge]\nsource = "rtsp://me:s3cret@cam.invalid/live?token=s3cret"\n')
    done = run("config", "check", file, *words)

    assert "cam.invalid" in done.out
    assert "s3cret" not in done.out + done.err
