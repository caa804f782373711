"""Every metric there is. `/metrics` shows an edge's as `tflsplit_edge_…`, a cloud's as `tflsplit_cloud_…`, a
worker's as `tflsplit_worker_…`, what the telemetry of edges tells as `tflsplit_fleet_…`, of all together, and in
`tflsplit fleet` as `tflsplit_device_…`.
"""

from tflsplit.observing import worker_catalogue
from tflsplit.observing.metrics import Kind, Metric, counter, gauge, histogram
from tflsplit.values.classes import replace

EDGE_PREFIX = "tflsplit_edge_"
CLOUD_PREFIX = "tflsplit_cloud_"
WORKER_PREFIX = "tflsplit_worker_"
DEVICE_PREFIX = "tflsplit_device_"
FLEET_PREFIX = "tflsplit_fleet_"


# The connection to the broker, of each of them.
BROKER_STATE = gauge("broker_state", "1 for the state that the connection to the broker is in, 0 for others.", "state")
BROKER_RECONNECTS = counter("broker_reconnects_total", "Connections to the broker that came back.")
BROKER_PUBLISHED = counter("broker_published_total", "Messages sent to the broker for the first time.")
BROKER_RESENT = counter("broker_resent_total", "Messages sent to the broker once more, on another connection.")
BROKER_ACKNOWLEDGED = counter(
    "broker_acknowledged_total", "Messages at QoS 1 that the broker confirmed; no receipt of any reader."
)
BROKER_RECEIVED = counter(
    "broker_received_total", "Messages taken from the broker; those that found no room are dropped as inbox_full."
)
BROKER_DROPPED = counter(
    "broker_dropped_total",
    "Messages that the connection gave up, by reason; inbox_full is of those received.",
    "reason",
)
BROKER = (
    *(BROKER_STATE, BROKER_RECONNECTS, BROKER_PUBLISHED, BROKER_RESENT, BROKER_ACKNOWLEDGED, BROKER_RECEIVED),
    BROKER_DROPPED,
)

