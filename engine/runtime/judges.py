"""Questions of the core in; answers of models, and of judges that a user wrote, back as events.

Each judge is asked one question at a time and the newest wins: a server would only queue them. Two on one server take turns.
"""

import asyncio
import hashlib
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from engine.clock import Clock
from engine.config import Settings
from engine.errors import ConfigError
from engine.events import (
    Alert,
    AnswerDone,
    Answered,
    AnswerFailed,
    AskJudgment,
    Emit,
    Event,
    JudgmentScored,
    Level,
    ModelChanged,
    ModelState,
    Qualified,
    TrackRecord,
)
from engine.judgment import AsyncJudge
from engine.judgment.answer import AnswerError, Opinion, clean, committed, decode, rationale
from engine.judgment.prompt import TEMPLATE, text
from engine.judgment.qualify import STRENGTHS, market
from engine.judgment.record import Record
from engine.model import Found, Ollama, Whole, on_this_machine
from engine.runtime.supervise import Supervisor
from engine.whole import write_whole

SEEK_S = 5.0  # between two looks for a server that is not there
HEALTH_S = 15.0
WRITE_EVERY_S = 5.0
QUALIFYING_TOKENS = 64  # free white space included, which grammars allow
LATE_FACTOR = 2.0  # times the usual: the screen says late
KEPT = 4096  # characters of an answer in the journal
RULES = "rules"


class Kept(msgspec.Struct):
    """What outlives a session about one model: its test and its record."""

    answers: tuple[int, ...] = ()
    record: Record | None = None


class Judges:
    """`start` what the settings want; `ask`, `warm` and `scored` carry out what the core puts out."""

    def __init__(self, settings: Settings, folder: Path, clock: Clock, emit: Emit, simulated: bool) -> None:
        wanted = settings.judgment
        self.asked: dict[str, _Asked] = {}
        turn = asyncio.Lock()
        keep = _Keep(folder.parent / "judges", simulated)
        if ":" in wanted.judge:
            self.asked["model"] = _Asked("model", settings, clock, emit, turn, keep, own(wanted.judge))
        elif wanted.judge != RULES:
            self.asked["model"] = _Asked("model", settings, clock, emit, turn, keep, None)
        if wanted.shadow and wanted.judge != RULES:
            self.asked["shadow"] = _Asked("shadow", settings, clock, emit, turn, keep, None)
        self._emit, self._clock, self._keep = emit, clock, keep
        self._remote = bool(self.asked) and ":" not in wanted.judge and not on_this_machine(wanted.host)
        self._host = wanted.host

    def start(self, tasks: Supervisor) -> None:
        if self._remote:
            text = f"The model's server {self._host} is another machine: whoever runs it reads and answers."
            self._emit(Alert(self._clock.now_ns(), Level.WARNING, text), time.monotonic_ns())
        for by, judge in self.asked.items():
            tasks.keep("the model" if by == "model" else "the shadow model", judge.run)

    def ask(self, question: AskJudgment) -> None:
        for judge in self.asked.values():
            judge.ask(question)

    def warm(self, by: str) -> None:
        if by in self.asked:
            self.asked[by].wake_up()

    def scored(self, event: JudgmentScored) -> None:
        judge = self.asked.get(event.by)
        if judge is not None and judge.found is not None:
            judge.kept(self._keep.scored(judge.found.digest, event.record))

    def close(self) -> None:
        self._keep.flush()

    def writing(self, by: str = "model") -> tuple[str, float, ModelState | None]:
        """What the judge writes now, for how long it has, and THINKING or LATE while it does."""
        judge = self.asked.get(by)
        if judge is None or not judge.since:
            return "", 0.0, None
        seconds = time.monotonic() - judge.since
        usual = judge.usual_s
        late = usual and seconds > LATE_FACTOR * usual
        return rationale(judge.text), seconds, ModelState.LATE if late else ModelState.THINKING


