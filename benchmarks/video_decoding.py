"""OpenCV beside PyAV for what `--source rtsp://…` and `video:FILE` decode: each in a process of its own, in turn.

Measured until there are RGB pixels: how long the first frame takes, CPU time a frame, memory beside that of NumPy, and
what they say of a stream that changes its size and then hangs. Needs ffmpeg, and what `tests/support/rtsp_server.py`
needs.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import rtsp_server

LIBRARIES = {"PyAV": "av", "OpenCV": "opencv-python-headless"}
SIZE, FPS = (1280, 720), 25
READING_S = 5.0
COLUMNS = ("", *LIBRARIES)


def run(folder: Path, *, is_quick: bool) -> list[harness.Outcome | harness.Table]:
    if lacking := rtsp_server.why_not():
        raise harness.SkippedError(lacking)
    file = folder / "video.mp4"
    made = f"testsrc2=size={SIZE[0]}x{SIZE[1]}:rate={FPS}:duration={2 if is_quick else 12}"
    subprocess.run(
        ("ffmpeg", "-v", "error", "-f", "lavfi", "-i", made, "-c:v", "libx264", "-preset", "veryfast", str(file)),
        check=True,
    )
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in LIBRARIES}
    for _ in range(1 if is_quick else 7):
        for name in LIBRARIES:
            found[name].append(_measured(name, "file", str(file)) | _of_stream(name))
    rows = [("installed, MB", *(f"{_installed_mb(each):.0f}" for each in LIBRARIES.values()))]
    for key in found["PyAV"][0]:
        rows.append((key, *(_median([run[key] for run in found[name]]) for name in LIBRARIES)))
    note = f"H.264 of {SIZE[0]}x{SIZE[1]}, medians of {len(found['PyAV'])} runs in turn; the stream goes on as 640x640."
    return [harness.Table("Decoding: PyAV beside OpenCV", COLUMNS, tuple(rows), note)]


def _of_stream(name: str) -> dict[str, Any]:
    with rtsp_server.Camera(size=SIZE) as camera:
        measured = subprocess.Popen(
            (sys.executable, __file__, name, "stream", camera.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert measured.stdout is not None
        measured.stdout.readline()  # so many frames came
        camera.resize(640, 640)
        measured.stdout.readline()
        camera.freeze()
        out, _ = measured.communicate()
    return dict(json.loads(out))


def _measured(name: str, what: str, place: str) -> dict[str, Any]:
    done = subprocess.run((sys.executable, __file__, name, what, place), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def _median(values: list[Any]) -> str:
    if isinstance(values[0], str):
        return ", ".join(dict.fromkeys(values))
    samples = harness.Samples("", "", tuple(values))
    return f"{samples.median:.3g} ± {samples.iqr / 2:.2g}"


def _installed_mb(distribution: str) -> float:
    return (
        sum(
            Path(str(file.locate())).stat().st_size
            for file in metadata.files(distribution) or ()
            if Path(str(file.locate())).exists()
        )
        / 1e6
    )


def _frames(name: str, place: str) -> Iterator[Any]:
    """RGB pixels, as the edge would have them."""
    if name == "PyAV":
        from edge_runtime.sources import video

        opened = video.opened(place)
        assert opened is not None
        yield from opened.frames(lambda reason: None)
        return
    import cv2

    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 10_000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(READING_S * 1000)]
    capture = cv2.VideoCapture(place, cv2.CAP_FFMPEG, limits)
    while (read := capture.read())[0]:
        yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


def _child(name: str, what: str, place: str) -> dict[str, Any]:
    before_mb = _most_mb()
    began_s = time.perf_counter()
    frames = _frames(name, place)
    next(frames)
    first_s, cpu_s, count, sizes, last_s = time.perf_counter() - began_s, time.process_time(), 0, [], 0.0
    for frame in frames:
        count, last_s = count + 1, time.perf_counter()
        size = "x".join(map(str, frame.shape[1::-1]))
        sizes += [size] * (size not in sizes)
        if what == "stream" and count in (50, 100):
            print("so many", flush=True)
    shared = {
        f"{what}: first frame with its import, ms": first_s * 1e3,
        f"{what}: CPU a frame, ms": (time.process_time() - cpu_s) / count * 1e3,
        f"{what}: memory, MB": _most_mb() - before_mb,
    }
    if what == "file":
        return shared
    return shared | {"stream: sizes seen": ", ".join(sizes), "stream: silence noticed, s": time.perf_counter() - last_s}


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    print(json.dumps(_child(*sys.argv[1:])))