BUILD = gauge("build_info", "1; the version that runs, the package's digest and the cut.", "version", "package", "cut")
FRAMES = counter("frames_total", "Frames accepted to be sent.")
INPUTS = counter("inputs_total", "Inputs in these frames: more of them where a frame holds a batch.")
REPLAYED = counter("replayed_frames_total", "Frames of earlier runs in the spool, and those that it lost.")
RESULTS = counter("results_total", "Frames answered with a result, or with an acknowledgement if that was asked for.")
REFUSED = counter(
    "refused_frames_total",
    "Frames that a cloud refused, and the edge gave up for it; a spool keeps those of a wrong package.",
)
DROPPED = counter("dropped_total", "Inputs, frames and messages given up at the edge, by reason.", "reason")
RESENT = counter("resent_frames_total", "Times that a frame was sent again for want of an answer.")
DUPLICATES = counter("duplicate_answers_total", "Answers to frames of this edge that it did not wait for any more.")
BUSY = counter("busy_answers_total", "Times that a cloud had too many frames of this edge to take another.")
UNTIMED = counter("untimed_results_total", "Results without a latency: an earlier run captured their frames.")
WINDOW = gauge("window_frames", "Frames sent and not answered yet.")
WINDOW_SIZE = gauge("window_limit_frames", "Frames that may be unanswered at a time.")
LAST_FRAME = gauge("last_frame_timestamp_seconds", "When the edge last did a frame or rightly waited for one.")
READY = gauge("ready", "1 while the edge does what it promised, 0 while its health names a broken link.")
LAST_ANSWER = gauge("last_answer_timestamp_seconds", "When the last answer came; absent before the first.")
LATENCY = histogram("latency_seconds", "From an input's capture to its answer.")
PARTS = histogram("part_seconds", "Where that time went: head, tail, and wire for all between and back.", "part")
ACCELERATOR = gauge("accelerator_info", "1; the accelerator asked for and what runs the heads.", "requested", "runs_on")
KERNELS = gauge(
    "kernel_class_info",
    "1; the class of the kernels that run the head, and whether they compute as the clouds' do.",
    "kernel_class",
    "exactness",
)
ACCELERATOR_UP = gauge("accelerator_up", "1 while heads run on the accelerator that was asked for, else 0.")
FAILURES = counter("accelerator_failures_total", "Times that the accelerator died in service or could not be opened.")
REOPENINGS = counter("accelerator_reopenings_total", "Times that a lost accelerator was opened again.")
ON_FALLBACK = counter("fallback_frames_total", "Frames whose head ran on the fallback.")
RESTARTS = counter("stream_restarts_total", "Times that a stream began anew; with a stateful package alone.")
TEMPERATURE = gauge("temperature_celsius", "Of the hottest zone of the machine; absent where none can be read.")
SPOOL_FRAMES = gauge("spool_frames", "Frames on disk that are not answered yet; absent without a spool.")
SPOOL_BYTES = gauge("spool_bytes", "Bytes of these frames.")
SPOOL_LIMIT = gauge("spool_limit_bytes", "Bytes that the spool may hold.")
SPOOL_FULL = gauge("spool_full", "1 while the spool takes no more frames, else 0.")
SWITCHES = counter("cut_switches_total", "Times that the cut moved, by reason; with --adapt alone.", "reason")
ANSWERED_HERE = counter("answered_here_frames_total", "Frames whose first answer was the device's own.")
HEDGED = counter("hedged_frames_total", "Frames computed on the device too, since their answer was overdue.")
HEDGED_FIRST = counter("hedged_first_frames_total", "Those of them whose answer from the device was the first.")
HEDGE_LEFT_OUT = counter(
    "hedge_left_out_frames_total", "Frames that could not be hedged for want of memory, or since another model came."
)
GATED = counter(
    "gated_frames_total",
    "Frames that the gate judged: sure and limited ones stay, audited and doubtful ones go on to a cloud.",
    "verdict",
)
AUDITS = counter("audits_total", "Audited frames by whether the cloud's answer was the device's.", "agrees")
NOT_READY = counter(
    "cuts_not_ready_total", "Times that a cut was left out: a cloud refused a frame of it, or its head did not open."
)
LOADS = counter("head_loads_total", "Heads that the accelerator loaded in place of others, as the cut moved.")
LOAD_WAIT = counter("head_load_wait_seconds_total", "Time that frames waited for these.")
PROBES = counter("probes_total", "Probes of the link; with --adapt alone.")
PROBE_BYTES = counter("probe_bytes_total", "Bytes of these probes and of their answers, with every header.")
LINK_BPS = gauge("link_bits_per_second", "What the link carries, as frames and probes tell; with --adapt alone.")
LINK_RTT = gauge("link_round_trip_seconds", "Of a small message, without the cloud's own time.")
CLOUD_WAIT = gauge("cloud_wait_seconds", "What a frame waits in the cloud before its turn.")
SLOWER = gauge("slower_ratio", "How much slower than in its profile a side computes.", "side")
OWN = (ANSWERED_HERE, HEDGED, HEDGED_FIRST, HEDGE_LEFT_OUT)
GATE = (GATED, AUDITS)
ADAPTING = (
    SWITCHES,
    NOT_READY,
    LOADS,
    LOAD_WAIT,
    PROBES,
    PROBE_BYTES,
    LINK_BPS,
    LINK_RTT,
    CLOUD_WAIT,
    SLOWER,
)
EDGE = (
    BUILD,
    FRAMES,
    INPUTS,
    REPLAYED,
    RESULTS,
    REFUSED,
    DROPPED,
    RESENT,
    DUPLICATES,
    BUSY,
    UNTIMED,
    WINDOW,
    WINDOW_SIZE,
    LAST_FRAME,
    READY,
    LAST_ANSWER,
    LATENCY,
    PARTS,
    ACCELERATOR,
    KERNELS,
    ACCELERATOR_UP,
    FAILURES,
    REOPENINGS,
    ON_FALLBACK,
    RESTARTS,
    TEMPERATURE,
    SPOOL_FRAMES,
    SPOOL_BYTES,
    SPOOL_LIMIT,
    SPOOL_FULL,
    *OWN,
    *GATE,
    *ADAPTING,
    *BROKER,
)

# What telemetry carries: not the parts, which would be three quarters of its bytes.
IN_TELEMETRY = tuple(metric for metric in EDGE if metric is not PARTS)


