"""Deployments to be broken. Each test has a short form for every run, and the whole one for `make test-all`."""

import contextlib
import dataclasses

import chaos
import pytest
import stock_mosquitto
import tiny_models

from broker.local import server
from tflsplit.package import writing


@dataclasses.dataclass(frozen=True)
class Scale:
    """How many frames are sent while so many kills happen."""

    frames: int
    kills: int

    @property
    def between(self):
        """Results from one kill to the next."""
        return self.frames // (self.kills + 1)


@pytest.fixture(
    params=[
        pytest.param(Scale(400, 4), id="short"),
        pytest.param(Scale(2000, 20), id="whole", marks=(pytest.mark.sweep, pytest.mark.timeout(1800))),
    ]
)
def scale(request):
    return request.param


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def mosquitto(stack, tmp_path):
    """Starts one with these lines of configuration, by default so that it survives `kill -9`."""
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")

    def start(*lines, **where):
        folder = tmp_path / "mosquitto"
        folder.mkdir()
        made = stock_mosquitto.Mosquitto(folder, lines or stock_mosquitto.DURABLE, **where)
        stack.callback(made.end)
        return made

    return start


@pytest.fixture
def wide_package(tmp_path):
    """One whose frames carry 5 KB."""
    return tiny_models.write_package(tmp_path / "wide.tflsplit", tiny_models.wide_model())


@pytest.fixture(scope="session")
def heavy_package(tmp_path_factory):
    """One whose tails take long enough that they are in the midst of one when they are killed."""
    model = tiny_models.heavy_model()
    described = tiny_models.describe(model)
    return writing.write(tmp_path_factory.mktemp("heavy") / "p.tflsplit", described, model, described.cuts[1:2])


@pytest.fixture
def deploy(stack, tmp_path, tiny_package, record_property):
    """A deployment of a package, by default one that takes next to no time. What its edges and its reader counted goes
    into the report."""

    def make(url, of=tiny_package, **where):
        made = chaos.Deployment(stack, tmp_path, of, url, **where)
        stack.callback(lambda: [record_property(*figure) for figure in made.figures.items()])
        return made

    return make


def pytest_terminal_summary(terminalreporter, config):
    """What was counted, where these tests are asked for by name."""
    if not any("chaos" in str(word) for word in config.args):
        return
    terminalreporter.section("counted")
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown" and report.user_properties:
                terminalreporter.line(report.nodeid.partition("::")[2])
                for who, counted in report.user_properties:
                    terminalreporter.line(f"    {who}: {shown(counted)}")


def shown(counted):
    """Without what is zero or empty."""
    if not isinstance(counted, dict):
        return counted
    return ", ".join(f"{name} {count}" for name, count in counted.items() if count)
