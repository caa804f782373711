"""The operator's side of an update by itself; with a device it is tried in `tests/edge_runtime/updates`."""

from broker.rollout.devices import Device


def test_a_model_without_the_devices_layer_is_cut_at_the_same_id_and_says_so(tiny_package, caplog):
    cut = tiny_package.cuts[1]
    assert Device("cam1", cut.id, None, 0).cut_in(tiny_package).id == cut.id
    assert not caplog.records

    assert Device("cam1", cut.id, "a layer of another model", 0).cut_in(tiny_package).id == cut.id
    assert f"device=cam1 cut={cut.id}" in caplog.text