def of_deployment(metric: Metric) -> Metric:
    """The same for one of several deployments."""
    return replace(metric, labels=("deployment", *metric.labels))


def of_device(metric: Metric) -> Metric:
    """The same as a cloud exports it for a device of one of its deployments."""
    return replace(metric, labels=("deployment", "device", *metric.labels))


CLOUD_BUILD = gauge("build_info", "1; the version that runs.", "version")
CLOUD_PACKAGE = gauge("package_info", "1 for each package that is served, by its digest.", "package", "name")
CLOUD_FRAMES = counter(
    "frames_total", "Whole frames received, duplicates among them; damaged ones are only refused.", "deployment"
)
CLOUD_RESULTS = counter("results_total", "Frames answered with a result.", "deployment")
CLOUD_EXACT = counter(
    "results_by_exactness_total",
    "Results by whether their heads gave what they would have given here: exact, inexact or unknown.",
    "deployment",
    "exactness",
)
CLOUD_EXACT_DEVICES = gauge(
    "devices_by_exactness", "Devices by the same, as their latest births tell.", "deployment", "exactness"
)
CLOUD_REFUSED = counter(
    "refused_frames_total",
    "Frames that got no result, by reason; nobody hears of those of a bad_topic.",
    "deployment",
    "reason",
)
CLOUD_DUPLICATES = counter(
    "duplicate_frames_total",
    "Frames that came again, and were answered from memory or already being answered.",
    "deployment",
)
CLOUD_LEFT = counter(
    "frames_left_to_others_total",
    "Frames that could not be run here and got no answer, since another cloud serves their package.",
    "deployment",
)
CLOUD_UNPUBLISHED = counter(
    "unpublished_results_total", "Answers, refusals as well, that could not be published.", "deployment"
)
CLOUD_LETTERS = counter("dead_letters_total", "Dead letters written.", "deployment")
CLOUD_LETTERS_LEFT = counter(
    "dead_letters_left_out_total",
    "Dead letters that were not written, being more than a second may have.",
    "deployment",
)
CLOUD_RATE_LIMITED = counter(
    "rate_limited_frames_total",
    "Frames refused as busy because their device sent more a second than --device-rate allows.",
    "deployment",
)
CLOUD_ANSWERS_FORGOTTEN = counter(
    "answers_forgotten_total",
    "Answers that made room for others within 10 s: a frame that comes again is computed again.",
    "deployment",
)
CLOUD_MASKS_LEFT = counter(
    "masks_left_out_total",
    "Masks that results went without, being too large for the broker, or of more classes than a PNG holds.",
    "deployment",
)
CLOUD_BIRTHS_FORGOTTEN = counter(
    "births_forgotten_total",
    "Births of devices that made room for others': of these it is unknown whether they are exact.",
    "deployment",
)
CLOUD_CHUNKED = counter("chunked_frames_total", "Frames put together from chunks.", "deployment")
CLOUD_CHUNKS_AGAIN = counter("duplicate_chunks_total", "Chunks that came again.", "deployment")
CLOUD_CHUNKED_GIVEN_UP = counter(
    "chunked_frames_given_up_total", "Frames in chunks that were never whole, by reason.", "deployment", "reason"
)
CLOUD_HELD = gauge("held_frames", "Frames waiting, being answered, or waiting to be published.", "deployment")
CLOUD_WAITING = gauge("waiting_frames", "Frames that no tail has begun.")
CLOUD_QUEUE = histogram("queue_seconds", "From a frame's arrival to the beginning of its decoding.", "deployment")
CLOUD_DECODE = histogram("decode_seconds", "Decoding and preprocessing of frames.", "deployment")
CLOUD_TAIL = histogram("tail_seconds", "How long tails ran.", "deployment")
CLOUD_WORKERS = gauge("workers", "Processes that run tails and live; absent where this process runs them.")
CLOUD_REPLACED = counter(
    "workers_replaced_total", "Workers started in the place of one that died, hung or could not start."
)
CLOUD_REQUEUED = counter("requeued_frames_total", "Frames done again because their worker died or hung.")
CLOUD_FORGOTTEN = counter("states_forgotten_total", "Streams of stateful packages whose state made room for others'.")
CLOUD_LAST_LOOK = gauge("last_look_timestamp_seconds", "When a deployment's loop last looked for frames.", "deployment")
CLOUD_BROKER_AWAY = gauge(
    "broker_away", "1 for each of several brokers that is away, 0 for the others.", "deployment", "broker"
)
CLOUD_DEVICES = gauge("devices", "Devices that told telemetry in the last 300 s.", "deployment")
CLOUD_DEVICES_LEFT = counter(
    "devices_left_out_total", "Messages of telemetry from devices more than have room.", "deployment"
)
CLOUD_BAD_TELEMETRY = counter("bad_telemetry_total", "Messages on telemetry that could not be read.", "deployment")
CLOUD = (
    CLOUD_BUILD,
    CLOUD_PACKAGE,
    CLOUD_FRAMES,
    CLOUD_RESULTS,
    CLOUD_EXACT,
    CLOUD_EXACT_DEVICES,
    CLOUD_REFUSED,
    CLOUD_DUPLICATES,
    CLOUD_LEFT,
    CLOUD_UNPUBLISHED,
    CLOUD_LETTERS,
    CLOUD_LETTERS_LEFT,
    CLOUD_RATE_LIMITED,
    CLOUD_ANSWERS_FORGOTTEN,
    CLOUD_MASKS_LEFT,
    CLOUD_BIRTHS_FORGOTTEN,
    CLOUD_CHUNKED,
    CLOUD_CHUNKS_AGAIN,
    CLOUD_CHUNKED_GIVEN_UP,
    CLOUD_HELD,
    CLOUD_WAITING,
    CLOUD_QUEUE,
    CLOUD_DECODE,
    CLOUD_TAIL,
    CLOUD_WORKERS,
    CLOUD_REPLACED,
    CLOUD_REQUEUED,
    CLOUD_FORGOTTEN,
    CLOUD_LAST_LOOK,
    CLOUD_DEVICES,
    CLOUD_DEVICES_LEFT,
    CLOUD_BAD_TELEMETRY,
    *map(of_deployment, BROKER),
    CLOUD_BROKER_AWAY,
)

