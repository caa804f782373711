"""A package's manifest: what model it is, how it was quantised, every cut, and the digest of every file.

This module owns the format: it writes it, reads it, and refuses a schema it does not know. The text is canonical
(`parse(render(m)) == m` and `render(parse(t)) == t`) and ends with a seal over itself, so a changed byte anywhere in it
is found.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from tflsplit import arguments, errors, strict_json
from tflsplit.decoding.forms import Decoding
from tflsplit.fidelity import Fidelity, MeasuredOn
from tflsplit.graph import places
from tflsplit.graph.cuts import Cut, cut_id
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.values.classes import dataclass, field, replace

SCHEMA = 4
MOST_BYTES = 64 << 20  # some 400 a cut, so room for a hundred thousand
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PLAIN = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/){0,3}[A-Za-z0-9_][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """The model file that was converted. `loader` says what opened it, as "keras 3.15.1"."""

    file: str
    format: str
    loader: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """Where the quantisation ranges come from. `kind`: "data", "synthetic", or "model" (it came quantised)."""

    kind: str
    samples: int
    detail: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappedOperators:
    """One line of the compiler's table: how many operators of a kind there are, and its text on what became of them."""

    op: str
    count: int
    status: str


@dataclass(frozen=True, slots=True)
class Compilation:
    """What the Edge TPU compiler made of a cut's head. `status` is "compiled", "failed" or "not compiled"; without a
    compiled head, `reason` says why. Memory is in bytes, None where the compiler did not say; what is off-chip is
    streamed at every inference. `seconds` is the compiler's own time; `together` are the cuts it was compiled with, in
    the order in which they share the on-chip memory.
    """

    status: str
    reason: str | None = None
    compiler: str | None = None
    seconds: float | None = None
    tpu_operators: int | None = None
    cpu_operators: int | None = None
    subgraphs: int | None = None
    on_chip_used_bytes: int | None = None
    on_chip_remaining_bytes: int | None = None
    off_chip_bytes: int | None = None
    operators: tuple[MappedOperators, ...] = ()
    together: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        return _fields(self) | {"operators": [_fields(line) for line in self.operators]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Compilation":
        operators = tuple(MappedOperators(**line) for line in fields["operators"])
        return cls(**dict(fields) | {"operators": operators, "together": tuple(fields["together"])})


@dataclass(frozen=True, slots=True)
class FloatTails:
    """The tails of a package whose cloud computes in float32. All three are by cut id.

    `counterparts` are the tensors of model_float32.tflite that the cut's boundary stands for, one each; a cut whose
    boundary has none is in `problems` with the reason instead, and has no tail. `fidelity` is what int8 head and float
    tail make together, against float; it was measured for `input` and for the pairs that were written.
    """

    counterparts: Mapping[str, tuple[int, ...]]
    problems: Mapping[str, str] = field(default_factory=dict)
    fidelity: Mapping[str, tuple[Fidelity, ...]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "counterparts": {cut: list(tensors) for cut, tensors in self.counterparts.items()},
            "problems": dict(self.problems),
            "fidelity": {cut: [_fields(entry) for entry in measured] for cut, measured in self.fidelity.items()},
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "FloatTails":
        return cls(
            counterparts={cut: tuple(tensors) for cut, tensors in fields["counterparts"].items()},
            problems=dict(fields["problems"]),
            fidelity={
                cut: tuple(_fidelity(entry) for entry in measured) for cut, measured in fields["fidelity"].items()
            },
        )


class Role(str, Enum):
    """What a package on disk is: all of it, or what one side needs to run the cuts of a plan."""

    WHOLE = "whole"
    EDGE = "edge"
    MIDDLE = "middle"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class File:
    """One file of the package, by its path relative to it."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`fused` maps layers that end inside an operator to that operator's index; `aliases` maps layers that compute
    nothing of their own (dropout, flatten) to the layer whose output they share. `kinds` names the kind of each
    operator (`tflsplit.graph.kinds`), so that a device need not parse its head for them, and `meanings` says of each
    output what it is (`tflsplit.graph.meanings`); empty where that was not looked at. `decoding` is how outputs tell
    objects, shares or keypoints, None where they are plain. `is_stateful`: the frames of a
    device are a stream, and what operators keep lasts from one to the next; else it is reset before each frame.
    `rewrites` says what was changed for the target, exactly; `fidelity_cpu` what `--target cpu` would give, where this
    target costs accuracy. `compilations` is by cut id. Tails are int8 unless there are `float_tails`. `files` has one
    entry a file. A bundle's `role` says which machine it is for, and `absent` lists the files that only the whole
    package has: the digest is still the whole package's.
    """

    name: str
    target: str
    source: Source
    calibration: Calibration
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: int
    cuts: tuple[Cut, ...]
    codec: str = "none"
    preprocessing: Preprocessing | None = None
    labels: tuple[str, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    fidelity_cpu: tuple[Fidelity, ...] = ()
    rewrites: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    meanings: tuple[Meaning, ...] = ()
    decoding: Decoding | None = None
    compilations: Mapping[str, Compilation] = field(default_factory=dict)
    float_tails: FloatTails | None = None
    is_stateful: bool = False
    fused: Mapping[str, int] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    created_with: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    role: Role = Role.WHOLE
    absent: Mapping[str, File] = field(default_factory=dict)

    @property
    def results(self) -> tuple[TensorSpec, ...]:
        """What the tails put out: the model's outputs, as real values where the tails are float."""
        if self.float_tails is None:
            return self.outputs
        return tuple(
            replace(spec, dtype="float32", scale=0.0, zero_point=0) if spec.is_quantised else spec
            for spec in self.outputs
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what a frame must agree on: the model's bytes, its preprocessing, labels and float tails,
        how its outputs are decoded, and whether it is stateful.

        Which pairs were written, compiled or measured does not change it, so an edge bundle and the full package
        share one digest.
        """
        files = {**self.absent, **self.files}
        identity: dict[str, object] = {
            "schema": SCHEMA,
            "model": files["model.tflite"].sha256,
            "preprocessing": self.preprocessing.as_json() if self.preprocessing else None,
            "labels": list(self.labels),
        }
        if self.float_tails is not None:
            counterparts = {cut: list(tensors) for cut, tensors in self.float_tails.counterparts.items()}
            identity["float_tails"] = [files["model_float32.tflite"].sha256, counterparts]
        if self.decoding is not None:
            identity["decoding"] = self.decoding.as_json()
        if self.is_stateful:
            identity["stateful"] = True
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def render(manifest: Manifest) -> str:
    """The canonical text of a manifest."""
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "role": manifest.role.value,
        "digest": manifest.digest,
        "name": manifest.name,
        "target": manifest.target,
        "created_with": dict(manifest.created_with),
        "source": _fields(manifest.source),
        "calibration": _fields(manifest.calibration),
        "fidelity": [_fields(entry) for entry in manifest.fidelity],
        "fidelity_cpu": [_fields(entry) for entry in manifest.fidelity_cpu],
        "rewrites": list(manifest.rewrites),
        "preprocessing": manifest.preprocessing.as_json() if manifest.preprocessing else None,
        "labels": list(manifest.labels),
        "inputs": [spec.as_json() for spec in manifest.inputs],
        "outputs": [spec.as_json() for spec in manifest.outputs],
        "output_meanings": [meaning.value for meaning in manifest.meanings],
        **({"decoding": manifest.decoding.as_json()} if manifest.decoding else {}),
        "codec": manifest.codec,
        "operators": manifest.operators,
        "operator_kinds": list(manifest.kinds),
        "tensors": {str(index): spec.as_json() for index, spec in places.tensors(manifest.cuts).items()},
        "cuts": places.as_json(manifest.cuts),
        "compilations": {cut: entry.as_json() for cut, entry in manifest.compilations.items()},
        "float_tails": manifest.float_tails.as_json() if manifest.float_tails else None,
        **({"stateful": True} if manifest.is_stateful else {}),
        "fused_layers": dict(manifest.fused),
        "layer_aliases": dict(manifest.aliases),
        "files": {path: _fields(file) for path, file in manifest.files.items()},
        "absent": {path: _fields(file) for path, file in manifest.absent.items()},
    }
    # A changed digit is still valid JSON; only a digest of the whole text finds it.
    seal = hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
    return _text(fields | {"seal": seal})


def _text(fields: Mapping[str, object]) -> str:
    """A line for each entry, and for each entry of those that may have many, as cuts and files."""
    lines = []
    for key, value in fields.items():
        whole = json.dumps(value, ensure_ascii=False)
        if value and isinstance(value, list):
            inner = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in value)
            whole = f"[\n  {inner}\n ]"
        elif value and isinstance(value, dict):
            pairs = value.items()
            inner = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(one, ensure_ascii=False)}" for name, one in pairs)
            whole = f"{{\n  {inner}\n }}"
        lines.append(f" {json.dumps(key)}: {whole}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def stored(manifest: Manifest) -> bytes:
    """The text as a file holds it; PackageError for one that no reader would take."""
    crossings = sum(len(cut.tensors) for cut in manifest.cuts)
    if crossings > places.MOST_CROSSINGS:
        raise errors.PackageError(
            f"{manifest.name}: the model has {len(manifest.cuts):,} cuts with {crossings:,} tensors on their "
            f"boundaries; at most {places.MOST_CROSSINGS:,} are read again. Convert a part of it"
        )
    data = render(manifest).encode("utf-8")
    if len(data) > MOST_BYTES:
        raise errors.PackageError(
            f"{manifest.name}: the model has {len(manifest.cuts):,} cuts, which take {len(data):,} bytes to describe; "
            f"at most {MOST_BYTES:,} are read again. Convert a part of it"
        )
    return data


def parse(text: str, *, name: str) -> Manifest:
    """Read a manifest's text; `name` is what error messages call it.

    Raises PackageError for a newer schema, a missing or ill-typed field, and for text that was edited by hand.
    """
    try:
        fields = strict_json.parse(text)
        schema = fields["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as cause:
        raise errors.PackageError(f"{name}: manifest.json cannot be read ({cause}); convert the model again") from cause
    if schema != SCHEMA:
        raise errors.PackageError(
            f"{name}: package schema {schema!r}, this tflsplit reads schema {SCHEMA}; "
            + ("upgrade tflsplit" if isinstance(schema, int) and schema > SCHEMA else "convert the model again")
        )
    try:
        manifest = _manifest(fields)
        _check(manifest)
        is_canonical = render(manifest) == text
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, errors.SettingsError) as cause:
        raise errors.PackageError(f"{name}: manifest.json is damaged ({cause!r}); convert the model again") from cause
    if not is_canonical:
        raise errors.PackageError(f"{name}: manifest.json was changed after it was written; convert the model again")
    return manifest


def _check(manifest: Manifest) -> None:
    """Whatever is not of its type; and since ids and paths name files and folders, those that are not of our making."""
    for part in _parts(manifest):
        arguments.check_fields(part)
    positions = [cut.position for cut in manifest.cuts]
    if len(manifest.kinds) not in (0, manifest.operators):
        raise ValueError(f"it has {len(manifest.kinds)} kinds for {manifest.operators} operators")
    if len(manifest.meanings) not in (0, len(manifest.outputs)):
        raise ValueError(f"it says what {len(manifest.meanings)} outputs mean, and has {len(manifest.outputs)}")
    if manifest.decoding is not None:
        from tflsplit.decoding import recognition

        recognition.check(manifest.decoding, manifest.inputs, manifest.outputs)
    if positions != sorted({0, *positions, manifest.operators}):
        raise ValueError("its cuts are not those from input to output, each once and in their order")
    for cut in manifest.cuts:
        if cut.id != cut_id(cut.position, manifest.operators):
            raise ValueError(f"{cut.id!r} is no id of the cut after operator {cut.after_operator}")
    tails = manifest.float_tails
    named = {*manifest.compilations, *((*tails.counterparts, *tails.problems, *tails.fidelity) if tails else ())}
    if strange := named - {cut.id for cut in manifest.cuts}:
        raise ValueError(f"{min(strange)!r} is no cut")
    for path, file in (*manifest.files.items(), *manifest.absent.items()):
        if _PLAIN.fullmatch(path) is None:
            raise ValueError(f"{path!r} does not lie plainly inside the package")
        if _SHA256.fullmatch(file.sha256) is None or file.bytes < 0:
            raise ValueError(f"{path} has no SHA-256 in 64 hexadecimal digits, or no size")


def _parts(manifest: Manifest) -> Iterator[Any]:
    """A manifest and every value in it that has fields of its own."""
    yield from (manifest, manifest.source, manifest.calibration)
    yield from (*manifest.fidelity, *manifest.fidelity_cpu)
    yield from (*places.tensors(manifest.cuts).values(), *manifest.files.values(), *manifest.absent.values())
    for compilation in manifest.compilations.values():
        yield from (compilation, *compilation.operators)
    if manifest.float_tails is not None:
        yield from (manifest.float_tails, *(one for each in manifest.float_tails.fidelity.values() for one in each))


def _fields(value: Any) -> dict[str, Any]:
    fields = {slot: getattr(value, slot) for slot in value.__slots__}
    return {key: list(entry) if isinstance(entry, tuple) else entry for key, entry in fields.items()}


def _fidelity(fields: Mapping[str, Any]) -> Fidelity:
    return Fidelity(**dict(fields) | {"measured_on": MeasuredOn(fields["measured_on"])})


def _manifest(fields: dict[str, Any]) -> Manifest:
    calibration = dict(fields["calibration"])
    calibration["warnings"] = tuple(calibration["warnings"])
    preprocessing, float_tails = fields["preprocessing"], fields["float_tails"]
    tensors = {int(index): TensorSpec.from_json(spec) for index, spec in fields["tensors"].items()}
    return Manifest(
        name=fields["name"],
        target=fields["target"],
        created_with=fields["created_with"],
        source=Source(**fields["source"]),
        calibration=Calibration(**calibration),
        fidelity=tuple(map(_fidelity, fields["fidelity"])),
        fidelity_cpu=tuple(map(_fidelity, fields["fidelity_cpu"])),
        rewrites=tuple(fields["rewrites"]),
        compilations={cut: Compilation.from_json(entry) for cut, entry in fields["compilations"].items()},
        float_tails=FloatTails.from_json(float_tails) if float_tails else None,
        is_stateful=fields.get("stateful", False),
        preprocessing=Preprocessing.from_json(preprocessing) if preprocessing else None,
        labels=tuple(fields["labels"]),
        inputs=tuple(TensorSpec.from_json(spec) for spec in fields["inputs"]),
        outputs=tuple(TensorSpec.from_json(spec) for spec in fields["outputs"]),
        codec=fields["codec"],
        operators=fields["operators"],
        kinds=tuple(fields["operator_kinds"]),
        meanings=tuple(map(Meaning, fields["output_meanings"])),
        decoding=Decoding.from_json(fields["decoding"]) if "decoding" in fields else None,
        cuts=places.from_json(fields["cuts"], tensors),
        fused=fields["fused_layers"],
        aliases=fields["layer_aliases"],
        files={path: File(**entry) for path, entry in fields["files"].items()},
        role=Role(fields["role"]),
        absent={path: File(**entry) for path, entry in fields["absent"].items()},
    )
