"""More frames than the clouds can do: `latest` stays fresh and counts what it leaves out, `all` waits on the disk."""

import pytest

pytestmark = pytest.mark.chaos

WHOLE = (pytest.mark.sweep, pytest.mark.timeout(900))
TAIL_S = 0.01
OFFERED = 4 / TAIL_S  # frames a second, of which a quarter can be done
GROWTH_BYTES = 32 << 20


@pytest.mark.parametrize("count", [1200, pytest.param(20_000, marks=WHOLE)])
def test_latest_under_four_times_the_load_stays_fresh_and_counts_each_frame_left_out(deploy, mosquitto, count):
    deployment = deploy(mosquitto("set_tcp_nodelay true").url)
    reader = deployment.reader()
    cloud = deployment.slow_cloud(TAIL_S)
    edge = deployment.edge("--delivery", "latest", "--rate", OFFERED, inputs=count)
    reader.wait_for_results(count // 20)
    held_bytes = [process.memory_bytes() for process in (edge, cloud)]
    reader.wait_for_results(count // 8)
    grown_bytes = [process.memory_bytes() for process in (edge, cloud)]
    summary = edge.done()
    deployment.check(reader, is_whole=False)
    ages_s = sorted((result.times.sent_ms - result.times.captured_ms) / 1000 for result in reader.results)

    assert summary["results"] + sum(summary["dropped"].values()) == count
    assert summary["unanswered"] == 0
    assert summary["dropped"]["replaced"] > count / 4
    assert (
        ages_s[len(ages_s) * 99 // 100] < 4.0
    )  # a window of 8 takes 80 ms on an idle machine; waiting for all would take 15 s
    assert all(after - first < GROWTH_BYTES for first, after in zip(held_bytes, grown_bytes, strict=True))


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=WHOLE)])
def test_all_under_four_times_the_load_is_held_back_by_its_spool_and_loses_nothing(deploy, mosquitto, count):
    most_bytes = 10_000
    deployment = deploy(mosquitto().url)
    reader = deployment.reader()
    cloud = deployment.slow_cloud(TAIL_S)
    spool = ("--spool", deployment.spool, "--spool-bytes", most_bytes)
    edge = deployment.edge(*spool, "--rate", OFFERED, "--count", count)
    edge.wait_to_say("spool full")
    reader.wait_for_results(count // 4)
    held_bytes = [process.memory_bytes() for process in (edge, cloud)]
    file_bytes = [sum(file.stat().st_size for file in deployment.spool.iterdir())]
    reader.wait_for_results(count * 3 // 4)
    grown_bytes = [process.memory_bytes() for process in (edge, cloud)]
    file_bytes.append(sum(file.stat().st_size for file in deployment.spool.iterdir()))
    summary = edge.done()
    reader.wait_for_results(count)
    deployment.check(reader)

    assert (summary["frames"], summary["results"], summary["unanswered"]) == (count, count, 0)
    assert summary["dropped"] == {}
    assert all(after - first < GROWTH_BYTES for first, after in zip(held_bytes, grown_bytes, strict=True))
    assert max(file_bytes) < 16 << 20  # the log beside the rows is written back at 4 MB