WORKER = (*worker_catalogue.WORKER, *BROKER)

# What a cloud sums over all devices of a deployment, as far as they grew while it heard them.
SUMMED = (FRAMES, INPUTS, RESULTS, REFUSED, DROPPED, RESENT, DUPLICATES, BUSY, ON_FALLBACK, FAILURES)
FLEET_STATES = gauge(
    "devices_by_state", "Devices by health: ok, starting, not ready, stuck or other.", "deployment", "state"
)
FLEET_SLOW = histogram(
    "device_p95_seconds", "Devices by the 95th percentile of their latency, as each told last.", "deployment"
)
FLEET_DOWN = gauge(
    "accelerator_down_devices", "Devices whose heads do not run on the accelerator that was asked for.", "deployment"
)
FLEET_FULL = gauge("spool_full_devices", "Devices whose spool takes no more frames.", "deployment")
FLEET_SLOWEST = gauge(
    "slowest_p95_seconds", "That percentile of the ten devices where it is highest.", "deployment", "device"
)
FLEET_QUIETEST = gauge(
    "quietest_silence_seconds",
    "How long the ten that are silent for longest told nothing.",
    "deployment",
    "device",
)
FLEET = (
    *map(of_deployment, (*SUMMED, LATENCY)),
    FLEET_STATES,
    FLEET_SLOW,
    FLEET_DOWN,
    FLEET_FULL,
    FLEET_SLOWEST,
    FLEET_QUIETEST,
)

DEVICE_TELEMETRY_AT = Metric(
    "telemetry_timestamp_seconds", Kind.GAUGE, "When telemetry last came.", ("deployment", "device")
)
DEVICE = (DEVICE_TELEMETRY_AT, *map(of_device, IN_TELEMETRY))


def every_name() -> dict[str, Metric]:
    """Each metric under its full name."""
    by_prefix = {
        EDGE_PREFIX: EDGE,
        CLOUD_PREFIX: CLOUD,
        WORKER_PREFIX: WORKER,
        FLEET_PREFIX: FLEET,
        DEVICE_PREFIX: DEVICE,
    }
    return {f"{prefix}{metric.name}": metric for prefix, metrics in by_prefix.items() for metric in metrics}
