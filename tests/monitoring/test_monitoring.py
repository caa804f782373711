"""The dashboard and the alert rules: what they ask for exists, and Prometheus answers it."""

import itertools
import json
import pathlib
import re
import shutil
import subprocess

import monitored
import pytest
import yaml

from broker.local import server
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Kind

DASHBOARD = json.loads((monitored.MONITORING / "grafana-dashboard.json").read_text("utf-8"))
ALERTS = yaml.safe_load((monitored.MONITORING / "alerts.yaml").read_text("utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
RULE_TESTS = pathlib.Path(__file__).with_name("alerts.test.yaml")
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in monitored.panels() for target in panel["targets"]
]

# Those that Prometheus and prometheus-client give.
FOREIGN = {"up": set(), "process_resident_memory_bytes": set()}
SCRAPED = {"instance", "job"}

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is absent")


def exposed():
    """Every name that a scrape shows, with its labels."""
    names = {name: set(labels) for name, labels in FOREIGN.items()}
    for name, metric in catalogue.every_name().items():
        if metric.kind is Kind.HISTOGRAM:
            names |= {f"{name}{ending}": {*metric.labels} for ending in ("_sum", "_count")}
            names[f"{name}_bucket"] = {*metric.labels, "le"}
        else:
            names[name] = {*metric.labels}
    return names


def asked(expression):
    """The metrics in an expression, each with the labels it is matched by, and labels that are grouped by."""
    matched = re.findall(r"\b((?:tflsplit|process)_\w+|up)\b(?:\{([^}]*)\})?", expression)
    metrics = [(name, set(re.findall(r"(\w+)\s*[=!]", matchers))) for name, matchers in matched]
    grouped = {
        label for group in re.findall(r"(?:by|without)\s*\(([^)]*)\)", expression) for label in group.split(", ")
    }
    return metrics, grouped


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_exposed_with_these_labels(expression):
    names = exposed()
    metrics, grouped = asked(expression)

    assert metrics
    for name, labels in metrics:
        assert name in names
        assert labels <= names[name] | SCRAPED
    assert grouped <= set().union(*(names[name] for name, _ in metrics)) | SCRAPED


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_counters_are_asked_for_their_growth_and_gauges_for_their_value(expression):
    for name, matchers in re.findall(r"\b(tflsplit_\w+)(\{[^}]*\})?", expression):
        grows = name.endswith(("_total", "_bucket", "_sum", "_count"))
        growth = re.search(rf"(rate|increase)\({name}{re.escape(matchers)}\[", expression)

        assert bool(growth) == grows, name


def test_panels_lie_beside_each_other_and_say_what_they_show():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )

        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells
    assert all(panel["description"] and panel["fieldConfig"]["defaults"]["unit"] for panel in monitored.panels())
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_legends_name_labels_that_are_there():
    names = exposed()
    for panel in monitored.panels():
        for target in panel["targets"]:
            metrics, _ = asked(target["expr"])
            labels = set().union(*(names[name] for name, _ in metrics)) | SCRAPED
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels


def test_alerts_say_how_bad_it_is_and_what_to_do():
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


def test_every_alert_has_a_test_in_which_it_fires():
    tested = {
        case["alertname"]
        for test in yaml.safe_load(RULE_TESTS.read_text("utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }

    assert tested == {rule["alert"] for rule in RULES}


@needs_promtool
def test_alerts_fire_on_what_they_are_for(tmp_path):
    rules = monitored.MONITORING / "alerts.yaml"
    (tmp_path / "tests.yaml").write_text(RULE_TESTS.read_text("utf-8").replace("[RULES]", f"[{rules}]"))
    ran = subprocess.run(
        ["promtool", "test", "rules", tmp_path / "tests.yaml"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_the_example_configuration_is_valid():
    ran = subprocess.run(
        ["promtool", "check", "config", monitored.MONITORING / "prometheus.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
@pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed")
def test_a_real_prometheus_fills_every_panel_from_a_real_edge_and_cloud(tmp_path):
    """Temperatures are there where a machine tells them, reasons for drops and refusals once there are some, and those
    of moves where a cut moves."""
    moving = (metric.name for metric in catalogue.ADAPTING)
    may_be_empty = re.compile("|".join(("temperature", "edge_dropped", "cloud_refused", *moving)))
    with monitored.Monitored(tmp_path) as running:
        for panel in monitored.panels():
            for expression, _ in monitored.queries(panel):
                if may_be_empty.search(expression):
                    running.query(expression)  # it is understood
                else:
                    running.wait_for(lambda expression=expression: running.query(expression))

        def states():
            return [rule["health"] for group in running.ask("rules")["groups"] for rule in group["rules"]]

        running.wait_for(lambda: states() == ["ok"] * len(RULES))
        firing = {
            alert["labels"]["alertname"] for alert in running.ask("alerts")["alerts"] if alert["state"] == "firing"
        }
        assert firing == set()


def test_the_documentation_has_every_metric_as_it_is():
    page = (monitored.MONITORING.parents[1] / "docs" / "monitoring.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(tflsplit_\w+)` \| (.*) \|$", page, re.MULTILINE))
    documented = {name: metric for name, metric in catalogue.every_name().items() if name in rows}
    of_devices = {f"{catalogue.DEVICE_PREFIX}{metric.name}" for metric in catalogue.IN_TELEMETRY}

    assert set(rows) == set(catalogue.every_name()) - of_devices
    for name, metric in documented.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        assert rows[name] == f"{metric.kind.value} | {labels} | {metric.help}"
