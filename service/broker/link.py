"""What is logged about Redis: that it is gone, and that it is back; not each try in between."""

import logging

_logger = logging.getLogger(__name__)


class Link:
    """One user's tie to Redis; ``without`` says what is missing while it is cut."""

    def __init__(self, without: str) -> None:
        self._without = without
        self._lost = False

    def lost(self, error: BaseException) -> None:
        """It did not work."""
        if not self._lost:
            self._lost = True
            _logger.warning("Redis: %s. %s; the sweep makes up for it.", error, self._without)

    def found(self) -> None:
        """It worked."""
        if self._lost:
            self._lost = False
            _logger.warning("Redis is back.")
