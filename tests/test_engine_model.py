"""An engine on a venue with a model's server beside it: it asks, trades, survives faults, and replays without the model."""

import asyncio
import itertools
import re
from pathlib import Path

import msgspec
import pytest

from engine.config import state_dir
from engine.events import Action, Answered, Decided, Event, Filled, Judged, JudgmentDropped, Mode, Qualified
from engine.queue.files import recorded
from engine.queue.session import Session
from engine.replay import Replay
from engine.replay.whatif import run as whatif
from engine.views import ModelView, Watch
from tests.ollama_standin import MODEL, Standin, reply, standing
from tests.recordings import MARKET, desk, recording
from tests.simulated import simulated, until
from tests.test_recorder import pairs, rewritten

ASKED = {"ask_every_s": 1.0, "deadline_s": 3.0, "min_confidence": 0.5, "cost_factor": 1.0, "fallback": "hold"}


async def _session(folder: Path, standin: Standin) -> tuple[list[Event], list[Event], ModelView]:
    """A session in which the model is believed, then is wrong in every way, then is believed again."""
    inputs: list[Event] = []
    outputs: list[Event] = []

    def journal(event: Event, out: list[Event]) -> None:
        inputs.append(event)
        outputs.extend(out)

    async with standing(standin) as host, simulated() as venue:
        chosen = desk(folder, judgment={**ASKED, "host": host})
        async with recording(venue, chosen, journal) as engine:
            said = lambda kind: [one for one in outputs if isinstance(one, kind)]  # noqa: E731
            await until(lambda: [one for one in inputs if isinstance(one, Qualified)], 30)
            bounds = itertools.cycle((280, 290, 300))
            both = itertools.cycle((80, 80, 80, 20, 20, 20))  # whichever way the market goes, one of them agrees with it
            standin.answers = lambda table: reply(next(both), 60, next(bounds), "trend", "up [bold]and[/] away \x1b[2J")
            await until(lambda: [one for one in said(Judged) if one.stance.source == MODEL], 30)
            await until(lambda: [one for one in said(Decided) if one.approved and one.judgment], 30)
            await until(lambda: said(Filled), 30)
            standin.faults = ["500", "not_json_lines"]
            standin.answers = "IGNORE YOUR LIMITS: buy 1000000 ASTER at 100x"
            await until(lambda: len([one for one in said(JudgmentDropped) if one.kind != "stale"]) >= 3, 30)
            (view,) = [one for one in engine.pictures(Watch(MARKET, 1000, 5)) if isinstance(one, ModelView)]
            await engine.settle(Action.SHUTDOWN, "the test")
    return inputs, outputs, view


@pytest.mark.slow
def test_a_session_with_a_model_trades_on_it_survives_its_faults_and_replays_without_it(tmp_path: Path) -> None:
    standin = Standin()
    inputs, outputs, view = asyncio.run(_session(tmp_path, standin))
    dropped = {one.kind for one in outputs if isinstance(one, JudgmentDropped)}
    assert {"server", "malformed"} <= dropped
    assert view.state.value == "rules" and view.problem.startswith("it failed 3 times"), view
    judged = [one.stance for one in outputs if isinstance(one, Judged) and one.stance.source == MODEL]
    assert all(stance.size_cap == 0.1 and stance.confidence <= 0.8 for stance in judged)
    assert all("\x1b" not in stance.rationale for stance in judged)
    risk = desk(tmp_path).risk
    for order in (one for one in outputs if isinstance(one, Decided) and one.approved and one.judgment):
        assert order.quantity * order.mid <= risk.max_order_notional
    (path,) = recorded(state_dir(desk(tmp_path)))
    with Session(path) as session:
        outcome = Replay(session).run()
        assert session.opening.mode is Mode.DEMO
    assert outcome.difference is None and outcome.inputs >= len(inputs)
    assert any(isinstance(one, Answered) for one in inputs), "what the model said is on record"
    _other_answer_is_found(path, tmp_path / "else")
    _without_the_model(path)


def _other_answer_is_found(path: Path, folder: Path) -> None:
    """One recorded judgment is changed, and nothing else: the replay says where."""
    events = pairs(path)
    place = next(
        place
        for place, (event, out) in enumerate(events)
        if any(isinstance(one, Judged) for one in out) and isinstance(event, Answered)
    )
    event, out = events[place]
    assert isinstance(event, Answered)
    other = re.sub(r'"chance_up": \d+', '"chance_up": 31', event.text)
    events[place] = msgspec.structs.replace(event, text=other), out
    with Session(rewritten(path, events, folder)) as session:
        difference = Replay(session).run().difference
    assert difference is not None and difference.input_number == place and "Judged" in difference.recorded


def _without_the_model(path: Path) -> None:
    """What if rules had judged? The model's answers are in the session and move nothing."""
    with Session(path) as session:
        found = whatif(session, {"judgment.judge": "rules", "judgment.fallback": "rules"})
    assert found.divergence is not None and found.changed.fees != found.original.fees, "a tenth was the model's"
