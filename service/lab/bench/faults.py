"""What ends a benchmark: a figure that cannot be had, or would not be true."""


class BenchError(Exception):
    """Something is not as a figure needs it; the message says what."""
