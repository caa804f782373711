"""A real Prometheus that watches a real edge and cloud, and the dashboard's panels as it answers them.

    python tests/support/monitored.py OUT.png [SECONDS]

draws the panels with matplotlib where Grafana would put them: a stand-in, for Grafana is no package of Debian or PyPI.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import numpy as np
import ports
import tiny_models
import yaml

from broker.local import server

MONITORING = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
COMMAND = (sys.executable, "-m", "tflsplit.cli.main")
WAIT_S = 60.0


def panels():
    """Those that ask something."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text("utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(panel, *, interval="5s"):
    """As Grafana sends them with all edges and clouds chosen."""
    chosen = {"$edge": ".*", "$cloud": ".*", "$__rate_interval": interval}
    for target in panel["targets"]:
        expression = target["expr"]
        for variable, value in chosen.items():
            expression = expression.replace(variable, value)
        yield expression, target["legendFormat"]


class Monitored:
    """Everything started in `folder`; ended with the block."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.at_edge, self.at_cloud, self.port = ports.free_port(), ports.free_port(), ports.free_port()
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def query(self, expression, seconds=None):
        """The series of an expression: now, or of the last so many seconds."""
        asked = {"query": expression}
        where = "query"
        if seconds is not None:
            now_s = time.time()
            asked |= {"start": now_s - seconds, "end": now_s, "step": 1}
            where = "query_range"
        return self.ask(f"{where}?{urllib.parse.urlencode(asked)}")["result"]

    def ask(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=WAIT_S) as response:
            return json.load(response)["data"]

    def wait_for(self, holds):
        give_up_s = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < give_up_s

    def _start(self):
        package = tiny_models.write_package(self.folder / "tiny.tflsplit", tiny_models.residual_model())
        np.save(self.folder / "x.npy", np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8))
        url = self._stack.enter_context(server.run(port=0, kind="mosquitto")).url
        common = ("--broker", url, "--deployment", "plant1")
        served = ("--metrics", self.at_cloud, "--workers", 2)
        self._run("cloud", *COMMAND, "cloud", package.path, *common, *served)
        fed = ("--device", "cam-1", "--source", self.folder / "x.npy", "--rate", 50, "--count", 10_000_000)
        seen = ("--metrics", self.at_edge, "--telemetry", 1, "--spool", self.folder / "spool", "--spool-sync", "none")
        self._run("edge", *COMMAND, "edge", package.path, *common, *fed, *seen)
        self._run_prometheus()
        self.wait_for(self._is_ready)

    def _run_prometheus(self):
        settings = yaml.safe_load((MONITORING / "prometheus.yaml").read_text("utf-8"))
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["rule_files"] = [str(MONITORING / "alerts.yaml")]
        ports_of = {"tflsplit-edge": self.at_edge, "tflsplit-cloud": self.at_cloud}
        settings["scrape_configs"] = [job for job in settings["scrape_configs"] if job["job_name"] in ports_of]
        for job in settings["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{ports_of[job['job_name']]}"]}]
        (self.folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        self._run(
            "prometheus",
            "prometheus",
            f"--config.file={self.folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        )

    def _is_ready(self):
        with contextlib.suppress(OSError):
            return len(self.query("up == 1")) == 2
        return False

    def _run(self, name, *words):
        log = self._stack.enter_context((self.folder / f"{name}.log").open("wb"))
        process = self._stack.enter_context(
            subprocess.Popen(list(map(str, words)), cwd=self.folder, stdout=log, stderr=log)
        )
        self._stack.callback(process.kill)


def draw(monitored, path, seconds):
    """The panels by their places in the grid, 24 columns wide."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    shown = panels()
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    figure = pyplot.figure(figsize=(24, rows * 0.62), facecolor="#f4f5f5")
    for panel in shown:
        place = panel["gridPos"]
        left, width = place["x"] / 24 + 0.025, place["w"] / 24 - 0.04
        bottom, height = 1 - (place["y"] + place["h"] - 0.9) / rows, (place["h"] - 2.2) / rows
        axes = figure.add_axes((left, bottom, width, height))
        axes.set_title(f"{panel['title']} ({panel['fieldConfig']['defaults']['unit']})", loc="left", fontsize=11)
        (_draw_stat if panel["type"] == "stat" else _draw_lines)(axes, panel, monitored, seconds)
    figure.savefig(path, dpi=60)


def _draw_stat(axes, panel, monitored, _seconds):
    found = [series for expression, _ in queries(panel) for series in monitored.query(expression)]
    words = [f"{series['metric'].get('instance', '')}\n{float(series['value'][1]):.4g}" for series in found]
    axes.text(0.5, 0.5, "\n".join(words) or "no data", ha="center", va="center", fontsize=14)
    axes.set_axis_off()


def _draw_lines(axes, panel, monitored, seconds):
    for expression, legend in queries(panel):
        for series in monitored.query(expression, seconds):
            label = legend
            for name, value in series["metric"].items():
                label = label.replace("{{" + name + "}}", value)
            times, values = zip(*((at, float(value)) for at, value in series["values"]), strict=True)
            axes.plot([at - times[-1] for at in times], values, label=label)
    if axes.lines:
        axes.legend(fontsize=8, loc="upper left")
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    import tempfile

    lasting_s = float(sys.argv[2]) if len(sys.argv) > 2 else 40.0
    with tempfile.TemporaryDirectory() as kept, Monitored(kept) as running:
        time.sleep(lasting_s)
        draw(running, sys.argv[1], lasting_s)
