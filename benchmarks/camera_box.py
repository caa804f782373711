"""Four cameras on one accelerator for ten minutes: one is unplugged and comes back, one floods, then all ask for more
than there is.

`tflsplit edge` with four `[[stream]]` tables, cameras over HTTP, a secured Mosquitto as `tflsplit broker init` writes
it, a cloud and a named reader of all results: real processes. The accelerator is a delegate library that one process
may open; it takes 50 ms an inference, during which it leaves the processor alone. Every picture is of a known grey:
each answer is compared with the whole model's, and each frame that the edge took has to be answered once. Times are
from the capture to the reader, on a machine that does everything, and so compare phases only.
"""

import contextlib
import http.server
import io
import json
import random
import shutil
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import harness
import models  # noqa: F401 - it makes the tests' own models to be found
import numpy as np
import tiny_models
from harness import SkippedError, Table
from PIL import Image

from broker.deploy import folder as deployments
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package.reading import Package

_DEPLOYMENT, _INFERENCE_MS, _SIDE, _GREYS = "shop", 50, 16, 12
_PATIENCE_S, _LOOK_S = 120.0, 0.5
# Of ten minutes; what is left is the end. The last phase asks of each camera more than its share.
_PHASES = {"calm": 150.0, "yard unplugged": 120.0, "yard back": 90.0, "gate floods": 120.0, "all flood": 120.0}
_FLOOD, _MORE_FPS = 100, 25.0
_SOURCE = Path(__file__).parents[1] / "tests" / "support" / "delegate.c"


@dataclass
class Camera:
    """An HTTP camera. Its port stays bound while it is unplugged, so that no other program gets it."""

    name: str
    fps: float
    weight: float
    pictures: list[bytes]
    is_plugged: bool = True
    server: http.server.ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        camera = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not camera.is_plugged:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with contextlib.suppress(OSError):
                    due_s = time.monotonic()
                    while camera.is_plugged:
                        data = random.choice(camera.pictures)
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        due_s = max(due_s + 1 / camera.fps, time.monotonic() - 1.0)
                        time.sleep(max(0.0, due_s - time.monotonic()))

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass(slots=True)
class Seen:
    """Of one phase: the latencies of each camera's answers in s, by name, and what `/health` named."""

    for_s: float = 0.0
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)
    first_named_s: float | None = None

    def rate(self, name: str) -> float:
        return len(self.latencies_s.get(name, ())) / self.for_s

    def p95_ms(self, name: str) -> float:
        values = self.latencies_s.get(name, [])
        return statistics.quantiles(values, n=20)[-1] * 1e3 if len(values) > 1 else float("nan")


class Reader:
    """`tflsplit results` with a name, read line by line."""

    def __init__(self, process: subprocess.Popen[str], package: Package, pictures: list[bytes]) -> None:
        self.phase = Seen()
        self.counts: Counter[tuple[str, str, int]] = Counter()
        self.wrong = 0
        self._output, self._expected = package.manifest.outputs[0], _expected(package, pictures)
        self._lines = process.stdout
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._lines is not None
        for line in self._lines:
            result, now_s = json.loads(line), time.time()
            self.counts[result["device"], result["boot"], result["sequence"]] += 1
            values = np.ravel([*(result.get("values") or {"": ()}).values()])
            steps = np.rint(values / self._output.scale).astype(int) + self._output.zero_point
            self.wrong += tuple(steps.tolist()) not in self._expected
            taken_s = now_s - result["times"]["captured_ms"] / 1e3
            self.phase.latencies_s.setdefault(result["device"], []).append(taken_s)

    def of(self, device: str) -> int:
        return sum(count for (name, _, _), count in self.counts.items() if name == device)


