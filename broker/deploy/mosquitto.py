"""The files that Mosquitto reads: its configuration, with the reason for each number, and its passwords.

Pure. Paths are relative: Mosquitto is started in the folder of these files, on a host or in a container.
"""

import base64
import hashlib

from broker.deploy.ledger import Ledger, Proof

CONFIG = "mosquitto.conf"
ACCESS = "access.acl"
PASSWORDS = "passwords"
AUTHORITY = "ca.crt"
CERTIFICATE = "server.crt"
KEY = "server.key"
REVOKED = "revoked.crl"
PID = "mosquitto.pid"
FEW = 1000  # identities whose state, 3 MB, is saved in a few milliseconds
DATA = "data"

# The number that `mosquitto_passwd` uses. Our passwords are 192 random bits, which more rounds do not make harder to
# guess; and the broker has one thread, which serves nobody while it computes them.
_ROUNDS = 101
_HASH_BYTES = 64
SALT_BYTES = 12  # Mosquitto 2.0 reads no other

_CONFIG = """\
# Written by `tflsplit broker init` for deployment {deployment}. Run it with `tflsplit broker run`, or in this folder:
#     mosquitto -c {config}
# SIGHUP makes Mosquitto read the access rules, passwords, certificates and the revocation list again.

listener {port}
tls_version tlsv1.2
cafile {ca}
certfile {certificate}
keyfile {key}
{proof}
allow_anonymous false
acl_file {access}

# Small messages leave at once. Without it Nagle's algorithm and delayed acknowledgements of TCP add 40 to 90 ms to a
# round trip that takes 0.3 ms.
set_tcp_nodelay true

# The largest packet that is taken, which clients of MQTT 5 are told when they connect; larger frames travel in chunks.
# 2,000,000 is what Mosquitto 2.1 takes where nothing is configured, so that a change of version changes nothing.
max_packet_size 2000000

# Messages at QoS 1 that a client may have unacknowledged, in each direction. Edges keep to their own window. A cloud
# reads up to 1,280 frames and chooses whose turn it is: those that wait here would come behind whoever floods.
max_inflight_messages 1280

# What waits for one client that is away or slow. Beyond these Mosquitto drops, and acknowledges all the same: nothing
# but the result of a frame says that it arrived. 16 MiB are 1,300 frames of 12.5 KB, or 2,000 results of 8 KB. Their
# number is no bound beside that: of 10,000 devices, whoever watches gets 20,000 small retained messages at once.
max_queued_messages 100000
max_queued_bytes 16777216

# Retained messages, durable sessions and what waits for them: all of it is written every {interval} seconds, however
# much is going on (the default writes twice an hour), and nobody is served meanwhile. Saving after each change instead
# makes everybody wait for it: one device with 130 frames a second, or a few dozen full queues, would stall the
# deployment. What `kill -9` or a power cut takes is said again: frames by their edges, results by the cloud, what is
# retained by whoever said it. Another interval needs nothing else: clouds see what the broker had saved.
persistence true
persistence_location {data}/
autosave_on_changes false
autosave_interval {interval}

# A session that nobody came back to for a week is a device that is gone; else its queue would be kept for ever.
persistent_client_expiration 7d

pid_file {pid}
log_dest stderr
log_type error
log_type warning
log_type notice
"""

_CERTIFICATES = """\
# A client proves who it is by a certificate of this deployment's own authority; its common name is its user name, and
# what it says in CONNECT counts for nothing.
require_certificate true
use_identity_as_username true
crlfile {revoked}"""

_PASSWORDS = """\
# A client proves who it is by user name and password. The connection is encrypted, and the client checks the server.
require_certificate false
password_file {passwords}"""


def save_interval_s(names: int) -> int:
    """How often a broker of so many identities saves. With 5,000 devices a save takes 29 ms of its processor
    (`benchmarks/fleet.json`), and longer because it waits for the disk: every ten seconds more than a hundredth of all
    frames found it saving, once in a minute it is a fraction of that."""
    return 10 if names <= FEW else 60


def config(ledger: Ledger, port: int) -> str:
    proof = _CERTIFICATES if ledger.proof is Proof.CERTIFICATE else _PASSWORDS
    return _CONFIG.format(
        deployment=ledger.deployment,
        config=CONFIG,
        port=port,
        ca=AUTHORITY,
        certificate=CERTIFICATE,
        key=KEY,
        proof=proof.format(revoked=REVOKED, passwords=PASSWORDS),
        access=ACCESS,
        interval=save_interval_s(len(ledger.identities)),
        data=DATA,
        pid=PID,
    )


def passwords(ledger: Ledger) -> str:
    hashes = ((identity.name, identity.password_hash) for identity in ledger.identities)
    return "".join(f"{name}:{hashed}\n" for name, hashed in hashes if hashed is not None)


def password_hash(password: str, salt: bytes) -> str:
    """As `mosquitto_passwd` writes it: PBKDF2 with HMAC-SHA512."""
    hashed = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ROUNDS, _HASH_BYTES)
    return f"$7${_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(hashed).decode()}"
