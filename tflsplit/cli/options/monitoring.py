"""The options for monitoring an edge (metrics, telemetry, trace, Home Assistant), and what they start."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tflsplit.cli.options import connection, units
from tflsplit.cli.options import metrics as options_metrics
from tflsplit.cli.output.seeing import printing
from tflsplit.cli.streams import surroundings

if TYPE_CHECKING:  # an edge without monitoring imports none of it
    from broker.transport.protocol import Transport
    from edge_runtime.delivery.observer import Observer
    from edge_runtime.loop import Edge
    from edge_runtime.monitoring.frame_trace import Trace
    from edge_runtime.monitoring.metrics import EdgeMetrics
    from edge_runtime.sources.frames import Source

# The default for Home Assistant: often enough to show a device as alive, and one small message each time.
_TELEMETRY_S = 10.0


class MonitoringOptions(NamedTuple):
    """The values of the options."""

    metrics: str | None
    telemetry_s: float | None
    trace: Path | None
    trace_limit_bytes: int
    home_assistant: str | None
    pictures_s: float | None = None
    prints: bool | None = None

    @contextmanager
    def started(self) -> "Iterator[Monitoring]":
        """Serves metrics and writes the trace, from before the head is loaded until the edge has ended."""
        with ExitStack() as stack:
            metrics = trace = None
            if self.metrics or self.telemetry_s:
                from edge_runtime.monitoring import metrics as edge_metrics

                metrics = edge_metrics.EdgeMetrics()
                stack.enter_context(surroundings.of().observed(self.metrics, metrics.families, metrics.health))
            if self.trace is not None:
                from edge_runtime.monitoring import frame_trace
                from tflsplit.kernels import keeping

                limit_bytes, kernel_class = self.trace_limit_bytes, keeping.here()
                kept = frame_trace.Trace(self.trace, limit_bytes=limit_bytes, kernel_class=kernel_class)
                trace = stack.enter_context(kept)
            yield Monitoring(
                self,
                metrics,
                trace,
                stack.enter_context(
                    printing.printing(self.prints, is_json=bool(click.get_current_context().params.get("is_json")))
                ),
            )


class Monitoring(NamedTuple):
    """The monitoring that runs. `metrics`, `trace` and `printed` are None where they are off."""

    options: MonitoringOptions
    metrics: "EdgeMetrics | None"
    trace: "Trace | None"
    printed: printing.Answers | None = None

    @property
    def observers(self) -> "Sequence[Observer]":
        return tuple(each for each in (self.metrics, self.trace, self.printed) if each is not None)

    @contextmanager
    def of_edge(self, edge: "Edge", online: "Transport", broker: connection.Broker, inputs: "Source") -> Iterator[None]:
        """Publishes telemetry, the announcement to Home Assistant, and pictures of the inputs while the edge runs."""
        telemetry_s, prefix = self.options.telemetry_s, self.options.home_assistant
        if self.printed is not None:
            self.printed.expected = edge.settings.count or inputs.length
        edge.describe("software", connection.software(broker))
        with ExitStack() as stack:
            if every_s := self.options.pictures_s:
                from edge_runtime.monitoring import shared_pictures

                edge.describe("pictures", {"every_s": every_s})
                sharer = shared_pictures.PictureSharer(inputs, online, edge.settings, every_s=every_s)
                stack.enter_context(sharer)
            if self.metrics is not None:
                self.metrics.attach(edge, online)
            if self.metrics is not None and telemetry_s:
                from edge_runtime.monitoring import telemetry

                stack.enter_context(telemetry.TelemetryPublisher(self.metrics, edge, online, every_s=telemetry_s))
            if prefix and telemetry_s:
                from edge_runtime.monitoring import home_assistant

                name = (edge.settings.deployment, edge.settings.device)
                terms = home_assistant.Terms(
                    *name,
                    expire_after_s=int(3 * telemetry_s),
                    adapts=edge.adaptation is not None,
                    shares_pictures=self.options.pictures_s is not None,
                )
                described = home_assistant.Described(lambda: edge.package, terms)
                second = connection.connected(broker, *name, edge.settings.boot, is_second=True, waits=False)
                stack.enter_context(home_assistant.Announcer(stack.enter_context(second), prefix, *name, described))
            yield


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `monitoring_options`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any,
        metrics: str | None,
        telemetry: float | None,
        trace: Path | None,
        trace_limit: int,
        home_assistant: str | None,
        share_pictures: float | None,
        prints: bool | None,
        **others: Any,
    ) -> Any:
        if home_assistant and telemetry is None:  # Home Assistant gets rate and latency out of the telemetry
            telemetry = _TELEMETRY_S
        made = MonitoringOptions(metrics, telemetry, trace, trace_limit, home_assistant, share_pictures, prints)
        return function(*args, monitoring_options=made, **others)

    file = click.Path(path_type=Path, dir_okay=False, writable=True)
    for option in (
        click.option(
            "--share-pictures",
            metavar="[TIME]",
            type=units.time(least="200ms"),
            is_flag=False,
            flag_value="1s",
            help="Publish the picture that was captured last, at most this often: `tflsplit watch --serve`, Home "
            "Assistant and other consumers of the deployment see it. Default: never; without TIME 1s.",
        ),
        click.option(
            "--home-assistant",
            metavar="[PREFIX]",
            is_flag=False,
            flag_value="homeassistant",
            help="Announce this device to Home Assistant by MQTT discovery. Default PREFIX: homeassistant.",
        ),
        click.option(
            "--trace-limit",
            type=units.size(least="1M"),
            default="100M",
            show_default=True,
            help="Most bytes that the trace may take on disk. FILE.1 is its older half.",
        ),
        click.option(
            "--trace",
            type=file,
            metavar="FILE",
            help="Write a line of JSON for each answered frame, with the time of each step. `tflsplit trace` reads it.",
        ),
        click.option(
            "--telemetry",
            type=units.time(least="1s"),
            help="Publish the metrics on the device's telemetry topic at this interval. Default: 10s with "
            "--home-assistant, else never.",
        ),
    ):
        command = option(command)
    return options_metrics.option(printing.option(command))
