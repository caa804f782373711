"""The metrics of a worker, one machine of those that share a model, but for those of its connection."""

from tflsplit.observing.metrics import counter, gauge, histogram

BUILD = gauge(
    "build_info",
    "1; the version that runs, which machine this is, and the digests of package and folder.",
    *("version", "machine", "package", "bundle"),
)
KERNELS = gauge(
    "kernel_class_info",
    "1; the class of the kernels here, and whether those of all machines that take part compute alike.",
    *("kernel_class", "exactness"),
)
READY = gauge("ready", "1 while the worker does what it promised, 0 while its health says what is missing.")
LAST_LOOK = gauge("last_look_timestamp_seconds", "When the thread that computes last looked for something to do.")
FRAMES = counter("frames_total", "Frames of which this machine computed its part.")
RESULTS = counter("results_total", "Results published here, at the machine where the outputs are wanted.")
MASKS_LEFT = counter("masks_left_out_total", "Masks that these went without, as a cloud's results may.")
STEP = histogram("step_seconds", "How long each step of a frame computed.")
WAIT = histogram("step_wait_seconds", "How long each step of a frame waited for letters after the step before it.")
STAGE_RUNS = counter("stage_runs_total", "Steps computed, by stage of the placement then in force.", "stage")
STAGE_COMPUTE = counter("stage_compute_seconds_total", "Time that these steps computed.", "stage")
PLACEMENTS = counter("placements_total", "Placements that this machine got ready for.")
MACHINES = gauge("placement_machines", "Machines that take part in the placement in force; 0 before the first.")
PIECES = gauge("open_pieces", "Pieces of the model that are open here.")
TAKEN_OVER = counter(
    "taken_over_pieces_total",
    "Pieces opened for another placement than the planned one, as where a machine was lost.",
)
SENT = counter("letters_sent_total", "Letters to other machines.")
RECEIVED = counter("letters_received_total", "Letters of other machines that came whole.")
SENT_BYTES = counter("sent_bytes_total", "Bytes of tensors in the letters sent.")
RECEIVED_BYTES = counter("received_bytes_total", "Bytes of tensors in the letters received.")
IGNORED = counter(
    "ignored_letters_total",
    "Letters left aside: a repeat, a stale one of a placement that is over, a bad one.",
    "reason",
)
BEGUN = gauge("begun_frames", "Frames begun here whose part is not done.")
WAITING = gauge("waiting_letters", "Letters and results that wait for room in the connection.")

# At the machine with the inputs alone.
INPUTS = counter("inputs_total", "Inputs taken, at the machine that has them; as all below.")
ANSWERED = counter("answered_inputs_total", "Inputs whose result came.")
RECOMPUTED = counter("recomputed_frames_total", "Frames computed again, since the placement changed meanwhile.")
DROPPED = counter("dropped_total", "Inputs given up and results refused, by reason.", "reason")
CHANGES = counter(
    "placement_changes_total",
    "Placements put in force, by reason: start, lost, back, unanswered or better.",
    "reason",
)
WINDOW = gauge("window_frames", "Inputs without their result.")
WINDOW_SIZE = gauge("window_limit_frames", "Inputs that may be without it at a time.")
LATENCY = histogram("latency_seconds", "From an input's capture to its result.")
MACHINE_UP = gauge("machine_up", "1 for each machine of the file that may take part now, else 0.", "machine")
MACHINE_SPEED = gauge(
    "machine_speed_ratio", "How many times as quick as stated each machine was found to be.", "machine"
)
AT_SOURCE = (
    *(INPUTS, ANSWERED, RECOMPUTED, DROPPED, CHANGES, WINDOW, WINDOW_SIZE, LATENCY),
    *(MACHINE_UP, MACHINE_SPEED),
)
WORKER = (
    *(BUILD, KERNELS, READY, LAST_LOOK, FRAMES, RESULTS, MASKS_LEFT, STEP, WAIT, STAGE_RUNS, STAGE_COMPUTE),
    *(PLACEMENTS, MACHINES, PIECES, TAKEN_OVER, SENT, RECEIVED, SENT_BYTES, RECEIVED_BYTES, IGNORED, BEGUN, WAITING),
    *AT_SOURCE,
)
