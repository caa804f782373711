"""Compiles heads of a package for the Edge TPU, one by one or together, and puts them and the results into it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from converters.edgetpu import cache, compiler
from converters.edgetpu.compiler import Compiler, Outcome
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package import writing
from tflsplit.package.manifest import Compilation
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, replace

NO_COMPILER = f"no {compiler.PROGRAM}"


@dataclass(frozen=True, slots=True)
class Settings:
    """`together` compiles all heads in one run: they share the on-chip memory in their order. `forgets` compiles again
    what is in the `cache`, a folder, by default below the user's cache directory.
    """

    timeout_s: float = compiler.TIMEOUT_S
    together: bool = False
    forgets: bool = False
    cache: Path | None = None


_USUAL = Settings()


def default_cuts(opened: Package) -> tuple[Cut, ...]:
    """The heads that are compiled by default: of the pairs that were written, and the whole model."""
    return tuple(cut for cut in opened.cuts if cut.position > 0 and opened.file(cut, "head") is not None)


def chosen_cuts(opened: Package, wanted: str) -> tuple[Cut, ...]:
    """`written` (see `default_cuts`), `useful`, `listed`, `all`, or ids and layers with commas.

    Raises CutError for a cut that is not there and for `input`, whose head computes nothing.
    """
    if wanted == "written":
        return default_cuts(opened)
    if wanted in ("useful", "listed", "all"):
        return tuple(cut for cut in opened.select(wanted) if cut.position > 0)
    found = tuple(opened.cut(name.strip()) for name in wanted.split(","))
    if any(cut.position == 0 for cut in found):
        raise errors.CutError("the head of the cut 'input' is empty, so there is nothing to compile; leave it out")
    return tuple(dict.fromkeys(found))


def compile_heads(
    opened: Package,
    chosen: Sequence[Cut],
    tool: Compiler | None,
    settings: Settings = _USUAL,
    *,
    on_head: Callable[[Cut, Compilation], None] = lambda cut, compilation: None,
) -> Package:
    """The package with every chosen head compiled, or with the reason why it is not; a failure stops nothing.

    `on_head` is called with each result. Without a compiler (`tool` None) every head is "not compiled". Heads are put
    into the package one by one, so that an interrupted run keeps those that are done.
    """
    groups = [tuple(chosen)] if settings.together and len(chosen) > 1 else [(cut,) for cut in chosen]
    if tool is None:
        return _put(opened, {cut: _Head(Compilation("not compiled", NO_COMPILER)) for cut in chosen}, on_head)
    for group in groups:
        opened = _put(opened, _compile_group(opened, group, tool, settings), on_head)
    return opened


@dataclass(frozen=True, slots=True)
class _Head:
    compilation: Compilation
    data: bytes | None = None
    text: str | None = None


def _compile_group(opened: Package, group: Sequence[Cut], tool: Compiler, settings: Settings) -> Mapping[Cut, _Head]:
    models = {cut.id: opened.head_bytes(cut) for cut in group}
    together = tuple(models) if len(models) > 1 else ()
    outcomes = _compile(models, tool, settings)
    return {cut: _head(outcomes[cut.id], tool, together) for cut in group}


def _compile(models: Mapping[str, bytes], tool: Compiler, settings: Settings) -> Mapping[str, Outcome]:
    root = settings.cache or cache.folder()
    entries = {name: cache.key(tool.version, list(models.values()), place) for place, name in enumerate(models)}
    if not settings.forgets:
        known = {name: cache.load(root, entry, timeout_s=settings.timeout_s) for name, entry in entries.items()}
        remembered = {name: outcome for name, outcome in known.items() if outcome is not None}
        if len(remembered) == len(models):
            return remembered
    outcomes = compiler.compile_models(tool, models, timeout_s=settings.timeout_s)
    for name, outcome in outcomes.items():
        cache.save(root, entries[name], outcome, timeout_s=settings.timeout_s)
    return outcomes


def _head(outcome: Outcome, tool: Compiler, together: tuple[str, ...]) -> _Head:
    is_compiled = outcome.data is not None
    described = Compilation(
        "compiled" if is_compiled else "failed",
        outcome.reason,
        compiler=tool.version,
        seconds=outcome.seconds,
        together=together,
    )
    if outcome.log is not None:
        fields = {slot: getattr(outcome.log, slot) for slot in outcome.log.__slots__ if slot != "model"}
        described = replace(described, **fields)
    return _Head(described, outcome.data, outcome.text)


def _put(opened: Package, heads: Mapping[Cut, _Head], on_head: Callable[[Cut, Compilation], None]) -> Package:
    """A head that was not compiled this time keeps its earlier compilation."""
    kept = {
        cut: head for cut, head in heads.items() if head.data is not None or opened.file(cut, "head_edgetpu") is None
    }
    added = {
        f"cuts/{cut.id}/head_edgetpu.{suffix}": data
        for cut, head in kept.items()
        for suffix, data in (("tflite", head.data), ("log", head.text.encode("utf-8") if head.text else None))
        if data is not None
    }
    compilations = {cut.id: head.compilation for cut, head in kept.items()}
    described = replace(opened.manifest, compilations={**opened.manifest.compilations, **compilations})
    updated = writing.update(opened, described, list(kept), added)
    for cut, head in heads.items():
        on_head(cut, head.compilation)
    return updated