def run(folder: Path, *, is_quick: bool) -> list[Table]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SkippedError("no C compiler (gcc or cc) for the accelerator's library")
    library = folder / "libaccelerator.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE, "-lm"], check=True)
    package, pictures = _package(folder), _pictures()
    given = (("door", 3.0, 1.0), ("yard", 2.0, 1.0), ("hall", 3.0, 2.0), ("gate", 2.0, 1.0))
    cameras = {name: Camera(name, fps, weight, pictures) for name, fps, weight in given}
    wanted = deployments.Wanted(tuple(cameras))
    broker = folder / "broker"
    deployments.init(broker, wanted, deployment=_DEPLOYMENT, hosts=("localhost",), port=harness.free_port())
    port = harness.free_port()
    file = folder / "box.toml"
    device = f"delegate:{library}?takes_ms={_INFERENCE_MS}&alone={folder / 'taken'}"
    alike = {"package": str(package.path), "cut": package.cuts[2].id, "accelerator": device, "metrics": str(port)}
    file.write_text(_settings(cameras, broker / "clients", **alike))
    scale = 0.1 if is_quick else 1.0
    with contextlib.ExitStack() as stack:

        def start(*words: object) -> subprocess.Popen[str]:
            return stack.enter_context(harness.process([harness.TFLSPLIT, *map(str, words)]))

        start("broker", "run", broker)
        _until((broker / "server" / "mosquitto.pid").exists)
        start("cloud", package.path, "--credentials", broker / "clients" / "cloud")
        listening = start("results", "--credentials", broker / "clients" / "consumer", "--name", "trial")
        reader = Reader(listening, package, pictures)
        edge = start("edge", "--config", file, "--json", "--log-format", "json")
        _until(lambda: all(reader.of(name) for name in cameras))
        seen = {name: _phase(name, for_s * scale, reader, cameras, port) for name, for_s in _PHASES.items()}
        edge.terminate()
        said, _ = edge.communicate(timeout=_PATIENCE_S)
        summaries = {each["device"]: each for each in map(json.loads, said.splitlines())}
        _until(lambda: all(reader.of(name) >= each["results"] for name, each in summaries.items()))
    return [_rates(seen, cameras), _shares(seen["all flood"], cameras), _counts(summaries, reader), _named(seen)]


def _phase(name: str, for_s: float, reader: Reader, cameras: dict[str, Camera], port: int) -> Seen:
    yard, gate = cameras["yard"], cameras["gate"]
    yard.is_plugged = name != "yard unplugged"
    calm_fps = {each.name: each.fps for each in cameras.values()}
    if name == "gate floods":
        gate.fps *= _FLOOD
    if name == "all flood":
        for each in cameras.values():
            each.fps = _MORE_FPS
    reader.phase = seen = Seen()
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < for_s:
        why = _health(port).get("why")
        seen.named[why.split(":")[0] if why else "nobody"] += 1
        if why and seen.first_named_s is None:
            seen.first_named_s = passed_s
        time.sleep(_LOOK_S)
    seen.for_s = time.monotonic() - began_s
    for each in cameras.values():
        each.fps = calm_fps[each.name]
    rates = ", ".join(f"{each} {seen.rate(each):.2f}" for each in cameras)
    print(f"{name}: {seen.for_s:.0f} s; answers a second: {rates}; named {dict(seen.named)}", flush=True)
    return seen


def _health(port: int) -> dict:
    try:
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5.0).read()
    except urllib.error.HTTPError as refused:
        answer = refused.read()
    except OSError:
        return {}
    return json.loads(answer)


def _package(folder: Path) -> Package:
    """x → a=x+x, on the accelerator, → b=a+a → c=a+b, of pictures of 2 x 2."""
    made = tiny_models.Builder()
    shape = (1, 2, 2, 3)
    x = made.tensor("x", shape, scale=1 / 255, zero_point=-128)
    a = made.add(x, x, "a", shape, scale=4 / 255)
    b = made.add(a, a, "b", shape, scale=0.04)
    model = made.build((x,), (made.add(a, b, "c", shape, scale=0.06),))
    return tiny_models.write_package(folder / "box.tflsplit", model, labels=())


