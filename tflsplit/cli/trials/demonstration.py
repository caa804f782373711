"""The demo: convert a trained model, run broker, cloud and edge as processes, and compare with the unsplit model.

It uses the same commands as anyone would and watches the results as any consumer of the deployment could.
"""

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from broker.local import server
from broker.messages import results as messages_results
from broker.messages import topics
from broker.mqtt import transport
from broker.transport import address
from broker.watching import browser, listener
from converters import convert
from converters.loading import formats
from tflsplit import errors
from tflsplit.cli.trials import demo_files
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.inputs import preprocessing
from tflsplit.package import outputs, reading
from tflsplit.values.classes import dataclass

DEPLOYMENT, DEVICE = "demo", "edge-1"
CUT_LAYER = "squeeze_relu"
RATE_FPS = 100  # slow enough that latencies are those of a frame, not of a queue
JPEG_QUALITY = 75
# Longest time without a message. Starting an edge takes some seconds on the slowest machines; nothing else is as slow.
_SILENCE_S = 60.0
_LOOK_S = 0.2
FRAMES = 360  # the held-out pictures


@dataclass(frozen=True, slots=True)
class Report:
    """The results of the demo. Accuracies are shares of the test pictures; `edge` is the summary of the edge."""

    frames: int
    results: int
    duplicates: int
    agree_with_whole: float
    accuracy: dict[str, float]
    cut: str
    layer: str | None
    payload_bytes: int
    raw_bytes: int
    jpeg_bytes: int
    jpeg_quality: int
    broker: str
    calibration: str
    edge: dict[str, Any]

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "results": self.results,
            "lost": self.frames - self.results,
            "duplicates": self.duplicates,
            "agree_with_whole": self.agree_with_whole,
            "accuracy": self.accuracy,
            "cut": self.cut,
            "layer": self.layer,
            "payload_bytes": self.payload_bytes,
            "raw_bytes": self.raw_bytes,
            "jpeg_bytes": self.jpeg_bytes,
            "jpeg_quality": self.jpeg_quality,
            "broker": self.broker,
            "calibration": self.calibration,
            "latency_ms": self.edge["latency_ms"],
            "parts_ms": self.edge["parts_ms"],
        }


def run(
    folder: Path, *, on_step: Callable[[str], None], on_result: Callable[[messages_results.Result, bool], None]
) -> Report:
    """Runs the demo. Files go to `folder`, which the caller removes. `on_result` gets each result, and whether it was
    right."""
    model, data = _unpack(folder)
    converted = _converted(model, folder, on_step)
    images, truth = data["test_images"], data["test_labels"]
    on_step("reference: the float model and the whole int8 model on the held-out pictures")
    float_classes = _float_classes(model, images)
    whole_labels = _whole_labels(converted, images)
    with server.run(port=0) as serving:
        on_step(f"broker: {serving.kind} on {serving.url}")
        labels, duplicates, edge = _stream(converted, folder, serving.url, truth, on_step=on_step, on_result=on_result)
    cut = converted.cut(CUT_LAYER)
    return Report(
        frames=len(images),
        results=len(labels),
        duplicates=duplicates,
        agree_with_whole=_share(labels.get(number) == label for number, label in enumerate(whole_labels)),
        accuracy={
            "float": float(np.mean(float_classes == truth)),
            "int8": _share(label == str(digit) for label, digit in zip(whole_labels, truth, strict=True)),
            "split": _share(labels.get(number) == str(digit) for number, digit in enumerate(truth)),
        },
        cut=cut.id,
        layer=cut.layer,
        payload_bytes=cut.payload_bytes,
        raw_bytes=images[0].nbytes,
        jpeg_bytes=_mean_jpeg_bytes(images),
        jpeg_quality=JPEG_QUALITY,
        broker=serving.kind,
        calibration=converted.manifest.calibration.kind,
        edge=edge,
    )


def serve(
    folder: Path, page: str, *, on_step: Callable[[str], None], until: Callable[[str, listener.Listener], None]
) -> None:
    """Runs a broker, a cloud and three edges for as long as `until` does, which gets the URL of the page that shows
    them. `page` is its address, as `tflsplit watch --serve` takes it."""
    model, _ = _unpack(folder)
    converted = _converted(model, folder, on_step)
    with server.run(port=0) as serving, ExitStack() as stack:
        on_step(f"broker: {serving.kind} on {serving.url}")
        listening = transport.MqttTransport(
            address.parse(serving.url), client_id="tflsplit-demo-watch", limits=listener.LIMITS
        )
        stack.enter_context(listening).connect()
        heard = stack.enter_context(listener.Listener(listening, DEPLOYMENT))
        heard.synchronise()
        heard.start()
        url = stack.enter_context(browser.serving(heard, page))
        common = (str(converted.path), "--broker", serving.url, "--deployment", DEPLOYMENT, "--telemetry", "2s")
        cloud = stack.enter_context(_running("cloud", folder, *common))
        _wait_for_cloud(heard, cloud, folder)  # else the frames until then would be answered at once, as a rate of none
        source = ("--source", str(folder / "test.npy"), "--count", str(10**9), "--cut", CUT_LAYER)
        for number, rate_fps in enumerate((2, 5, 10), 1):
            named = ("--device", f"edge-{number}", "--rate", str(rate_fps))
            stack.enter_context(_running("edge", folder, *common, *source, *named))
        on_step("cloud and three edges: started, each a process of its own")
        until(url, heard)


