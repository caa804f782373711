"""`tflsplit run-chain`, with its processes."""

import json

import pytest
import shared_models


def test_every_result_is_compared_with_the_whole_models(run, brokers, tmp_path):
    brokers.start()  # skips where none is installed
    shared = shared_models.write(tmp_path, 2)
    done = run("run-chain", shared.path, "--frames", 12, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["results"], found["wrong"], found["in_order"], found["paced"]) == (12, 0, True, True)
    assert set(found["busy_ms"]) == {"m1", "m2"}
    assert found["predicted"]["latency_ms"] > 0


@pytest.mark.parametrize("over", [pytest.param("mqtt", marks=pytest.mark.sweep), "box"])
def test_workers_that_are_killed_lose_nothing(run, brokers, tmp_path, over):
    if over == "box":
        pytest.importorskip("zenoh")
    else:
        brokers.start()  # skips where none is installed
    shared = shared_models.write(tmp_path, 2)
    done = run("run-chain", shared.path, "--frames", 12, "--kill", "--over", over, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["results"] == found["frames"] >= 12
    assert (found["wrong"], found["in_order"], found["killed"]) == (0, True, 2)
    assert found["placements"] >= 2
