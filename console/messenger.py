"""Sentences in; messages to the phone, the desktop or a webhook out, through the library apprise, in a thread of its own.

Where they go is a secret: it comes from the environment, and is in no sentence, no log and no file of ours.
"""

import contextlib
import importlib
import logging
import queue
import threading
from collections.abc import Callable, MutableMapping

VARIABLE = "BARTER_ALERT_URLS"
WAITING = 20  # messages; beyond, the newest are dropped and counted
LOUD = ("apprise", "urllib3", "requests")  # what they log has addresses in it


def addresses(environ: MutableMapping[str, str]) -> tuple[str, ...]:
    """What the variable names, separated by blanks. It is taken out of the environment, so that no child inherits it."""
    return tuple(environ.pop(VARIABLE, "").split())


class Messenger:
    """`told` gets a sentence when messages cannot be sent, from the thread, once until one was sent again."""

    def __init__(self, urls: tuple[str, ...], told: Callable[[str], None]) -> None:
        self._urls, self._told = urls, told
        self._waiting: queue.Queue[str] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None
        self._failed = False
        self.dropped = 0

    def send(self, text: str) -> None:
        """Returns at once."""
        if not self._urls:
            return
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self.dropped += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="messages", daemon=True)  # the end does not wait for it
            self._thread.start()

    def _run(self) -> None:
        while True:
            lines = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    lines.append(self._waiting.get_nowait())
            problem = post(self._urls, "\n".join(lines))
            if problem and not self._failed:
                self._told(f"An alert was not sent out: {problem}. It is said here all the same.")
            self._failed = bool(problem)


def post(urls: tuple[str, ...], text: str) -> str:
    """Why it was not sent, "" when it was. Blocks."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        apprise = importlib.import_module("apprise")
    except ImportError:
        return "the library apprise is not installed (pip install 'barter-tui[alerts]')"
    try:
        sender = apprise.Apprise()
        wrong = [str(place) for place, url in enumerate(urls, start=1) if not sender.add(url)]
        if wrong:
            return f"apprise does not understand address {', '.join(wrong)} of {len(urls)} in {VARIABLE}"
        return "" if sender.notify(body=text, title="barter-tui") else f"an address in {VARIABLE} did not take it"
    except Exception as problem:  # whatever a plugin raises may have the address in it
        return f"apprise failed ({type(problem).__name__})"
