"""A session in, one file for whoever looks into an incident out: what ran, what it did, what it logged, what it looked like.

Nothing in it opens an account: the session holds no key, and from every text go the credentials that are in the environment and
the name of the home folder.
"""

import asyncio
import contextlib
import html
import importlib.metadata
import os
import platform
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec

from console import format as show
from engine import __version__
from engine.config import RESERVED
from engine.errors import BarterError, ConfigError, SessionError
from engine.events import BarClosed, BookDelta, BookSnapshot, FeaturesReady, Kline, Mark, Quote, Started, Tick, Trade
from engine.keychain import written_keys
from engine.queue import Closing
from engine.queue.export import Progress, coming, lines
from engine.queue.session import Session
from engine.secret import written_secret

LAST_S = 600.0  # of the market's data
LOG_BYTES = 1_000_000  # the newest of each log
SCREEN = (160, 50)
NS = 1_000_000_000
BEFORE_END_NS = 2 * NS  # at its very end an engine has left its venues: the screen shows nothing but that
SHOWN_WITHIN_S = 60.0
SHORTEST_SECRET = 6
MOMENTS = "12:03:04 (UTC), +90 from the start, -1:30 before the end, or 50%"
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASS|CREDENTIAL", re.IGNORECASE)
_FONTS = re.compile(r"@font-face\s*\{[^}]*\}")
_USER_OF_URL = re.compile(r"(?<=://)[^/\s\"']+@")  # also where a password holds an @
# In logs alone: whoever bundles may have another environment than the engine had. What is quoted goes up to its quote.
_LABELLED = re.compile(
    r"((?:api[_-]?key|private[_-]?key|x-mbx-apikey|ok-access-(?:key|sign|passphrase)|\bsign|secret(?:[_-]?(?:access[_-]?)?key)?"
    r"|passphrase|password|signature|listen_?key|token)\b\\?[\"']?\s*(?:=>|[=:])\s*b?)"
    r"(?:(\\?[\"'])(?:(?!\2)(?:\\.|.))+|[^\s\"'\\,&;)]+)",
    re.IGNORECASE,
)
# Whatever its scheme is called, and however many words or cookies follow.
_HEADER = re.compile(r"(\b(?:authorization|cookie)\b\\?[\"']?\s*[=:]\s*b?\\?[\"']?)[^\r\n\"'\\,)]+", re.IGNORECASE)
# The market's own data, of which only the newest are wanted; everything else is about money and decisions.
MARKET: tuple[type, ...] = (BookDelta, BookSnapshot, Quote, Trade, Kline, Mark, BarClosed, FeaturesReady, Tick)
_MARKET_NAMES = frozenset(kind.__name__ for kind in MARKET)
README = """An incident bundle of barter-tui, of one session.

session.json   what the session is: its mode, markets, versions, beginning and end
settings.json  what it ran with
verify.txt     whether its file is whole
versions.json  what made this bundle
journal.jsonl  every record of money and decisions, and the newest of everything else: an event a line
logs/          the newest of what its processes logged
screen.svg     the screen {when}

`number` in the journal is that of the input; prices are ticks and sizes steps of the market's Instrument line.
"""


class Bundled(msgspec.Struct, frozen=True):
    """How many lines the journal has, and what is wrong with the session, "" if nothing is."""

    lines: int
    problem: str


def redactor(environ: Mapping[str, str], home: Path, more: Iterable[str] = ()) -> Callable[[str], str]:
    """Takes credentials of the environment and `more` of them, also as JSON, SVG and addresses write them, and those within an
    address out of a text, and the home folder's name.
    """
    wanted = {value.strip() for name, value in environ.items() if name in RESERVED or _SECRET.search(name)} | set(more)
    secrets = sorted({form for value in wanted if len(value) >= SHORTEST_SECRET for form in _forms(value)}, key=len, reverse=True)
    # `/place/me` is not the beginning of `/place/melanie`
    home_alone = re.compile(re.escape(str(home)) + r"(?![\w-])") if len(home.parts) > 1 else None

    def redacted(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "[redacted]")
        text = _USER_OF_URL.sub("[redacted]@", text)
        return home_alone.sub("~", text) if home_alone is not None else text

    return redacted


def _forms(secret: str) -> set[str]:
    escaped = html.escape(secret)
    in_json = msgspec.json.encode(secret).decode()[1:-1]
    return {secret, in_json, escaped, escaped.replace(" ", "&#160;"), quote(secret, safe=""), quote_plus(secret)}


def bundle(
    session: Session, folder: Path, to: Path, last_s: float = LAST_S, progress: Progress = lambda _: None, at: str = ""
) -> Bundled:
    """Write it. `folder` is the state folder, whose logs go in. `at` is the screen's moment, as on the replay's screen but
    reckoned from the session's ends; "" is just before its end. Raises SessionError, and ConfigError for a moment that is none.

    Of a damaged session there is in it what lies before the damage. The file stands there only when all of it is written.
    """
    redacted = redactor(os.environ, Path.home(), [written_secret(), *written_keys(os.environ, folder)])
    verified, problem, newest_ns = _verified(session)
    shown_ns = _shown_ns(session, newest_ns, at) if at else None
    with coming(to) as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as out:
        when = "just before its end" if shown_ns is None else f"at {show.date(shown_ns)} UTC"
        out.writestr("README.txt", README.format(when=when))
        for name, text in _facts(session, verified):
            out.writestr(name, redacted(text))
        for path in sorted(folder.glob("*.log*")):
            out.writestr(f"logs/{path.name}", _unlabelled(redacted(_tail(path))))
        count = _journal(session, out, newest_ns - int(last_s * 1e9), redacted, progress)
        out.writestr("screen.svg", redacted(_screen(session, shown_ns)))
    return Bundled(count, problem)


