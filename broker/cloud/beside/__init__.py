"""What a cloud does beside answering frames: it hears of devices and other clouds, and opens tails ahead."""