def own(path: str) -> AsyncJudge:
    """The judge that a user wrote. Raises ConfigError that names what is wrong with it."""
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    try:
        if here not in sys.path:
            sys.path.insert(0, here)  # the command's own folder comes first otherwise
        made = getattr(importlib.import_module(module), name)()
    except Exception as problem:
        said = clean(f"{type(problem).__name__}: {problem}")
        raise ConfigError("judgment.judge", path, f"the judge cannot be made ({said})", "a class without parameters") from None
    if not asyncio.iscoroutinefunction(getattr(made, "answer", None)):
        raise ConfigError("judgment.judge", path, "it has no `async def answer(self, question, wrote)`", "an AsyncJudge")
    judge: AsyncJudge = made
    return judge


class _Keep:
    """Files about models, shared by all modes: one a model, template and kind of market. A lost one costs no money."""

    def __init__(self, folder: Path, simulated: bool) -> None:
        self._folder, self._simulated = folder, simulated
        self._dirty: dict[str, str] = {}
        self._written = 0.0

    def _path(self, digest: str) -> Path:
        name = hashlib.sha256(f"{digest} {TEMPLATE} {'simulated' if self._simulated else 'real'}".encode()).hexdigest()[:24]
        return self._folder / f"{name}.json"

    def load(self, digest: str) -> Kept:
        try:
            return msgspec.json.decode(self._path(digest).read_bytes(), type=Kept)
        except (OSError, ValueError, RecursionError):
            return Kept()

    def qualified(self, digest: str, answers: tuple[int, ...]) -> str:
        """Returns what went wrong, as do the others."""
        kept = self.load(digest)
        kept.answers = answers
        return self._write(digest, kept)

    def scored(self, digest: str, record: str) -> str:
        self._dirty[digest] = record
        return self.flush() if time.monotonic() - self._written > WRITE_EVERY_S else ""

    def flush(self) -> str:
        self._written = time.monotonic()
        problem = ""
        for digest, record in self._dirty.items():
            kept = self.load(digest)
            kept.record = msgspec.json.decode(record, type=Record)
            problem = self._write(digest, kept) or problem
        self._dirty.clear()
        return problem

    def _write(self, digest: str, kept: Kept) -> str:
        try:
            write_whole(self._path(digest), msgspec.json.encode(kept), durable=False)
        except OSError as problem:
            where = f"{self._folder} ({problem.strerror})"
            return f"What is known of the model cannot be written to {where}: it is forgotten at the end."
        return ""