def _facts(session: Session, verified: str) -> Iterator[tuple[str, str]]:
    yield "session.json", _json({"opening": session.opening, "closing": _closing(session), "condensed": session.condensed})
    yield "settings.json", _settings(session)
    yield "verify.txt", verified
    packages = {one.metadata["Name"]: one.version for one in importlib.metadata.distributions() if one.metadata["Name"]}
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "versions.json", _json({"barter-tui": __version__, "python": sys.version, "system": system, "packages": packages})


def _verified(session: Session) -> tuple[str, str, int]:
    """Whether it is whole in words, what is wrong with it or "", and the time of the newest that can be read (ns UTC)."""
    gone, began = session.condensed, session.opening.started_ns
    try:
        if gone is not None:
            count = sum(1 for _ in session.kept())
            return f"verified: {count} kept records; its market data were removed, its head was {gone.head}\n", "", began
        found = session.verify("")
        closing = session.closing
    except SessionError as problem:
        text = f"{problem}\nThe journal ends there.\n"
        return text, str(problem), began if gone is not None else _newest(session, 0)
    text = f"verified: {found.chunks} chunks, {found.inputs} inputs, {found.outputs} outputs; head {found.head}\n"
    if closing is None:
        text += "It was cut off: its engine was killed, or still runs.\n"
        return text, "", _newest(session, max(found.inputs - 1, 0))
    return text, "", closing.ended_ns


def _newest(session: Session, first: int) -> int:
    last = session.opening.started_ns
    with contextlib.suppress(SessionError):
        for chunk in session.chunks(first):
            last = chunk.inputs[-1].at
    return last


def _shown_ns(session: Session, newest_ns: int, at: str) -> int:
    from console.screens.replay import moment

    if session.condensed is not None:
        raise SessionError(str(session.path), "its market data were removed: there is no screen to show at any time")
    closing, started_ns = _closing(session), session.opening.started_ns
    ends_ns = newest_ns if closing is None else closing.ended_ns
    found = moment(at, started_ns if at.startswith("+") else ends_ns, started_ns, ends_ns)
    if found is None:
        raise ConfigError("command line", f"--at {at}", "it is not a time", MOMENTS)
    if not started_ns // NS * NS <= found <= ends_ns:
        span = f"a time from {show.date(started_ns)} to {show.date(ends_ns)} UTC"
        raise ConfigError("command line", f"--at {at}", "the session does not hold that time", span)
    return found


def _closing(session: Session) -> Closing | None:
    with contextlib.suppress(SessionError):
        return session.closing
    return None


def _settings(session: Session) -> str:
    with contextlib.suppress(SessionError):
        for line in lines(session):
            if line["type"] == Started.__name__:
                text: str = line["event"]["settings"]
                return msgspec.json.format(text.encode()).decode()
    return "{}"


def _json(facts: object) -> str:
    return msgspec.json.format(msgspec.json.encode(facts)).decode()


def _unlabelled(log: str) -> str:
    return _LABELLED.sub(r"\1\2[redacted]", _HEADER.sub(r"\1[redacted]", log))


def _tail(path: Path) -> str:
    """Whole lines: half of a credential is not found by who looks for all of it."""
    try:
        with path.open("rb") as file:
            older = max(path.stat().st_size - LOG_BYTES, 0)
            file.seek(older)
            text = file.read(LOG_BYTES)
            return (text.partition(b"\n")[2] if older else text).decode("utf-8", "replace")
    except OSError as problem:
        return f"(it cannot be read: {problem.strerror})\n"


def _journal(session: Session, out: zipfile.ZipFile, since: int, redacted: Callable[[str], str], progress: Progress) -> int:
    """Up to where it is damaged, if it is: `verify.txt` says so."""
    count = 0
    with out.open("journal.jsonl", "w", force_zip64=True) as file, contextlib.suppress(SessionError):
        for line in lines(session, progress):
            if line["type"] not in _MARKET_NAMES or line["event"]["at"] >= since:
                file.write(redacted(msgspec.json.encode(line).decode()).encode() + b"\n")
                count += 1
    return count


def _screen(session: Session, shown_ns: int | None) -> str:
    """The replay's screen then, or just before the session's end, as SVG; a picture of the reason where there is none."""
    if session.condensed is not None:
        return _sentence("Its market data were removed: there is nothing to show.")
    try:
        return asyncio.run(asyncio.wait_for(_drawn(session, shown_ns), SHOWN_WITHIN_S))
    except (BarterError, TimeoutError) as problem:
        return _sentence(f"The screen could not be drawn: {problem or 'it took too long'}")


async def _drawn(session: Session, shown_ns: int | None) -> str:
    from console.app import Console
    from console.link import memory_link
    from console.replay import consoles
    from engine.replay.playback import Playback
    from engine.replay.player import Player
    from engine.views import StatusView

    player = Player(session)
    for _ in player.seek(player.place_of(player.ends_ns - BEFORE_END_NS if shown_ns is None else shown_ns)):
        await asyncio.sleep(0)
    playback = Playback(player)
    console = Console(memory_link(lambda: consoles(playback)), playback=playback)
    try:
        async with console.run_test(size=SCREEN) as pilot:
            while (status := console.desk.get(StatusView, "")) is None or status.at < player.at:
                await pilot.pause(0.02)
            await pilot.pause(0.3)
            drawn = console.export_screenshot(title=f"session {session.opening.session}")
            return _FONTS.sub("", drawn)  # whoever looks at it asks nobody on the network for them
    finally:
        await console.link.close()


def _sentence(text: str) -> str:
    plain = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="60"><text x="10" y="35">{plain}</text></svg>'
