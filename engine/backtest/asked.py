"""Bars in; the opinions that the language model has of them, asked at a cadence and kept for ever, out.

The table of a question holds no date, price or symbol, so the same minutes are asked once: answers are kept in one SQLite file by
a hash over the model's digest, the template and the table. A run that was ended goes on where it was. What bars cannot know (the
book, the flow of trades, other venues) is left out of the table.
"""

import asyncio
import contextlib
import hashlib
import math
import sqlite3
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.backtest import judges
from engine.backtest.loop import Judgments
from engine.backtest.series import Series
from engine.config import Settings
from engine.errors import DataError
from engine.events import Bar, Features, Stance
from engine.fills import half_spread
from engine.judgment import AnswerError, prompt, record
from engine.judgment.answer import decode
from engine.judgment.stance import Question, made
from engine.model import Found, Ollama
from engine.processor.features import spread_bps, volatility_bps

MINUTE_MS, NS_PER_MS = 60_000, 1_000_000
FILE = "answers.sqlite"
NEEDED = prompt.NEEDED  # minutes before the first question
BEHIND = prompt.LONGEST * prompt.MINUTES[-1]  # minutes that a table reads
LOOK_S = 0.1
TRIES = 3  # of one question, where the server fails

Told = Callable[[int, int, float], bool]
Tables = Generator[tuple[int, str, Question, Features], None, None]


class Asked(NamedTuple):
    """`answered` of `questions` have an opinion; `dropped` answers could not be used. `model` is its name and digest."""

    judgments: Judgments
    model: str
    questions: int
    answered: int
    dropped: int


