"""Edges of several kernel classes with one cloud on a real Mosquitto: who is told what, and who is refused.

The classes are invented: they are kept as if these machines had measured them at an earlier start.
"""

import json
import os

import kernel_classes
import pytest
from kernel_classes import HERE

UNLIKE = kernel_classes.unlike("ADD/int8")


@pytest.fixture
def url(brokers):
    return brokers.start()


@pytest.fixture
def kept(tmp_path):
    """The environment of a machine that measured this class before."""

    def environment(name, kernel_class):
        return {**os.environ, "XDG_CACHE_HOME": str(kernel_classes.keep(tmp_path / name, kernel_class))}

    return environment


@pytest.fixture
def cloud(url, start, watch, tiny_package, kept):
    serving = start("cloud", tiny_package.path, "--broker", url, "--deployment", "d", "--json", env=kept("cloud", HERE))
    watching = watch(url)
    watching.wait_for_cloud()
    serving.watching = watching
    return serving


@pytest.fixture
def edge(url, run, tiny_package, source):
    common = ("--broker", url, "--deployment", "d", "--source", source, "--count", 5)
    return lambda device, env, *options: run(
        "edge", tiny_package.path, *common, "--device", device, "--cut", "op001", *options, env=env
    )


def test_results_summary_and_log_tell_the_devices_apart(cloud, edge, kept):
    for device, kernel_class, options in (
        ("alike", kernel_classes.unlike("SOFTMAX/int8"), ("--exact", "require")),
        ("unlike", UNLIKE, ()),
        ("indifferent", UNLIKE, ("--exact", "any")),
    ):
        done = edge(device, kept(device, kernel_class), *options)
        assert done.code == 0
        assert ("results may differ" in done.err) == (device == "unlike")
        assert ("exact_cuts=input" in done.err) == (device == "unlike")
    cloud.watching.wait_for_results(15)
    cloud.terminate()
    done = cloud.done()

    told = {device: {one.is_exact for one in cloud.watching.results if one.device == device} for device in DEVICES}
    assert told == {"alike": {True}, "unlike": {False}, "indifferent": {False}}
    assert done.json()["exactness"] == {"exact": 5, "inexact": 10, "unknown": 0}
    assert done.err.count("results are exact device=alike cut=op001") == 1
    assert done.err.count("results may differ device=unlike cut=op001") == 1
    assert cloud.watching.births["unlike"]["kernel_class"] == UNLIKE.as_json()


DEVICES = ("alike", "unlike", "indifferent")


def test_what_is_required_and_not_there_is_refused_in_one_line(cloud, edge, kept):
    refusal = edge("n", kept("n", UNLIKE), "--exact", "require").refusal()

    assert "exact is required, and at op001 ADD/int8 may differ by a step or more" in refusal
    assert "exact would be input" in refusal
    assert cloud.watching.results == []


def test_a_class_that_changed_between_two_starts_is_said_and_measured_again(cloud, edge, kept, tmp_path):
    environment = kept("n", UNLIKE)
    (file,) = (tmp_path / "n").rglob("kernel_class.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"key": "of another runtime"}))
    first, second = (edge("n", environment) for _ in range(2))

    said = [line for line in first.err.splitlines() if "kernel class changed" in line]
    assert (first.code, len(said)) == (0, 1)
    assert f"from {UNLIKE} to " in said[0]
    assert "kernel class changed" not in second.err