def _wait_for_cloud(heard: listener.Listener, cloud: "subprocess.Popen[str]", folder: Path) -> None:
    while cloud.poll() is None:
        with heard.reading() as deployment:
            if deployment.totals(time.monotonic())["clouds_online"]:
                return
        heard.wait(_LOOK_S)
    _check(cloud, "cloud", folder)


@contextmanager
def _running(command: str, folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = _process(command, folder, *arguments)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


def _converted(model: Path, folder: Path, on_step: Callable[[str], None]) -> reading.Package:
    on_step("convert: digits.h5 to int8, quantised once, calibrated on 128 training pictures")
    return convert.convert(
        model,
        folder / "digits.tflsplit",
        convert.Options(
            calibration=folder / "calibration.npy",
            preprocessing=preprocessing.NAMED["unit"],
            labels=demo_files.LABELS,
        ),
    )


def _unpack(folder: Path) -> tuple[Path, dict[str, Array]]:
    model, data = demo_files.write_model(folder), demo_files.data()
    np.save(folder / "calibration.npy", data["calibration"])
    np.save(folder / "test.npy", data["test_images"])
    return model, data


def _float_classes(model: Path, images: Array) -> Array:
    real = preprocessing.NAMED["unit"].to_real(images)
    classes: Array = np.argmax(formats.load(model).predict((real,))[0], axis=-1)
    return classes


def _whole_labels(converted: reading.Package, images: Array) -> list[str | None]:
    described = converted.manifest
    if described.preprocessing is None:
        raise errors.PackageError(f"{converted.path}: the demo's package has no preprocessing")
    table = preprocessing.PixelTable(described.preprocessing, described.inputs[0])
    with Interpreter(converted.model_bytes()) as whole:
        return [
            outputs.read(
                described.outputs, whole.run(table.apply(image)[None]), described.labels, described.meanings
            ).label
            for image in images
        ]


def _stream(
    converted: reading.Package,
    folder: Path,
    url: str,
    truth: Array,
    *,
    on_step: Callable[[str], None],
    on_result: Callable[[messages_results.Result, bool], None],
) -> tuple[dict[int, str | None], int, dict[str, Any]]:
    """The labels by frame number, the number of duplicates that came to this consumer, and the edge's summary."""
    common = (str(converted.path), "--broker", url, "--deployment", DEPLOYMENT)
    source = (
        "--device",
        DEVICE,
        "--source",
        str(folder / "test.npy"),
        "--cut",
        CUT_LAYER,
        "--rate",
        str(RATE_FPS),
        "--json",
    )
    with transport.MqttTransport(address.parse(url), client_id="tflsplit-demo-consumer") as consumer:
        consumer.connect()
        consumer.subscribe(topics.every_device(DEPLOYMENT, topics.Kind.RESULTS))
        consumer.subscribe(topics.topic(DEPLOYMENT, "cloud", topics.Kind.STATUS))
        with _process("cloud", folder, *common) as cloud:
            on_step(f"cloud: process {cloud.pid}, serves every cut")
            _wait_for_status(consumer, cloud, folder)
            with _process("edge", folder, *common, *source) as edge:
                on_step(f"edge: process {edge.pid}, cut after {CUT_LAYER!r}")
                labels, duplicates = _consume(consumer, edge, truth, on_result)
                printed, _ = edge.communicate(timeout=_SILENCE_S)
            _check(edge, "edge", folder)
            cloud.terminate()
    return labels, duplicates, json.loads(printed)


def _consume(
    consumer: transport.MqttTransport,
    edge: "subprocess.Popen[str]",
    truth: Array,
    on_result: Callable[[messages_results.Result, bool], None],
) -> tuple[dict[int, str | None], int]:
    labels: dict[int, str | None] = {}
    duplicates = 0
    silent_since_s = time.monotonic()
    while len(labels) < len(truth) and time.monotonic() - silent_since_s < _SILENCE_S and not edge.poll():
        message = consumer.receive(_LOOK_S)
        if message is None:
            continue
        silent_since_s = time.monotonic()
        consumer.acknowledge(message)
        if topics.parse(message.topic).kind is not topics.Kind.RESULTS:
            continue
        result = messages_results.parse(message.payload)
        if isinstance(result, messages_results.Refusal):
            raise errors.FrameError(f"the cloud refused a frame: {result.error}")
        duplicates += result.sequence in labels
        labels[result.sequence] = result.label
        on_result(result, result.label == str(truth[result.sequence]))
    return labels, duplicates


def _wait_for_status(consumer: transport.MqttTransport, cloud: "subprocess.Popen[str]", folder: Path) -> None:
    """Waits until the cloud's status is online. It subscribes right after that, long before an edge sends a frame."""
    while cloud.poll() is None:
        message = consumer.receive(_LOOK_S)
        if message is not None:
            consumer.acknowledge(message)
            return
    _check(cloud, "cloud", folder)


def _check(process: "subprocess.Popen[str]", command: str, folder: Path) -> None:
    if process.returncode:
        words = (folder / f"{command}.log").read_text().strip().splitlines()
        raise errors.DeviceError(f"the {command} ended with code {process.returncode}: {words[-1] if words else ''}")


def _process(command: str, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    with (folder / f"{command}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tflsplit.cli.main", command, *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _mean_jpeg_bytes(images: Array) -> int:
    from PIL import Image

    sizes = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image[..., 0]).save(stream, "JPEG", quality=JPEG_QUALITY)
        sizes.append(stream.tell())
    return round(float(np.mean(sizes)))


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))
