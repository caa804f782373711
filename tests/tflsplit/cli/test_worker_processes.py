"""Workers as the processes they are in service, killed one after the other while they share a model."""

import json
import signal

import numpy as np
import ports
import pytest
import scraped
import shared_models
import waiting

from tflsplit.graph.interpreter import Interpreter

DIFFERENT = 40  # inputs; they repeat


@pytest.fixture
def cluster(start, brokers, watch, tmp_path):
    """Starts the workers of a model shared over so many machines; `cluster(count, frames)` returns what it knows."""

    class Cluster:
        def __init__(self, count, frames, *, metrics=False, **options):
            self.shared = shared_models.write(tmp_path, count, **options)
            self.columns = shared_models.inputs(self.shared.package, DIFFERENT)
            np.savez(tmp_path / "inputs.npz", *self.columns)
            self.frames, self.url = frames, brokers.start()
            self.seen = watch(self.url)
            self.first, *self.others = self.shared.plan.machines
            self.ports = {name: ports.free_port() for name in self.shared.plan.machines} if metrics else {}
            self.workers = {name: self.begin(name) for name in self.others}
            more = ("--source", tmp_path / "inputs.npz", "--count", frames, "--raw-outputs", "--no-replan")
            self.workers[self.first] = self.begin(self.first, *more)

        def begin(self, name, *more):
            common = ("--broker", self.url, "--deployment", "d", "--name", name, "--once", "--json")
            at = ("--metrics", self.ports[name]) if name in self.ports else ()
            return start("worker", self.shared.path, *common, *at, *more)

        def answered(self):
            return len({each.sequence for each in self.seen.results})

        def check(self):
            """No result is missing, wrong, or before that of an earlier input."""
            once = list(dict.fromkeys(each.sequence for each in self.seen.results))
            assert once == list(range(self.frames))
            with Interpreter(self.shared.package.model_bytes()) as whole:
                wanted = [whole.run(*(column[row : row + 1] for column in self.columns)) for row in range(DIFFERENT)]
            for result in self.seen.results:
                assert result.is_exact
                for output, array in zip(result.outputs, wanted[result.sequence % DIFFERENT], strict=True):
                    assert output.data == array.tobytes()

    return Cluster


def test_workers_answer_as_the_whole_model_and_end_with_their_source(cluster):
    made = cluster(2, 60)
    done = {name: worker.done().json() for name, worker in made.workers.items()}
    made.seen.wait_for_results(60)
    made.check()
    assert done[made.first]["answered"] == 60
    assert [each["runs"] for each in done[made.others[0]]["steps"]] == [60] * len(done[made.others[0]]["steps"])


@pytest.mark.sweep
@pytest.mark.chaos
@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_worker_is_killed_once_and_no_result_is_lost_wrong_or_out_of_order(cluster, count):
    frames = 1000
    made = cluster(count, frames)
    for number, name in enumerate(made.others, 1):
        made.seen.wait_for(lambda number=number: made.answered() >= number * frames // (count + 1))
        made.workers[name].send_signal(signal.SIGKILL)
        made.workers[name].wait()
        made.workers[name] = made.begin(name)
    done = made.workers[made.first].done().json()
    made.seen.wait_for_results(frames)
    made.check()
    assert (done["answered"], done["unanswered"]) == (frames, 0)
    assert len(done["epochs"]) >= count
    for name in made.others:
        assert made.workers[name].done().code == 0


def test_workers_are_scraped_while_one_is_killed_and_comes_back(cluster):
    made = cluster(2, 10**6, metrics=True)
    first, other, at = made.first, made.others[0], made.ports
    made.seen.wait_for(lambda: made.answered() >= 20)
    waiting.wait_for(lambda: scraped.scrape(at[first]).get(("tflsplit_worker_answered_inputs_total",), 0) >= 20)
    both = {name: scraped.scrape(at[name]) for name in (first, other)}
    assert both[other]["tflsplit_worker_frames_total",] > 0
    assert both[other]["tflsplit_worker_step_seconds_count",] > 0
    assert both[other]["process_resident_memory_bytes",] > 0
    assert both[first]["tflsplit_worker_machine_up", ("machine", other)] == 1
    assert scraped.get(at[other], "/health/ready")[0] == 200

    made.workers[other].kill()
    made.workers[other].wait()
    lost = ("tflsplit_worker_placement_changes_total", ("reason", "lost"))
    waiting.wait_for(lambda: scraped.scrape(at[first]).get(lost, 0) == 1)
    waiting.wait_for(lambda: scraped.scrape(at[first]).get(("tflsplit_worker_taken_over_pieces_total",), 0) > 0)
    alone = scraped.scrape(at[first])
    assert alone["tflsplit_worker_machine_up", ("machine", other)] == 0
    assert list(json.loads(scraped.get(at[first], "/health")[1])["away"]) == [other]

    made.workers[other] = made.begin(other)
    waiting.wait_for(lambda: scraped.scrape(at[first]).get(("tflsplit_worker_machine_up", ("machine", other)), 0) == 1)
    waiting.wait_for(lambda: scraped.scrape(at[other]).get(("tflsplit_worker_frames_total",), 0) > 0)
    made.workers[first].terminate()
    done = made.workers[first].done().json()
    assert done["answered"] == done["inputs"] > alone["tflsplit_worker_answered_inputs_total",]


def test_a_source_that_is_killed_begins_a_new_run_with_its_next_start(cluster):
    made = cluster(2, 10**6)
    made.seen.wait_for(lambda: made.answered() >= 20)
    made.workers[made.first].send_signal(signal.SIGKILL)
    made.workers[made.first].wait()
    made.seen.wait_until_quiet()
    made.seen.results.clear()
    made.frames = 30
    again = made.begin(
        made.first, "--source", made.shared.path.parent / "inputs.npz", "--count", 30, "--raw-outputs", "--no-replan"
    )
    assert again.done().json()["answered"] == 30
    made.seen.wait_for_results(30)
    made.check()
    assert made.workers[made.others[0]].done().code == 0
