"""A lock that is given to those who wait for it in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque

__all__ = ["FairLock"]


class FairLock:
    """A mutex between the threads of one process; green ones too, where they are patched in.

    It is handed over: who comes by just when it is released cannot take it from the first in
    the queue, as is the case with :class:`threading.Lock`.
    """

    def __init__(self) -> None:
        """Start unlocked, without a queue."""
        self._mutex = threading.Lock()
        self._queue: deque[threading.Lock] = deque()
        self._held = False

    def acquire(self, timeout: float) -> bool:
        """Hold it, after at most ``timeout`` seconds; False when it was not free by then."""
        with self._mutex:
            if not self._held:
                self._held = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._queue.append(turn)
        try:
            if turn.acquire(timeout=timeout):
                return True
        except BaseException:  # a green thread is killed while it waits
            if not self._left(turn):
                self.release()
            raise
        return not self._left(turn)

    def _left(self, turn: threading.Lock) -> bool:
        """Give up waiting; False when the lock was handed over in this moment."""
        with self._mutex:
            if turn not in self._queue:
                return False
            self._queue.remove(turn)
            return True

    def release(self) -> None:
        """Hand it over to the first who waits."""
        with self._mutex:
            if self._queue:
                self._queue.popleft().release()
            else:
                self._held = False