class _Asked:
    """One judge: found, warmed, tested, then asked."""

    def __init__(
        self, by: str, settings: Settings, clock: Clock, emit: Emit, turn: asyncio.Lock, keep: _Keep, judge: AsyncJudge | None
    ) -> None:
        self.by, self.settings, self.clock, self._emit = by, settings.judgment, clock, emit
        self.wanted = self.settings.model if by == "model" else self.settings.shadow
        self.judge, self.found = judge, None if judge is None else _found(self.settings.judge, judge)
        self.text, self.since, self.times = "", 0.0, [0.0]
        self._turn, self._keep = turn, keep
        self._waiting: dict[str, AskJudgment] = {}  # the newest of each market
        self._wake = asyncio.Event()
        self._warm = False
        self._told: tuple[Any, ...] = ()
        self._unkept = False

    @property
    def usual_s(self) -> float:
        return sorted(self.times)[len(self.times) // 2]

    def ask(self, question: AskJudgment) -> None:
        before = self._waiting.pop(question.market, None)
        self._waiting[question.market] = question
        if before is not None:
            self._failed(before, AnswerError("superseded", "a newer question took its place"))
        self._wake.set()

    def wake_up(self) -> None:
        self._warm = True
        self._wake.set()

    async def run(self) -> None:
        """Until the end: a server that goes is looked for again."""
        server = Ollama(self.settings) if self.judge is None else None
        try:
            self._change(ModelState.STARTING, "")
            while True:
                try:
                    await self._serve(server)
                except AnswerError as problem:
                    self._drop_waiting(problem)
                    self._change(ModelState.OFF, str(problem))
                    await asyncio.sleep(SEEK_S)
        finally:
            if server is not None:
                await server.close()

    async def _serve(self, server: Ollama | None) -> None:
        """Raises AnswerError when the server cannot be used any more."""
        if server is not None:
            await self._prepare(server)
        else:
            assert self.found is not None
            self._change(ModelState.READY, "")
            self._remember(self.found)
            self._tell(Qualified(self._now(), self.by, self.found.digest, TEMPLATE, (), False))
        while True:
            self._wake.clear()
            if not self._waiting and not self._warm:
                try:
                    async with asyncio.timeout(HEALTH_S):
                        await self._wake.wait()
                except TimeoutError:
                    if server is not None and await self._moved(server):
                        return
                    continue
            if self._warm:
                self._warm = False
                if server is not None:
                    async with self._turn:
                        await self._warm_up(server)
                self._change(ModelState.READY, "", again=True)
            while self._waiting:
                question = self._waiting.pop(next(iter(self._waiting)))
                async with self._turn:
                    if question.market in self._waiting:
                        self._failed(question, AnswerError("superseded", "a newer question took its place"))
                        continue
                    await self._answer(server, question)

    async def _moved(self, server: Ollama) -> bool:
        """Whether another model stands where ours was; then it begins anew."""
        found = await server.find(self.wanted)
        return found != self.found

    async def _prepare(self, server: Ollama) -> None:
        found = await server.find(self.wanted)
        async with self._turn:
            self.found = found
            self._change(ModelState.LOADING, "")
            await self._warm_up(server)
            self._change(ModelState.READY, "")
            kept = self._remember(found)
            answers = kept.answers
            cached = len(answers) == len(STRENGTHS)
            if not cached:
                answers = await self._test(server, found)
                self.kept(self._keep.qualified(found.digest, answers))
        self._tell(Qualified(self._now(), self.by, found.digest, TEMPLATE, answers, cached))

    async def _warm_up(self, server: Ollama) -> None:
        assert self.found is not None
        await server.warm(self.found.name)

    def _remember(self, found: Found) -> Kept:
        kept = self._keep.load(found.digest)
        if kept.record is not None:
            self._tell(TrackRecord(self._now(), self.by, msgspec.json.encode(kept.record).decode()))
        return kept

    async def _test(self, server: Ollama, found: Found) -> tuple[int, ...]:
        """The chances that it gives to mirrored markets, 0 where it gives none."""
        answers = []
        for strength in STRENGTHS:
            written = ""

            def wrote(so_far: str) -> None:
                nonlocal written
                written = so_far

            try:
                async with asyncio.timeout(self.settings.deadline_s):
                    await server.answer(found.name, text(market(strength)), wrote, QUALIFYING_TOKENS)
            except TimeoutError:
                pass  # its deciding part may be there
            except AnswerError as problem:
                if problem.kind in ("refused", "missing", "cut"):
                    raise
            try:
                answers.append(decode(committed(written) or written).chance_up)
            except AnswerError as problem:
                # A market that is quiet and rises for sure is a contradiction and still a direction.
                answers.append(0 if problem.kind != "contradictory" else _chance(written))
        return tuple(answers)

    async def _answer(self, server: Ollama | None, question: AskJudgment) -> None:
        assert self.found is not None
        begun = time.monotonic()
        first = 0.0
        decided = False
        self.text, self.since = "", begun

        def wrote(so_far: str) -> None:
            nonlocal first, decided
            first = first or time.monotonic()
            self.text = so_far
            if not decided and (part := committed(so_far)):
                decided = True
                self._decided(question, part, begun, first)

        try:
            async with asyncio.timeout(self.settings.deadline_s):
                whole = await self._asked(server, question, wrote)
            if not decided and whole.reason != "stop":
                raise AnswerError("cut", "the answer broke off before its deciding part was complete")
            if not decided:  # an answer without "why", or no JSON at all: the core finds out
                decided = True
                self._decided(question, whole.text[:KEPT], begun, first or time.monotonic())
            self._done(question, whole, begun)
        except TimeoutError:
            self._ended(
                question, decided, "late" if first else "silent", f"no answer within {self.settings.deadline_s:g} s", begun
            )
        except AnswerError as problem:
            self._ended(question, decided, problem.kind, str(problem), begun)
            if problem.kind in ("refused", "missing"):
                raise  # it must be found again
        finally:
            self.since = 0.0

    async def _asked(self, server: Ollama | None, question: AskJudgment, wrote: Callable[[str], None]) -> Whole:
        assert self.found is not None
        if server is not None:
            return await server.answer(self.found.name, question.table, wrote)
        assert self.judge is not None
        try:
            opinion = await self.judge.answer(question, wrote)
            if not isinstance(opinion, Opinion):
                raise TypeError(f"it returned a {type(opinion).__name__}, not an Opinion")
        except (TimeoutError, AnswerError):
            raise
        except Exception as problem:
            raise AnswerError("judge", f"the judge failed ({clean(f'{type(problem).__name__}: {problem}')})") from problem
        return Whole(msgspec.json.encode(opinion).decode(), "stop")

    def kept(self, problem: str) -> None:
        """A problem with the files is told once."""
        if problem and not self._unkept:
            self._unkept = True
            self._tell(Alert(self._now(), Level.WARNING, problem))

    # --- telling the core -------------------------------------------------------------------------------------------------

    def _decided(self, question: AskJudgment, part: str, begun: float, first: float) -> None:
        assert self.found is not None
        now = time.monotonic()
        self._tell(
            Answered(
                self._now(),
                question.market,
                question.question,
                self.by,
                part,
                self.found.digest,
                _ms(first - begun),
                _ms(now - begun),
            )
        )

    def _done(self, question: AskJudgment, whole: Whole, begun: float) -> None:
        took = time.monotonic() - begun
        self.times = [*self.times[-14:], took] if self.times != [0.0] else [took]
        self._tell(
            AnswerDone(
                self._now(),
                question.market,
                question.question,
                self.by,
                whole.text[:KEPT],
                whole.reason,
                whole.prompt_tokens,
                whole.answer_tokens,
                whole.load_ms,
                _ms(took),
            )
        )

    def _ended(self, question: AskJudgment, decided: bool, kind: str, reason: str, begun: float) -> None:
        """An answer whose deciding part is there loses its sentence only."""
        if decided:
            self._done(question, Whole(self.text, kind), begun)
        else:
            self._failed(question, AnswerError(kind, reason))

    def _failed(self, question: AskJudgment, problem: AnswerError) -> None:
        self._tell(AnswerFailed(self._now(), question.market, question.question, self.by, problem.kind, str(problem)))

    def _drop_waiting(self, problem: AnswerError) -> None:
        waiting, self._waiting = list(self._waiting.values()), {}
        for question in waiting:
            self._failed(question, problem)

    def _change(self, state: ModelState, reason: str, *, again: bool = False) -> None:
        found = self.found
        name, digest, version = (found.name, found.digest, found.version) if found is not None else (self.wanted, "", "")
        told = (state, name, digest, version, reason)
        if told != self._told or again:
            self._told = told
            self._tell(ModelChanged(self._now(), self.by, state, name, digest, version, reason))

    def _tell(self, event: Event) -> None:
        self._emit(event, time.monotonic_ns())

    def _now(self) -> int:
        return self.clock.now_ns()


def _found(path: str, judge: AsyncJudge) -> Found:
    name = clean(str(getattr(judge, "name", "") or path), 80)
    return Found(name, f"own {path}", "", 0)


def _chance(written: str) -> int:
    try:
        return int(msgspec.json.decode((committed(written) or written).encode()).get("chance_up", 0))
    except (ValueError, AttributeError, TypeError):
        return 0


def _ms(seconds: float) -> int:
    return max(round(seconds * 1000), 0)
