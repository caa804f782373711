"""What a start loads: counted, since it is what a start costs on a small machine, whose times nobody can hold here."""

import os
import pathlib
import re

import pytest

# A line of `python -X importtime` about a module of ours.
LOADED = re.compile(r"^import time:.*\| +((?:tflsplit|edge_runtime|broker|converters)(?:\.\w+)*)$")
# Of an edge on a board of 512 MB, with all that its process maps; docs/service.md states it.
BUDGET_MIB = 128


def loaded(lines):
    return {found[1] for line in lines if (found := LOADED.match(line.rstrip()))}


def until(process, words):
    """What it says on stderr up to these."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError("".join(lines))


def within(modules, *wings):
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{wing}.") for wing in wings))


@pytest.fixture
def observed(start):
    """Starts a command that says on stderr what it imports."""
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    return lambda *words: start(*words, env=environment)


@pytest.fixture
def edge(observed, brokers, tiny_package, source):
    """An edge at the end of its first frame, which nobody answers."""

    def ended(*options):
        common = ("--broker", brokers.start(), "--deployment", "d", "--device", "n", "--source", source)
        done = observed("edge", tiny_package.path, *common, "--count", "1", "--drain", "0.1", *options).done()
        assert done.code == 1, done
        assert "1 of 1 frame had no answer" in done.err
        return loaded(done.err.splitlines())

    return ended


def test_an_edge_on_the_cpu_starts_without_what_was_not_asked_for(edge):
    modules = edge()

    unused = ("edge_runtime.adapting", "edge_runtime.updates", "edge_runtime.monitoring", "edge_runtime.storage")
    assert not within(modules, *unused, "edge_runtime.peers", "edge_runtime.profiling", "edge_runtime.machine")
    assert not within(modules, "tflsplit.planning", "tflsplit.switching.controller", "tflsplit.chains")
    assert not within(modules, "tflsplit.cards", "tflsplit.graph.metadata", "tflsplit.configuration")
    assert not within(modules, "converters", "broker.cloud", "broker.zenoh", "broker.amqp", "broker.messages.chunks")
    accelerators = within(modules, "edge_runtime.accelerators")
    assert [name.rpartition(".")[2] for name in accelerators[1:]] == ["choice", "cpu", "protocol", "service"]
    assert not within(modules, "edge_runtime.sources.live", "edge_runtime.sources.video")
    assert len(modules) <= 182


def test_an_edge_loads_what_it_was_asked_for(edge, tmp_path):
    assert within(edge("--spool", tmp_path / "spool"), "edge_runtime.storage")


def test_a_cloud_starts_without_the_edge(observed, brokers, tiny_package):
    cloud = observed("cloud", tiny_package.path, "--broker", brokers.start(), "--deployment", "d")
    modules = loaded(until(cloud, "connection state=online"))

    unwanted = ("edge_runtime", "converters", "tflsplit.chains", "tflsplit.placement", "broker.cloud.workers.pool")
    assert not within(modules, *unwanted)
    assert len(modules) <= 168


def test_help_imports_no_command(observed):
    done = observed("--help").done()

    assert done.code == 0
    assert not within(loaded(done.err.splitlines()), "tflsplit.cli.commands", "tflsplit.graph", "broker")


def test_an_edge_stays_within_the_memory_of_a_small_board(start, brokers, tiny_package, source):
    edge = start(
        *("edge", tiny_package.path, "--broker", brokers.start(), "--deployment", "d", "--device", "n"),
        *("--source", source, "--count", "1000", "--window", "50"),
    )
    until(edge, "no cloud is present")
    status = pathlib.Path(f"/proc/{edge.pid}/status").read_text()

    assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024 <= BUDGET_MIB
