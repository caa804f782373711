import dataclasses
import itertools
import re
from xml.etree import ElementTree

import int8_networks
import pytest
import tiny_models

from tflsplit.placement import distribution, machines, timeline
from tflsplit.placement.rewriting.network import Network

pytest.importorskip("matplotlib")
from tflsplit.report.sharing import charts, page


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return tiny_models.write_package(folder / "net.tflsplit", int8_networks.everything(), labels=())


@pytest.fixture(scope="module")
def found(package):
    cluster = machines.even(3, 1e7, 1e9)
    bounded = tuple(dataclasses.replace(each, memory_bytes=1e6) for each in cluster.machines)
    return distribution.distribute(Network(package.graph), dataclasses.replace(cluster, machines=bounded))


@pytest.fixture(scope="module")
def text(found, package):
    return page.render(found, package)


def test_the_page_needs_nothing_from_the_network_and_fits_a_phone(text):
    assert set(re.findall(r'(?:src|href|xlink:href)\s*=\s*["\']([^"\'#][^"\']*)', text)) == set()
    assert "<script" not in text
    assert "<meta name='viewport' content='width=device-width, initial-scale=1'>" in text


def test_every_drawing_is_sound_and_says_what_it_shows(text, found):
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    said = [ElementTree.fromstring(each.encode()).get("aria-label") for each in drawings]
    assert len(said) == 5
    assert all(said)
    assert any(f"{found.costs.bytes_exchanged:,} bytes are exchanged" in each for each in said)


def test_it_answers_first_and_names_machines_schemes_and_every_stage(text, found):
    assert text.index(found.reason) < text.index("<svg")
    for name in ("m1", "m2", "m3", "rows", "output channels", "one machine", "layer wise"):
        assert f">{name}<" in text
    assert "<tr class='choice'><td>this placement</td>" in text
    rows = re.findall(r"<tr class=''><td class=number>(\d+)</td>", text)
    assert list(map(int, rows)) == list(range(len(found.schedule.steps)))


def test_bytes_from_each_to_each_add_up(text, found):
    table = text[text.index("bytes from, to") :]
    totals = re.findall(r"<td class=number>([\d,]+)</td></tr>", table[: table.index("</table>")])
    assert sum(int(each.replace(",", "")) for each in totals) == found.costs.bytes_exchanged


def test_the_time_line_is_as_long_as_the_latency_and_has_all_computing(found):
    spans = timeline.spans(found.schedule, found.cluster)
    assert max(span.stop_s for span in spans) == pytest.approx(found.costs.latency_s)
    pieces = sum(bool(step.run_by(each)) for step in found.schedule.steps for each in range(3))
    assert sum(not span.is_exchange for span in spans) == pieces
    for each in range(3):
        own = [span for span in spans if span.machine == each]
        assert all(one.stop_s <= other.start_s + 1e-12 for one, other in itertools.pairwise(own))


def test_how_a_stage_is_shared_is_told(found, package):
    told = {charts.manner(step, package.graph) for step in found.schedule.steps}
    assert told <= {"rows", "channels", "grid", "sums", "whole"}
    assert len(told) > 1
