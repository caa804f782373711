"""A TLS socket for a library that loses sockets."""

import ssl


class TidySocket(ssl.SSLSocket):
    """paho forgets the socket when the handshake fails; this one closes itself."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise
