"""A chain from files of measured machines and links.

A profile holds times of whole heads or tails; the time of a piece between two cuts is the difference of two of them.
The rest is counted as `cost` counts it for one cut, so that a chain of two machines costs what their plan says.
"""

from collections.abc import Mapping, Sequence

from tflsplit import errors
from tflsplit.chains.chain import EDGE_TPU, Cache, Chain, Hop, Stage
from tflsplit.graph.cuts import Cut
from tflsplit.package.manifest import Compilation
from tflsplit.planning import network
from tflsplit.timings import distribution, prefixes
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import CutTiming, Origin, Profile, Side

# Accelerators whose heads stream what their on-chip memory does not hold.
_STREAMING = ("coral", "edgetpu")


def chain_of(
    cuts: Sequence[Cut],
    machines: Mapping[str, Profile],
    links: Sequence[Link],
    compilations: Mapping[str, Compilation],
) -> Chain:
    """Places are the cuts that every machine's profile times. SettingsError for machines or links that fit no chain."""
    profiles = list(machines.values())
    _check_order(machines)
    if len(links) != len(profiles) - 1:
        raise errors.SettingsError(f"{len(profiles)} stages have {len(profiles) - 1} links between, {len(links)} given")
    timed = [{entry.cut: entry for entry in profile.cuts} for profile in profiles]
    places = list(cuts)
    for profile in profiles:
        places = prefixes.timed(profile, places)
    if not prefixes.are_whole(places):
        raise errors.SettingsError("the stages' profiles share no timings of the whole model; profile all cuts")
    cache = cache_of(compilations)
    frames = tuple(_frame_bytes(cut, timed) for cut in places)
    preprocess = profiles[0].preprocess
    return Chain(
        places=tuple(cut.id for cut in places),
        wire_bytes=tuple(map(network.wire_bytes, frames)),
        parameter_bytes=tuple(float(cut.head.parameter_bytes) for cut in places),
        stages=tuple(
            _stage(name, profile, entries, places, cache)
            for (name, profile), entries in zip(machines.items(), timed, strict=True)
        ),
        hops={(at, at + 1): hop_of(link, frames) for at, link in enumerate(links)},
        preprocess_s=distribution.of(preprocess).p50_s if preprocess else 0.0,
        delivered=True,
    )


def hop_of(link: Link, frames: Sequence[float]) -> Hop:
    """`frames` are the bytes of a frame at each place."""
    one_way_s = network.hop(link).p50_s
    return Hop(
        delay_s=one_way_s,
        bandwidth_bps=network.usable_bps(link),
        back_s=one_way_s,
        sending_s=tuple(network.sending(link, frame).p50_s for frame in frames),
        occupied_s=tuple(network.busy_s(link, frame) for frame in frames),
    )


def _check_order(machines: Mapping[str, Profile]) -> None:
    if len(machines) < 2:
        raise errors.SettingsError(f"{len(machines)} stage: give two or more, the one with the camera first")
    clouds = [name for name, profile in machines.items() if profile.side is Side.CLOUD]
    edges = [name for name, profile in machines.items() if profile.side is Side.EDGE]
    names = list(machines)
    if clouds and edges and names.index(clouds[0]) < names.index(edges[-1]):
        raise errors.SettingsError(
            f"stage {clouds[0]} has a cloud's profile and stands before {edges[-1]}, which has an edge's; "
            "list the stages from the device to the cloud"
        )


def _stage(name: str, profile: Profile, entries: Mapping[str, CutTiming], places: Sequence[Cut], cache: Cache) -> Stage:
    compute_s = prefixes.before_s(profile, places)
    coding_s = [distribution.of(entries[cut.id].coding).p50_s if cut.id in entries else 0.0 for cut in places]
    origin = distribution.worst(entry.run.origin for entry in entries.values())
    streams = profile.accelerator.startswith(_STREAMING)
    if profile.side is Side.CLOUD:
        # The tail of `output` runs nothing of the model: its time is that of receiving a result.
        if places[-1].id in entries:
            coding_s[-1] += distribution.of(entries[places[-1].id].run).p50_s
    elif streams:
        # Streaming is counted for each piece separately, so it is subtracted from what was measured for the heads.
        streams_s = (cache.stream_s(cut.head.parameter_bytes) for cut in places)
        compute_s = tuple(run_s - stream_s for run_s, stream_s in zip(compute_s, streams_s, strict=True))
        origin = Origin.ESTIMATED
    return Stage(name, compute_s, tuple(coding_s), cache=cache if streams else None, origin=origin)


def cache_of(compilations: Mapping[str, Compilation]) -> Cache:
    """The on-chip memory as the compiler reported it, else as public figures have it."""
    sizes = [
        entry.on_chip_used_bytes + (entry.on_chip_remaining_bytes or 0)
        for entry in compilations.values()
        if entry.on_chip_used_bytes
    ]
    return Cache(float(max(sizes)), EDGE_TPU.stream_bytes_per_s) if sizes else EDGE_TPU


def _frame_bytes(cut: Cut, timed: Sequence[Mapping[str, CutTiming]]) -> float:
    coded = next(
        (found for entries in timed if cut.id in entries and (found := entries[cut.id].coded_bytes) is not None), None
    )
    return network.frame_bytes(cut.boundary, cut.payload_bytes if coded is None else coded)
