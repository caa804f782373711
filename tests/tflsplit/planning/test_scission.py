"""The planner on measurements that others published, against the answers that they published."""

import itertools

import pytest
import scission

from tflsplit.chains import partitioner

# The example of Scission's README: VGG19 with the device used, layer 10 at the edge and layer 16 in the cloud.
PUBLISHED = [
    (9.0106, 2.4087, "0-6 raspi4, 7-11 vm2Core, 12-25 6700k(GPU)"),
    (9.0594, 2.4087, "0-6 raspi4, 7-11 2500, 12-25 6700k(GPU)"),
    (9.0721, 2.4087, "0-6 raspi4, 7-11 vm2Core, 12-25 6700k(NoGPU)"),
    (9.1209, 2.4087, "0-6 raspi4, 7-11 2500, 12-25 6700k(NoGPU)"),
    (9.1511, 3.2115, "0-6 raspi4, 7-12 vm2Core, 13-25 6700k(GPU)"),
]


@pytest.fixture
def traces(shared_data):
    return scission.Traces(shared_data / "scission_traces.json")


def told(chain, made):
    begins = [*(int(place) for place in chain.places[:-1]), 26]
    names = [
        f"{begins[piece.start]}-{begins[piece.stop] - 1} {chain.stages[piece.stage].name}" for piece in made.pieces
    ]
    sent = sum(chain.wire_bytes[place] for place in made.cuts)
    return round(made.latency_s, 4), round(sent / 1e6, 4), ", ".join(names)


def test_vgg19_and_its_four_runners_up_are_the_published_ones(traces):
    found = []
    for edge, cloud in itertools.product(traces.platforms("edge"), traces.platforms("cloud")):
        chain = traces.chain("vgg19", ("raspi4", edge, cloud), "network_stats")
        terms = partitioner.Terms(uses_all=True, pins={scission.step_of(chain, 10): 1, scission.step_of(chain, 16): 2})
        found += [told(chain, made) for made in partitioner.fastest(chain, count=5, terms=terms)]

    assert sorted(found)[:5] == PUBLISHED


def test_without_those_terms_the_device_does_nearly_everything(traces):
    chain = traces.chain("vgg19", ("raspi4", "vm2Core", "6700k(GPU)"), "network_stats")
    (found,) = partitioner.fastest(chain, terms=partitioner.Terms(uses_all=True))

    assert told(chain, found) == (2.86, 0.033, "0-23 raspi4, 24-24 vm2Core, 25-25 6700k(GPU)")
