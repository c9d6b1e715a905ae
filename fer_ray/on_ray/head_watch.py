"""Ends a command whose cluster has ended.

Ray waits a minute for the head (its GCS) to answer again, inside of its library, where neither
Python nor a signal is heard. Then it ends the process, with nothing tidied up and nothing said that
helps. So it is for a scheduler that ends all processes of a job at once, and for a head that is
lost.
"""

import socket
import threading
import time
from urllib.parse import urlsplit

from fer_ray.on_ray import interrupts

INTERRUPTED_S, LOST_S = 10.0, 50.0
"""Seconds without a head after which the command is ended: where it was interrupted and should have
ended by itself, and else, before Ray ends it."""
_EVERY_S, _CONNECT_S = 1.0, 5.0


class HeadWatch:
    """A thread that tries to connect to the head every second."""

    def __init__(self, address: str) -> None:
        """Begin to watch.

        Args:
            address: The head, as "host:port".
        """
        parts = urlsplit(f"//{address}")
        self._place = parts.hostname or "", parts.port or 0
        self._is_over = threading.Event()
        threading.Thread(target=self._run, daemon=True, name="head-watch").start()

    def stop(self) -> None:
        """Watch no longer."""
        self._is_over.set()

    def _run(self) -> None:
        seen = time.monotonic()
        while not self._is_over.wait(_EVERY_S):
            if self._answers():
                seen = time.monotonic()
                continue
            gone_s = time.monotonic() - seen
            if gone_s > (INTERRUPTED_S if interrupts.was_signalled() else LOST_S):
                if not self._is_over.is_set():
                    interrupts.end_lost(
                        f"the Ray cluster has ended: its head has not answered for {gone_s:.0f} s"
                    )
                return

    def _answers(self) -> bool:
        try:
            socket.create_connection(self._place, _CONNECT_S).close()
        except OSError:
            return False
        return True
