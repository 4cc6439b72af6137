"""Commands in from any thread or shell, bytes out at once, on a connection of their own: no frame and no repaint holds them up.

The console's loop may be in the middle of a repaint when the kill key comes; the thread that reads the terminal sends it
from here, and `barter-tui kill` its own. A command that fails here still has the usual way to go.
"""

import contextlib
import logging
import socket
import threading
from pathlib import Path

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from engine import __version__
from engine.views import PROTOCOL, Answer, Ask, Frame, Goodbye, Hello, Welcome, decode_to_console, encode

log = logging.getLogger(__name__)
WITHIN_S = 2.0


class Hotline:
    """A handshake with the engine behind a socket. Raises OSError, TimeoutError or WebSocketException when there is none.

    Without frames it may steer, and its end is nobody's loss; with some it only watches.
    """

    def __init__(self, path: Path, frames_per_s: float = 0.0) -> None:
        self._one, self._open = threading.Lock(), contextlib.ExitStack()
        wanted = unix_connect(
            str(path), "ws://engine/", compression=None, open_timeout=WITHIN_S, close_timeout=WITHIN_S, ping_interval=None
        )
        self._connection: ClientConnection = self._open.enter_context(wanted)
        try:
            self._connection.send(encode(Hello(PROTOCOL, __version__, not frames_per_s, frames_per_s)))
            answer = self._connection.recv(WITHIN_S, decode=False)
            if not isinstance(decode_to_console(answer), Welcome):
                raise ConnectionError("the engine did not welcome it")
        except BaseException:
            self.close()
            raise

    def send(self, ask: Ask) -> bool:
        """False when it could not be handed to the engine's socket."""
        with self._one:
            try:
                self._connection.send(encode(ask))
            except (OSError, WebSocketException):
                log.warning("the kill key's own connection is gone", exc_info=True)
                return False
            return True

    def forget(self) -> None:
        """Answers that nobody waits for only take room."""
        with self._one, contextlib.suppress(OSError, WebSocketException):  # a TimeoutError is an OSError: there are no more
            while True:
                self._connection.recv(timeout=0)

    def receive(self, within_s: float) -> Answer | Frame | Goodbye | Welcome:
        """The next message. Raises as the handshake does."""
        message: Answer | Frame | Goodbye | Welcome = decode_to_console(self._connection.recv(within_s, decode=False))
        return message

    def close(self) -> None:
        """Ends it without waiting: the engine hears of it, and it is nobody's loss."""
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, WebSocketException):
            self._open.close()


def hotline(path: Path) -> Hotline | None:
    """None, with a line in the log, where it cannot be had: the kill key then goes the usual way."""
    try:
        return Hotline(path)
    except (OSError, TimeoutError, ValueError, WebSocketException):
        log.warning("the kill key has no connection of its own", exc_info=True)
        return None
