"""What all benchmarks share: measurements and their spread, the machine's description, pinned processes, a Mosquitto.

A measurement is a ratio of two things measured in turn on the same machine: absolute times of a busy one say little.
"""

import contextlib
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from broker.local import server

LIBRARIES = ("tflsplit", "numpy", "ai-edge-litert", "paho-mqtt", "tensorflow", "keras", "click")
TFLSPLIT = str(Path(sys.executable).with_name("tflsplit"))
CORES = sorted(os.sched_getaffinity(0))
# The edge and the cloud each get one; on a machine with a single core they share it, and the numbers show it.
EDGE_CORE, CLOUD_CORE = CORES[0], CORES[-1]


class SkippedError(Exception):
    """This machine lacks what the benchmark needs; what was measured before is kept."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one thing, in the order they were taken."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def iqr(self) -> float:
        """Distance between the quartiles: where the middle half of the values lies."""
        if len(self.values) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return high - low


@dataclass(frozen=True, slots=True)
class Outcome:
    """`ours` against `rival`, or against a fixed `limit` in its own unit. `target` bounds their ratio: at most, or at
    least with `is_floor`; without one the ratio is only shown."""

    what: str
    ours: Samples
    rival: Samples
    target: float | None = None
    is_floor: bool = False
    note: str = ""

    @property
    def ratio(self) -> float:
        """Median of the ratios of each round where the two took turns, else the ratio of the medians."""
        if len(self.ours.values) == len(self.rival.values):
            return statistics.median(
                ours / rival for ours, rival in zip(self.ours.values, self.rival.values, strict=True)
            )
        return self.ours.median / self.rival.median

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        is_met = self.ratio >= self.target if self.is_floor else self.ratio <= self.target
        return "met" if is_met else "falls short"


@dataclass(frozen=True, slots=True)
class Table:
    """Figures that are compared with nothing: what something costs or gives, by kind."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def limit(value: float, unit: str) -> Samples:
    return Samples("limit", unit, (value,))


def seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def wait_for_calm(patience_s: float = 10.0) -> None:
    """Until the machine has little else to do: its other work would be measured. After `patience_s` anyway."""
    give_up_s = time.monotonic() + patience_s
    while psutil.cpu_percent(interval=0.2) > 10.0 and time.monotonic() < give_up_s:
        pass


def cpu_s(pid: int) -> float:
    """CPU time that a running process has taken so far, in all its threads."""
    # The clock that `clock_getcpuclockid` names: /proc counts in hundredths of a second.
    return time.clock_gettime(~pid << 3 | 2)


def switches(pid: int) -> int:
    """How often the threads of a running process were switched away from, willingly or not."""
    told = "".join(each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(line.split()[1]) for line in told.splitlines() if "ctxt_switches" in line)


def machine() -> dict[str, str]:
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": f"{model}, {len(CORES)} cores",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES),
        "mosquitto": _mosquitto_version(),
    }


def _mosquitto_version() -> str:
    path = server.mosquitto_path()
    if path is None:
        return "not installed"
    shown = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout
    return shown.splitlines()[0].removeprefix("mosquitto version ")


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """This process on one core, its later threads and children too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def process(command: Sequence[str], *, core: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed when the block ends; what it printed is shown if it failed by itself."""
    with tempfile.TemporaryFile("w+") as log, pinned(core) if core is not None else contextlib.nullcontext():
        # A standard input that stays open: without one, a script that waits to be killed would end at once.
        started = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
        )
        try:
            yield started
        except BaseException:
            log.seek(0)
            print(f"{' '.join(command)}:\n{log.read()[-2000:]}", file=sys.stderr)
            raise
        finally:
            started.kill()
            started.wait()
            for stream in (started.stdin, started.stdout):
                if stream is not None:
                    stream.close()


def environment() -> dict[str, str]:
    """Ours, but that Python keeps what it compiled: an installed tflsplit is compiled, as its rivals' libraries are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True, slots=True)
class Broker:
    port: int
    pid: int


@contextlib.contextmanager
def mosquitto(*lines: str) -> Iterator[Broker]:
    """A Mosquitto on a free port of loopback with the configuration it is installed with, plus `lines`.

    Not `broker.local.server`: that one sets what makes it fast, and here it is measured what that is worth.
    """
    path = server.mosquitto_path()
    if path is None:
        raise SystemExit("mosquitto is not installed: apt install mosquitto")
    with tempfile.TemporaryDirectory(prefix="tflsplit-bench-") as folder:
        port = free_port()
        config = Path(folder) / "mosquitto.conf"
        config.write_text("\n".join((f"listener {port} 127.0.0.1", "allow_anonymous true", *lines, "")))
        with process([path, "-c", str(config)]) as broker:
            wait_until_open(port, broker)
            yield Broker(port, broker.pid)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_open(port: int, broker: subprocess.Popen[str]) -> None:
    while broker.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.01)
    raise SystemExit(f"mosquitto ended with code {broker.returncode}")
