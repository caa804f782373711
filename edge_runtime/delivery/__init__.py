"""From the head's output to its answer: promises, window, spool, birth."""
