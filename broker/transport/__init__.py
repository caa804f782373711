"""What all transports share: the protocol, queues, addresses, credentials, and the in-memory transport."""
