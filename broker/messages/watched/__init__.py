"""Messages that nobody needs but who watches: a cloud's load, and the pictures that a device shares."""
