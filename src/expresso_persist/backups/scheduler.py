"""A thread that looks in time whether something is due, and never dies."""

from __future__ import annotations

import logging
import os
import random
import threading
import weakref
from collections.abc import Callable

from expresso_persist.errors import ExpressoPersistError

__all__ = ["Scheduler", "describe"]

logger: logging.Logger = logging.getLogger("expresso_persist.backups")

_FIRST_RETRY = 5.0


def describe(error: BaseException) -> str:
    """An error in one line, for a log or a status; foreign errors only by their name."""
    text = error.message if isinstance(error, ExpressoPersistError) else type(error).__name__
    return " ".join(text.split())


class Scheduler:
    """Calls ``tick`` again and again in a daemon thread, as often as ``tick`` asks for.

    ``tick`` returns the seconds until its next call. When it raises, the error is logged
    in one line and the calls come at growing distances, up to the interval.
    """

    def __init__(
        self,
        tick: Callable[[], float],
        *,
        interval: float,
        on_error: Callable[[BaseException], None],
        what: str = "The automatic backup",
    ) -> None:
        self._tick = tick
        self._interval = interval
        self._on_error = on_error
        self._what = what
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        _schedulers.add(self)

    @property
    def alive(self) -> bool:
        """True while the thread runs in this process."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Start the thread; nothing happens when it already runs."""
        with self._lock:
            if self.alive:
                return
            self._wake = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._wake,), name="expresso-persist-backups", daemon=True
            )
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin a :meth:`stop`, without waiting: several threads can come to an end at once."""
        self._wake.set()

    def stop(self, grace: float = 10.0) -> bool:
        """Stop the thread after what it is doing; nothing happens when none runs.

        Args:
            grace: Seconds to wait for it.

        Returns:
            False when it is still busy; it ends by itself after that.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self._wake.set()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(grace)
        return not thread.is_alive()

    def _run(self, stop: threading.Event) -> None:
        failures = 0
        # Workers of one host start together; they need not all look at the same moment.
        delay = random.uniform(0, min(1.0, self._interval / 10))  # noqa: S311 - no secret
        while not stop.wait(delay):
            try:
                delay = self._tick()
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
                failures += 1
                longest = min(_FIRST_RETRY, self._interval / 4) * 2 ** min(failures - 1, 16)
                delay = min(self._interval, longest) * random.uniform(0.8, 1.0)  # noqa: S311
                self._on_error(error)
                logger.warning(
                    "%s failed: %s Next try in %.0f s.", self._what, describe(error), delay
                )

    def _forget(self) -> None:
        """In a forked child the thread is gone and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None


_schedulers: weakref.WeakSet[Scheduler] = weakref.WeakSet()


def _after_fork() -> None:
    for scheduler in list(_schedulers):
        scheduler._forget()  # noqa: SLF001 - the same module's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