def _pictures() -> list[bytes]:
    found = []
    for number in range(_GREYS):
        held = io.BytesIO()
        grey = 10 + 20 * number  # without colour no decoder rounds otherwise than another
        Image.new("RGB", (_SIDE, _SIDE), (grey, grey, grey)).save(held, "JPEG", quality=95)
        found.append(held.getvalue())
    return found


def _expected(package: Package, pictures: list[bytes]) -> set[tuple[int, ...]]:
    """What the whole model answers, in steps."""
    found = set()
    with Interpreter(package.model_bytes()) as whole:
        for picture in pictures:
            pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB").resize((2, 2)), np.int16)
            stored = (pixels - 128).astype(np.int8)[None]  # of 0 to 1, at a step of 1/255 from -128
            found.add(tuple(whole.run(stored)[0].ravel().tolist()))
    return found


def _settings(cameras: dict[str, Camera], clients: Path, **alike: object) -> str:
    alike |= {"fallback": "cpu", "window": 32}
    lines = ["[edge]", *(f"{key} = {json.dumps(value)}" for key, value in alike.items())]
    for camera in cameras.values():
        where = f"http://127.0.0.1:{camera.server.server_address[1]}/"
        of_it = {"credentials": str(clients / camera.name), "source": where, "weight": camera.weight}
        lines += ["", "[[stream]]", *(f"{key} = {json.dumps(value)}" for key, value in of_it.items())]
    return "\n".join(lines) + "\n"


def _rates(seen: dict[str, Seen], cameras: dict[str, Camera]) -> Table:
    columns = ("phase", *(f"{each.name}, {each.fps:g} fps" for each in cameras.values()))
    rows = [
        (f"{phase} ({each.for_s:.0f} s)", *(f"{each.rate(name):.2f}; {each.p95_ms(name):.0f} ms" for name in cameras))
        for phase, each in seen.items()
    ]
    return Table("Answers a second, and p95 from the capture to the reader", columns, tuple(rows))


def _shares(seen: Seen, cameras: dict[str, Camera]) -> Table:
    whole, weights = sum(map(seen.rate, cameras)), sum(each.weight for each in cameras.values())
    rows = [
        (each.name, f"{each.weight:g}", f"{each.weight / weights:.3f}", f"{seen.rate(each.name) / whole:.3f}")
        for each in cameras.values()
    ]
    title = f"Shares of the accelerator while each camera gives {_MORE_FPS:g} pictures a second ({whole:.1f} answered)"
    return Table(title, ("camera", "weight", "share due", "share had"), tuple(rows))


def _counts(summaries: dict[str, dict], reader: Reader) -> Table:
    rows = []
    for name, each in summaries.items():
        doubled = sum(count - 1 for (device, _, _), count in reader.counts.items() if device == name)
        answered = reader.of(name) - doubled
        lost = each["frames"] - answered
        dropped = ", ".join(f"{what} {count}" for what, count in each["dropped"].items())
        fallback = each["accelerator"]["frames_on_fallback"]
        rows.append((name, *map(str, (each["frames"], answered, lost, doubled, each["refused"], fallback)), dropped))
    rows.append(("all", "", "", "", "", "", "", f"answers that are wrong: {reader.wrong}"))
    columns = ("camera", "frames", "answered", "lost", "doubled", "refused", "on the CPU", "pictures left out")
    return Table("What became of the frames", columns, tuple(rows))


def _named(seen: dict[str, Seen]) -> Table:
    rows = [
        (phase, ", ".join(f"{who}: {looks}" for who, looks in each.named.items()), _moment(each.first_named_s))
        for phase, each in seen.items()
    ]
    return Table("Whom /health named, by looks", ("phase", "named", "for the first time after"), tuple(rows))


def _moment(at_s: float | None) -> str:
    return "" if at_s is None else f"{at_s:.1f} s"


def _until(holds) -> None:
    give_up_s = time.monotonic() + _PATIENCE_S
    while not holds():
        if time.monotonic() > give_up_s:
            raise SystemExit("the streams do not come up")
        time.sleep(0.1)