class Answers:
    """What was answered, by hash, in the file at `path`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = sqlite3.connect(path, timeout=10.0)
        self._store.execute("CREATE TABLE IF NOT EXISTS answers (hash TEXT PRIMARY KEY, model TEXT, text TEXT, ms INTEGER)")
        path.chmod(0o600)

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    def get(self, key: str) -> tuple[str, int] | None:
        row = self._store.execute("SELECT text, ms FROM answers WHERE hash = ?", (key,)).fetchone()
        return (str(row[0]), int(row[1])) if row is not None else None

    def put(self, key: str, model: str, text: str, ms: int) -> None:
        with self._store:
            self._store.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, model, text, ms))

    def usual_ms(self, model: str) -> float:
        """What an answer of the model takes, 0 where it is not known."""
        rows = self._store.execute("SELECT ms FROM answers WHERE model = ? ORDER BY rowid DESC LIMIT 50", (model,)).fetchall()
        return float(statistics.median(ms for (ms,) in rows)) if rows else 0.0


async def by_model(
    series: Series,
    settings: Settings,
    spread: float,
    every_min: int,
    path: Path,
    latency_ms: float | None = None,
    told: Told | None = None,
) -> Asked | None:
    """The model's opinion every so many minutes. `latency_ms` None: each takes effect after what its answer took.

    `told` hears before each question how many are answered, of how many, and seconds that the rest will take (0: not known); it
    ends the asking by False, which gives None and keeps what was answered. Raises DataError where no model can be asked, or the
    bars are not minutes.
    """
    if series.timeframe_ms != MINUTE_MS:
        raise DataError("model", "it is asked about minutes, and these bars are longer or shorter", "bars of 1m")
    client = Ollama(settings.judgment)
    try:
        with Answers(path) as kept:
            try:
                found = await client.find(settings.judgment.model)
                return await _ask(client, found, series, settings, spread, every_min, kept, latency_ms, told)
            except AnswerError as problem:
                raise DataError("model", str(problem), "a model that answers: see `barter-tui doctor`") from None
            except sqlite3.Error as problem:
                raise DataError(str(path), f"the answers cannot be kept ({problem})", "a file that can be written") from None
    finally:
        await client.close()


async def _ask(
    client: Ollama,
    found: Found,
    series: Series,
    settings: Settings,
    spread: float,
    every_min: int,
    kept: Answers,
    latency_ms: float | None,
    told: Told | None,
) -> Asked | None:
    places = range(NEEDED - 1, len(series), every_min)
    rows: list[tuple[float, ...]] = []
    done = dropped = 0
    with contextlib.closing(_tables(series, settings, spread, places)) as tables:
        for at, table, question, features in tables:
            key = hashlib.sha256("\n".join((found.digest, prompt.TEMPLATE, table)).encode()).hexdigest()
            known = kept.get(key)
            left_s = (len(places) - done) * kept.usual_ms(found.digest) / 1000 if known is None else 0.0
            if told is not None and not told(done, len(places), left_s):
                return None
            if known is None:
                known = await _answer(client, found, table, settings, told, done, len(places))
                if known is None:
                    return None
                kept.put(key, found.digest, *known)
            done += 1
            delay_ms = known[1] if latency_ms is None else latency_ms
            stance = _stance(known[0], question, features, series, at, delay_ms, found.name, settings)
            if stance is None:
                dropped += 1
            else:
                rows.append(judges.row(stance, stance.made_at, stance.invalid_bps))
    return Asked(judges.columns(rows), f"{found.name} ({found.digest[:12]})", len(places), done - dropped, dropped)


async def _answer(
    client: Ollama, found: Found, table: str, settings: Settings, told: Told | None, done: int, of: int
) -> tuple[str, int] | None:
    """Its text and how long it took; None where the asking was ended meanwhile. Raises AnswerError."""
    for attempt in range(TRIES):
        started = time.monotonic()
        work = asyncio.create_task(client.answer(found.name, table, lambda _: None))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=LOOK_S)
                if told is not None and not told(done, of, 0.0):
                    return None
                if time.monotonic() - started > settings.judgment.deadline_s + LOOK_S:
                    raise AnswerError("silent", f"no whole answer came within {settings.judgment.deadline_s:g} s")
            return work.result().text, round((time.monotonic() - started) * 1000)
        except AnswerError:
            if attempt == TRIES - 1:
                raise
            await asyncio.sleep(1.0)
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    return None


def _tables(series: Series, settings: Settings, spread: float, places: range) -> Tables:
    """Of each question: its bar, its table, and what code knows beside it."""
    tick, windows = float(series.contract.tick), settings.features
    columns = [getattr(series, name).tolist() for name in ("open_ms", "open", "high", "low", "close", "volume")]
    nothing = msgspec.structs.fields(Features)[:19]
    for at in places:
        first = max(0, at + 1 - BEHIND)
        recent = zip(*(column[first : at + 1] for column in columns), strict=True)
        minutes = [Bar("", MINUTE_MS, open_ms, o, h, low, c, v, 1) for open_ms, o, h, low, c, v in recent]
        rows = prompt.rows(minutes)
        close = columns[4][at]
        half = half_spread(close, spread)
        width = spread_bps(float(close - half), float(close + half))
        cost = 2e4 * float(series.contract.taker) + (0.0 if math.isnan(width) else width)
        table = prompt.Table(rows, 0.0, cost, math.nan, math.nan, math.nan, math.nan, math.nan, width)
        volatility = volatility_bps(
            [float(bar.close) for bar in minutes[-windows.volatility_bars - 1 :]], windows.volatility_bars
        )
        known = {"close": close * tick, "volatility_bps": volatility, "spread_bps": width}
        features = Features(*(known.get(field.name, math.nan) for field in nothing))
        at_ns = (columns[0][at] + MINUTE_MS) * NS_PER_MS
        price = close * tick
        question = Question(f"q{at}", at_ns, price, rows[0].atr_bps * price / 1e4, volatility, 0, 0, 0.5, cost)
        yield at, prompt.text(table), question, features


def _stance(
    text: str, question: Question, features: Features, series: Series, at: int, delay_ms: float, name: str, settings: Settings
) -> Stance | None:
    """The stance that code makes of an answer, as it does live; None of one that cannot be used."""
    try:
        opinion = decode(text)
    except AnswerError:
        return None
    after = min(at + math.ceil(delay_ms / MINUTE_MS), len(series) - 1)  # the price that it meets
    price = float(series.close[after]) * float(series.contract.tick)
    made_at = question.at + round(delay_ms * NS_PER_MS)
    chance, market = record.clamp(opinion.chance_up), series.contract.symbol
    return made(opinion, question, market, made_at, price, features, chance, 1.0, 0, 0.0, name, settings.judgment, None)
