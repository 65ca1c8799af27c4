"""Waits for what other processes announce (LISTEN and NOTIFY of PostgreSQL), for all threads of this one."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import peewee

from launcher_recovery.persistence.postgres_connections import translated

if TYPE_CHECKING:
    import psycopg

_NUDGE_S = 0.01


class Listener:
    """A connection of its own that listens on one channel; the thread that has the turn waits on it for the others.

    Args:
        connect: makes the connection.
        channel: what to listen on.
        own_pid: the server's process of the connection that announces what this process does, which is not reported.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        channel: Callable[[], str],
        own_pid: Callable[[], int | None],
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._own_pid = own_pid
        self._raw: psycopg.Connection[Any] | None = None
        self._is_resting = self._is_closed = False
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._turn = threading.Lock()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)

    def take_turn(self) -> bool:
        """Whether it is this thread that listens from now on."""
        if not self._turn.acquire(blocking=False):
            return False
        if self._is_resting:
            self._turn.release()
            return False
        return True

    def end_turn(self) -> None:
        """Let another thread listen."""
        self._turn.release()

    def listen(self, timeout: float) -> bool:
        """Wait until another process has announced something (True), for `wake`, or for `timeout` seconds.

        True also when it begins to listen, since what came before was not heard. Who calls it has the turn.

        Raises:
            peewee.OperationalError: the server cannot be reached.
        """
        if self._raw is not None:
            try:
                with translated():
                    return self._hears(self._raw, timeout)
            except peewee.DatabaseError:
                self._raw.close()  # and once more with a new one
        with translated():
            self._raw = self._connect()
            self._raw.execute(f"LISTEN {self._channel()}")
        return True

    def _hears(self, raw: psycopg.Connection[Any], timeout: float) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(raw.fileno(), selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            selector.select(timeout)
        try:
            self._woken.recv(4096)
        except BlockingIOError:
            pass
        own = self._own_pid()
        # All of them are taken, whosever they are.
        return bool({notice.pid for notice in raw.notifies(timeout=0)} - {own})

    def wake(self) -> None:
        """End the wait of the thread that listens, if there is one."""
        if self._turn.locked():
            try:
                self._waker.send(b"!")
            except OSError:  # plenty of them are there already, or it has just been closed
                pass

    def rest(self) -> None:
        """Disconnect; nobody listens until `resume`."""
        self._is_resting = True
        while not self._turn.acquire(timeout=_NUDGE_S):
            self.wake()
        if self._raw is not None:
            self._raw.close()
            self._raw = None
        self._turn.release()

    def resume(self, in_child: bool = False) -> None:
        """Undo `rest`, not `close`."""
        if self._is_closed:
            return
        if in_child:
            self._close_sockets()
            self._begin_anew()
        self._is_resting = False

    def close(self) -> None:
        """Rest for good."""
        self.rest()
        self._is_closed = True
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._woken.close()
        self._waker.close()
