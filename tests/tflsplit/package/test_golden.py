"""Golden samples say what a head makes of a few inputs, and are read only as the manifest describes them."""

import dataclasses
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from tflsplit import bundle, errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import keeping
from tflsplit.package import golden, manifest, reading, revealing, verify, writing
from tflsplit.package.manifest import Role

INPUTS = verify.random_samples(tiny_models.describe(tiny_models.residual_model()).inputs, 3, seed=5)


@pytest.fixture
def whole(residual_model, tmp_path):
    """A package with golden samples of its own, as a conversion makes it."""
    described = tiny_models.describe(residual_model)
    kept = golden.of_model(residual_model, described.cuts[-1], INPUTS, keeping.here())
    return writing.write(tmp_path / "w.tflsplit", described, residual_model, described.cuts[1:-1], golden=kept)


def rewritten(made, data):
    """The package with other golden samples, listed and sealed as if they belonged there."""
    (made.path / "golden.npz").write_bytes(data)
    file = manifest.File(hashlib.sha256(data).hexdigest(), len(data))
    described = dataclasses.replace(made.manifest, files=dict(made.manifest.files) | {"golden.npz": file})
    (made.path / "manifest.json").write_text(manifest.render(described))
    return reading.open_package(made.path)


def npz(compression=zipfile.ZIP_STORED, **arrays):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name.replace('__', '/')}.npy", data)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_a_package_holds_what_the_model_makes_of_its_own_samples(whole):
    found = golden.read(whole, whole.cut("output"))

    assert found.made_on == keeping.here()
    with Interpreter(whole.model_bytes()) as model:
        assert found.samples[0][0][0].tolist() == INPUTS[0][0].tolist()
        for given, expected in found.samples:
            assert [array.tolist() for array in expected] == [array.tolist() for array in model.run(*given)]


def test_a_bundle_holds_the_boundary_of_the_same_samples(whole, tmp_path):
    cut = whole.cut("op001")
    edge = bundle.write(tmp_path / "e.tflsplit", whole, Role.EDGE, (cut,))
    found = golden.read(reading.open_package(edge.path), cut)

    kept = golden.read(whole, whole.cut("output"))
    assert [sample[0].tolist() for sample, _ in found.samples] == [sample[0].tolist() for sample, _ in kept.samples]
    assert [len(each) for each in (found.others, found.alone, found.operators)] == [2, 3, 2]
    with Interpreter(whole.head_bytes(cut)) as head:
        for given, expected in found.samples:
            assert [array.tolist() for array in expected] == [array.tolist() for array in head.run(*given)]


def test_a_package_without_samples_gets_bundles_with_chosen_ones(tiny_package, tmp_path):
    cut = tiny_package.cut("op000")
    edge = bundle.write(tmp_path / "e.tflsplit", tiny_package, Role.EDGE, (cut,))

    assert golden.read(tiny_package, cut) is None
    assert len(golden.read(edge, cut).samples) == golden.MOST_SAMPLES
    assert golden.read(edge, edge.cut("op001")) is None


def test_large_inputs_make_one_sample(builder, tmp_path):
    x = builder.tensor("x", (1, 1_000_000))
    model = builder.build((x,), (builder.add(x, x, "y", (1, 1_000_000)),))
    described = tiny_models.describe(model)
    made = writing.write(
        tmp_path / "l.tflsplit",
        described,
        model,
        (),
        golden=golden.of_model(model, described.cuts[-1], verify.random_samples(described.inputs, 4), keeping.here()),
    )

    assert len(golden.read(made, made.cut("output")).samples) == 1


GOOD = np.zeros((1, 1, 4), np.int8)
MADE_ON = npy(np.frombuffer(b"x86_64 ai-edge-litert 2.3.0", np.uint8))


@pytest.mark.parametrize(
    "data",
    [
        b"no archive",
        npz(input__0=npy(GOOD), output__0=npy(GOOD)),
        npz(input__0=npy(GOOD), output__0=npy(GOOD), made_on=npy(np.frombuffer(b'{"id": "00000000"}', np.uint8))),
        npz(output__0=npy(GOOD), made_on=MADE_ON),
        npz(input__0=npy(GOOD.astype(np.int16)), output__0=npy(GOOD), made_on=MADE_ON),
        npz(input__0=npy(GOOD[:, :, :2]), output__0=npy(GOOD), made_on=MADE_ON),
        npz(input__0=npy(np.zeros((2, 1, 4), np.int8)), output__0=npy(GOOD), made_on=MADE_ON),
        npz(input__0=npy(np.array([[[{}, {}, {}, {}]]])), output__0=npy(GOOD), made_on=MADE_ON),
        npz(input__0=npy(GOOD), output__0=npy(GOOD).replace(b"(1, 1, 4)", b"(9, 9, 9)"), made_on=MADE_ON),
        npz(input__0=npy(GOOD), output__0=npy(GOOD)[:-1], made_on=MADE_ON),
        npz(input__0=npy(GOOD), output__0=b"", made_on=MADE_ON),
        npz(zipfile.ZIP_DEFLATED, input__0=npy(GOOD), output__0=npy(GOOD), made_on=MADE_ON),
    ],
    ids=[
        "no archive",
        "no machine",
        "half a machine",
        "no inputs",
        "another type",
        "another shape",
        "unequal counts",
        "pickled objects",
        "a shape it does not hold",
        "short",
        "empty",
        "compressed",
    ],
)
def test_anything_else_is_refused(whole, data):
    changed = rewritten(whole, data)

    with pytest.raises(errors.PackageError, match=r"golden\.npz cannot be read"):
        golden.read(changed, changed.cut("output"))


def test_golden_samples_are_part_of_the_sealed_manifest(whole):
    listed = json.loads((whole.path / "manifest.json").read_text())["files"]["golden.npz"]
    data = (whole.path / "golden.npz").read_bytes()

    assert listed == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (whole.path / "golden.npz").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(errors.PackageError, match=r"golden\.npz was changed"):
        reading.open_package(whole.path)


def test_ids_are_made_within_their_table(builder):
    ids = builder.tensor("ids", (1, 6), scale=None, kind="INT32")
    table, y = builder.tensor("table", (9, 4), data=np.ones((9, 4), np.int8)), builder.tensor("y", (1, 6, 4))
    builder.operator("GATHER", (table, ids), (y,), schema.GatherOptionsT(), options_type="GatherOptions", version=2)
    samples = revealing.of_model(builder.build((ids,), (y,)), (), 8)

    assert {array.dtype.name for (array,) in samples} == {"int32"}
    assert min(array.min() for (array,) in samples) == 0
    assert 2 < max(array.max() for (array,) in samples) < 9
