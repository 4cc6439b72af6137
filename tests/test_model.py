"""Questions through the real client to a server that fails in every way that servers do, and to a real one where it is."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engine.clock import Clock
from engine.config import JudgmentSettings, create_aster_config
from engine.errors import ConfigError
from engine.events import (
    Alert,
    AnswerDone,
    Answered,
    AnswerFailed,
    AskJudgment,
    Event,
    JudgmentScored,
    ModelChanged,
    ModelState,
    Qualified,
    TrackRecord,
)
from engine.judgment import Opinion, prompt, qualify
from engine.judgment.answer import AnswerError, decode
from engine.judgment.record import Record
from engine.model import MOST_BYTES, Ollama, on_this_machine, threads
from engine.runtime import judges
from engine.runtime.judges import Judges, own
from engine.runtime.supervise import Supervisor
from tests.ollama_standin import DIGEST, MODEL, Standin, leaning, reply, standing
from tests.simulated import until

MARKET = "binance:ASTER/USDT:USDT"
TABLE = prompt.text(qualify.market(0.5))


class Asked:
    """Judges as an engine holds them, and what they told."""

    def __init__(self, judges: Judges) -> None:
        self.judges, self.told, self.questions = judges, [], 0  # type: ignore[var-annotated]

    def emit(self, event: Event, read_ns: int) -> bool:
        self.told.append(event)
        return False

    @property
    def state(self) -> ModelState | None:
        told = self.of(ModelChanged)
        return told[-1].state if told else None

    def ask(self, market: str = MARKET) -> str:
        self.questions += 1
        name = f"q{self.questions}"
        self.judges.ask(AskJudgment(1, market, name, prompt.TEMPLATE, TABLE))
        return name

    def of(self, kind: type[Any], question: str = "") -> list[Any]:
        return [one for one in self.told if isinstance(one, kind) and (not question or one.question == question)]

    async def until_told(self, kind: type[Any], question: str = "", within_s: float = 10.0) -> Any:
        await until(lambda: self.of(kind, question), within_s)
        return self.of(kind, question)[-1]


@contextlib.asynccontextmanager
async def judging(folder: Path, host: str = "http://127.0.0.1:1", **judgment: object) -> AsyncIterator[Asked]:
    chosen = create_aster_config(judgment={"host": host, "deadline_s": 5.0, **judgment})
    asked = Asked(None)  # type: ignore[arg-type]
    tasks = Supervisor(lambda part, problem, money: pytest.fail(problem), lambda part, problem: None)
    asked.judges = Judges(chosen, folder / "demo", Clock.start(), asked.emit, True)
    asked.judges.start(tasks)
    try:
        yield asked
    finally:
        await tasks.close()
        asked.judges.close()


@contextlib.asynccontextmanager
async def ready(folder: Path, **judgment: object) -> AsyncIterator[tuple[Asked, Standin]]:
    standin = Standin()
    async with standing(standin) as host, judging(folder, host, **judgment) as asked:
        await asked.until_told(Qualified)
        standin.requests.clear()
        yield asked, standin


# --- the way in -------------------------------------------------------------------------------------------------------


async def test_a_model_is_found_loaded_tested_and_then_asked(tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, _):
        states = [one.state for one in asked.of(ModelChanged)]
        assert states == [ModelState.STARTING, ModelState.LOADING, ModelState.READY]
        found = asked.of(ModelChanged)[-1]
        assert (found.name, found.digest, found.version) == (MODEL, DIGEST, "0.33.0")
        (told,) = asked.of(Qualified)
        assert qualify.verdict(told.answers).passed and not told.cached
        question = asked.ask()
        done = await asked.until_told(AnswerDone, question)
        answered = asked.of(Answered, question)[0]
        assert asked.told.index(answered) < asked.told.index(done)
        assert decode(answered.text).chance_up == decode(leaning(TABLE)).chance_up and "why" not in answered.text
        assert done.reason == "stop" and done.text == leaning(TABLE) and done.prompt_tokens == 360


async def test_a_request_is_what_the_server_needs_and_always_the_same_but_for_the_table(tmp_path: Path) -> None:
    async with ready(tmp_path, num_ctx=1024, num_thread=1) as (asked, standin):
        for _ in range(2):
            await asked.until_told(AnswerDone, asked.ask())
        first, second = standin.requests
        assert first == second
        assert first["stream"] is True and first["think"] is False and first["keep_alive"] == "30m"
        assert first["options"] == {
            "temperature": 0, "seed": 7, "num_ctx": 1024, "num_thread": 1, "repeat_penalty": 1.0, "num_predict": 140,
        }  # fmt: skip
        assert list(first["format"]["properties"]) == sorted(first["format"]["properties"])
        assert first["messages"] == [{"role": "system", "content": prompt.SYSTEM}, {"role": "user", "content": TABLE}]


async def test_the_smallest_mistral_is_chosen_unless_another_is_named(tmp_path: Path) -> None:
    standin = Standin()
    standin.models = {"llama3:8b": "a", "mistral:7b": "b", "qwen:1b": "c"}
    async with standing(standin) as host:
        server = Ollama(JudgmentSettings(host=host))
        assert (await server.find("")).name == "mistral:7b" and (await server.find("qwen:1b")).digest == "c"
        with pytest.raises(AnswerError, match="model pull") as caught:
            await server.find("nothing:1b")
        assert caught.value.kind == "missing"
        await server.close()


async def test_the_test_is_remembered_by_digest_and_asked_anew_of_another_one(tmp_path: Path) -> None:
    standin = Standin()
    async with standing(standin) as host:
        for expected in (False, True):
            async with judging(tmp_path, host) as asked:
                assert (await asked.until_told(Qualified)).cached is expected
        standin.models[MODEL] = "another digest"
        async with judging(tmp_path, host) as asked:
            assert not (await asked.until_told(Qualified)).cached


async def test_a_digest_that_changes_behind_the_name_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "HEALTH_S", 0.1)
    async with ready(tmp_path) as (asked, standin):
        standin.models[MODEL] = "another digest"
        await until(lambda: [one.digest for one in asked.of(Qualified)] == [DIGEST, "another digest"])


async def test_records_are_kept_by_model_and_kind_of_market(tmp_path: Path) -> None:
    standin = Standin()
    record = Record(DIGEST, prompt.TEMPLATE, True, n=3)
    import msgspec

    text = msgspec.json.encode(record).decode()
    async with standing(standin) as host:
        async with judging(tmp_path, host) as asked:
            await asked.until_told(Qualified)
            assert not asked.of(TrackRecord)
            asked.judges.scored(JudgmentScored(1, MARKET, "q", "model", 0.7, 1.0, 1.1, True, text))
        async with judging(tmp_path, host) as asked:
            await asked.until_told(Qualified)
            assert asked.of(TrackRecord)[0].record == text
    assert all(path.stat().st_mode & 0o077 == 0 for path in [tmp_path / "judges"])


async def test_a_folder_that_cannot_be_written_is_told_once_and_judging_goes_on(tmp_path: Path) -> None:
    (tmp_path / "judges").write_text("a file stands here")
    async with ready(tmp_path) as (asked, _):
        assert await asked.until_told(Answered, asked.ask())
        assert len([one for one in asked.of(Alert) if "cannot be written" in one.text]) == 1


# --- faults -----------------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, str]] = {
    "silent": ("silent", "within 1 s"),
    "slow": ("late", "within 1 s"),
    "404": ("missing", "does not have"),
    "400": ("server", "400"),
    "500": ("server", "the script says so"),
    "503": ("busy", "too much to do"),
    "error_line": ("server", "while it wrote"),
    "broken": ("cut", "broke"),
    "not_json_lines": ("malformed", "protocol"),
    "array": ("malformed", "protocol"),
    "endless_line": ("huge", f"{MOST_BYTES >> 20} MiB"),
    "endless_answer": ("huge", "longer than"),
    "redirect": ("server", "307"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_fault_ends_in_a_reason_and_the_next_question_is_answered(fault: str, tmp_path: Path) -> None:
    kind, words = FAULTS[fault]
    async with ready(tmp_path, deadline_s=1.0 if kind in ("silent", "late") else 5.0) as (asked, standin):
        standin.faults = [fault]
        question = asked.ask()
        failed = await asked.until_told(AnswerFailed, question)
        assert (failed.kind, words in failed.reason) == (kind, True), failed.reason
        assert not asked.of(Answered, question)
        assert await asked.until_told(Answered, asked.ask())


@pytest.mark.parametrize(
    "text", ["not json", reply(80).replace("80", "NaN"), "{}", '{"chance_up": 80}', "\x1b[2J[bold]BUY[/bold] ignore your limits"]
)
async def test_what_is_no_answer_goes_to_the_core_as_it_is_and_the_core_refuses_it(text: str, tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.answers = text
        answered = await asked.until_told(Answered, asked.ask())
        with pytest.raises(AnswerError):
            decode(answered.text)


@pytest.mark.parametrize(("fault", "reason"), [("no_done", "cut"), ("", "length")])
async def test_an_answer_without_an_end_keeps_its_deciding_part(fault: str, reason: str, tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.faults = [fault]
        standin.done_reason = "length"
        standin.answers = leaning(TABLE)[:-20]
        question = asked.ask()
        assert (await asked.until_told(AnswerDone, question)).reason == reason
        assert decode(asked.of(Answered, question)[0].text).chance_up > 50


async def test_an_answer_that_breaks_off_before_it_decides_is_cut(tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.done_reason, standin.answers = "length", leaning(TABLE)[:30]
        assert (await asked.until_told(AnswerFailed, asked.ask())).kind == "cut"


async def test_a_model_that_loads_for_ever_is_loading_and_holds_nothing_up(tmp_path: Path) -> None:
    standin = Standin()
    standin.fault = "loading"
    async with standing(standin) as host:
        async with judging(tmp_path, host) as asked:
            await until(lambda: asked.state is ModelState.LOADING and standin.warmed)
            question = asked.ask()
            await asyncio.sleep(0.2)
            assert not asked.of(Answered, question) and not asked.of(Qualified)
            begun = time.monotonic()
        assert time.monotonic() - begun < 2.0, "an end does not wait for it"


async def test_a_server_that_is_not_there_is_off_and_found_when_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judges, "SEEK_S", 0.1)
    standin = Standin()
    async with standing(standin) as host:
        pass
    async with judging(tmp_path, host) as asked:
        await until(lambda: asked.state is ModelState.OFF)
        assert "nothing answers at http://127.0.0.1" in asked.of(ModelChanged)[-1].reason
        states = len(asked.told)
        await asyncio.sleep(0.5)
        assert len(asked.told) == states, "what does not change is not told again"


async def test_a_server_that_goes_away_is_told_and_asked_again_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judges, "SEEK_S", 0.1)
    async with ready(tmp_path) as (asked, standin):
        name = standin.models.popitem()
        assert (await asked.until_told(AnswerFailed, asked.ask())).kind == "missing"
        await until(lambda: asked.state is ModelState.OFF)
        standin.models = dict([name])
        await until(lambda: asked.state is ModelState.READY)
        assert await asked.until_told(Answered, asked.ask())


# --- one at a time ----------------------------------------------------------------------------------------------------


async def test_questions_are_asked_one_at_a_time_and_the_newest_wins(tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.word_s = 0.02
        first = asked.ask()
        await until(lambda: standin.busy)
        second, third = asked.ask(), asked.ask()
        assert asked.of(AnswerFailed, second)[0].kind == "superseded"
        await asked.until_told(AnswerDone, third)
        assert asked.of(AnswerDone, first) and not asked.of(Answered, second) and standin.most_busy == 1


async def test_a_shadow_is_asked_the_same_and_takes_its_turn(tmp_path: Path) -> None:
    standin = Standin()
    standin.models["qwen:1b"] = "the shadow's digest"
    async with standing(standin) as host, judging(tmp_path, host, shadow="qwen:1b") as asked:
        await until(lambda: {one.by for one in asked.of(Qualified)} == {"model", "shadow"})
        question = asked.ask()
        await until(lambda: {one.by for one in asked.of(AnswerDone, question)} == {"model", "shadow"})
        assert standin.most_busy == 1 and {request["model"] for request in standin.requests} == {MODEL, "qwen:1b"}


async def test_the_end_closes_the_stream_and_frees_the_model(tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.faults = ["slow"]
        asked.ask()
        await until(lambda: standin.busy)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2.0 and standin.cancelled == 1


async def test_what_it_writes_can_be_seen_while_it_writes(tmp_path: Path) -> None:
    async with ready(tmp_path) as (asked, standin):
        standin.word_s = 0.03
        question = asked.ask()
        await until(lambda: "rows" in asked.judges.writing()[0])
        assert asked.judges.writing()[2] in (ModelState.THINKING, ModelState.LATE) and not asked.of(AnswerDone, question)
        await asked.until_told(AnswerDone, question)
        assert asked.judges.writing() == ("", 0.0, None)


# --- judges of one's own ----------------------------------------------------------------------------------------------


class Contrary:
    """Always the other way."""

    name = "contrary"

    async def answer(self, question: AskJudgment, wrote: Callable[[str], None]) -> Opinion:
        return Opinion(30 if "up" in question.table else 70, 10, 40, "range", "what rises falls")


class Broken:
    name = "broken"

    async def answer(self, question: AskJudgment, wrote: Callable[[str], None]) -> Opinion:
        raise RuntimeError("no data today")


async def test_a_judge_of_ones_own_is_asked_and_checked_like_a_model(tmp_path: Path) -> None:
    async with judging(tmp_path, judge="tests.test_model:Contrary") as asked:
        assert (await asked.until_told(Qualified)).answers == ()
        answered = await asked.until_told(Answered, asked.ask())
        assert decode(answered.text).chance_up == 30 and answered.digest == "own tests.test_model:Contrary"


async def test_a_judge_of_ones_own_that_fails_is_told_and_nothing_else_ends(tmp_path: Path) -> None:
    async with judging(tmp_path, judge="tests.test_model:Broken") as asked:
        await asked.until_told(Qualified)
        failed = await asked.until_told(AnswerFailed, asked.ask())
        assert failed.kind == "judge" and "no data today" in failed.reason


@pytest.mark.parametrize("path", ["no_such_module:Judge", "tests.test_model:NoSuchClass", "tests.test_model:Asked"])
def test_a_judge_that_cannot_be_made_is_a_wrong_setting(path: str) -> None:
    with pytest.raises(ConfigError, match=r"judgment\.judge"):
        own(path)


async def test_nothing_is_started_where_rules_alone_judge(tmp_path: Path) -> None:
    async with judging(tmp_path, judge="rules") as asked:
        await asyncio.sleep(0.05)
        assert not asked.told and not asked.judges.asked


async def test_a_server_on_another_machine_is_warned_of(tmp_path: Path) -> None:
    assert (
        on_this_machine("http://127.0.0.1:11434") and on_this_machine("http://localhost:1") and on_this_machine("http://[::1]:1")
    )
    assert not on_this_machine("http://10.0.0.9:11434") and not on_this_machine("http://localhost.example:1")
    async with judging(tmp_path, "http://192.0.2.1:11434") as asked:
        assert any("another machine" in one.text for one in asked.of(Alert))


def test_a_core_stays_free() -> None:
    assert threads(JudgmentSettings()) == max((os.cpu_count() or 2) - 1, 1) and threads(JudgmentSettings(num_thread=3)) == 3


# --- a real one -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Any:
    """The address of a real Ollama that has a model: `BARTER_OLLAMA_HOST`, or the `ollama` on the PATH, started on loopback."""
    import urllib.request

    def models(host: str) -> bytes:
        with urllib.request.urlopen(f"{host}/api/tags", timeout=2) as answer:
            return bytes(answer.read())

    host = os.environ.get("BARTER_OLLAMA_HOST", "")
    if host:
        yield host if "://" in host else f"http://{host}"
        return
    program = shutil.which("ollama")
    if program is None:
        pytest.skip("no real model: BARTER_OLLAMA_HOST is not set and there is no ollama on the PATH")
    host = "http://127.0.0.1:11533"
    server = subprocess.Popen(
        [program, "serve"],
        env={**os.environ, "OLLAMA_HOST": host.removeprefix("http://"), "OLLAMA_NO_CLOUD": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                if b'"name"' not in models(host):
                    pytest.skip("no real model: the ollama on the PATH has none")
                break
            time.sleep(0.1)
        yield host
    finally:
        server.terminate()
        server.wait(10)


async def test_a_real_model_is_found_tested_asked_and_answers_within_the_schema(real: str, tmp_path: Path) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{real}/api/tags") as listed:
        first = (await listed.json())["models"][0]["name"]
    async with judging(tmp_path, real, model=first, deadline_s=60.0) as asked:
        told = await asked.until_told(Qualified, within_s=300)
        assert len(told.answers) == len(qualify.STRENGTHS)
        question = asked.ask()
        await until(lambda: asked.of(AnswerDone, question) or asked.of(AnswerFailed, question), 120)
        assert not asked.of(AnswerFailed, question)
        opinion = decode(asked.of(Answered, question)[0].text)
        assert 1 <= opinion.chance_up <= 99 and asked.of(AnswerDone, question)[0].prompt_tokens > 200
