"""The core and a model: when it is asked, what its answers may and may not do, when it rests, and how it is scored."""

import json
import math

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core import Core
from engine.core.counterfactual import profit
from engine.core.judging import FAILURES_BEFORE_REST, ONE_SIDED, SAME_ANSWERS
from engine.core.trace import trace
from engine.events import (
    Action,
    Alert,
    AnswerDone,
    Answered,
    AnswerFailed,
    AskJudgment,
    Bar,
    BarHistory,
    Bias,
    Command,
    Decided,
    Event,
    Instrument,
    Judged,
    JudgmentDropped,
    JudgmentScored,
    Mode,
    ModelChanged,
    ModelState,
    OrderAccepted,
    OrderKind,
    OrderReport,
    Purpose,
    Qualified,
    SendOrder,
    StanceEnded,
    Tick,
    TrackRecord,
    WarmModel,
)
from engine.judgment.prompt import TEMPLATE
from engine.judgment.record import Record
from tests.factory import MARKET, MS, Desk, of, sent
from tests.factory import settings as aster_settings
from tests.ollama_standin import reply

DIGEST = "d1"
GOOD = (70, 60, 55, 50, 45, 40, 30)
BLIND = (50,) * 7
MODEL = {"every_bars": 5, "ask_every_s": 10, "min_confidence": 0.55, "max_risk_score": 1.0}


class Judging(Desk):
    """A desk with a model that is ready, qualified unless told otherwise, and has minutes to read."""

    def __init__(self, answers: tuple[int, ...] = GOOD, mode: Mode = Mode.DEMO, model: bool = True, **judgment: object) -> None:
        sections: dict[str, dict[str, object]] = {"judgment": {**MODEL, **judgment}}
        super().__init__(aster_settings(engine={"mode": mode.value}, **sections))
        self.open()
        first = self.at // MS // 60_000 * 60_000 - 200 * 60_000
        # Minutes that rise and fall by some 20 bps: an ATR that pays the costs.
        made = []
        for n in range(200):
            close = 6200 + (12 if n % 2 else -12)
            made.append(Bar(MARKET, 60_000, first + n * 60_000, 6200, 6215, 6185, close, 500, 9))
        bars = self.core.state.markets[MARKET].bars[60_000]
        bars.started = False
        self.feed(BarHistory(self.at, MARKET, 60_000, tuple(made)))
        bars.started = True
        if model:
            self.ready(answers)
        self.arm()
        self.trend(40, 0)

    def ready(self, answers: tuple[int, ...] = GOOD, by: str = "model", digest: str = DIGEST) -> None:
        self.feed(ModelChanged(self.at, by, ModelState.READY, f"{by}:3b", digest, "0.33", ""))
        self.feed(Qualified(self.at, by, digest, TEMPLATE, answers, False))

    def asked(self, within_s: int = 40) -> AskJudgment:
        """Let time pass until the core asks."""
        for _ in range(within_s * 10):
            found = of(self.pass_ms(100), AskJudgment)
            if found:
                (question,) = found
                assert isinstance(question, AskJudgment)
                return question
        raise AssertionError("it did not ask")

    def answer(self, question: AskJudgment, text: str | None = None, by: str = "model", **fields: object) -> list[Event]:
        said = text if text is not None else reply(**fields)  # type: ignore[arg-type]
        return self.feed(Answered(self.at, question.market, question.question, by, said, DIGEST, 800, 1500))

    @property
    def held(self):  # type: ignore[no-untyped-def]
        return self.core.state.markets[MARKET]

    def judge(self, by: str = "model"):  # type: ignore[no-untyped-def]
        return self.core.state.judges[by]


# --- asking -----------------------------------------------------------------------------------------------------------


def test_a_ready_and_tested_model_is_asked_again_and_again() -> None:
    desk = Judging()
    first, second = desk.asked(), desk.asked()
    assert second.at - first.at >= 10_000 * MS and first.question != second.question
    assert first.template == TEMPLATE and first.table.splitlines()[1].startswith("1m move ")


@pytest.mark.parametrize("state", [ModelState.OFF, ModelState.LOADING])
def test_a_model_that_is_not_there_is_not_asked(state: ModelState) -> None:
    desk = Judging(model=False)
    desk.feed(ModelChanged(desk.at, "model", state, "m", DIGEST, "", "nothing answers"))
    assert not of(desk.pass_ms(30_000), AskJudgment)
    assert desk.held.stance.source == "rules"


def test_before_its_test_is_over_a_model_is_not_asked() -> None:
    desk = Judging(model=False)
    desk.feed(ModelChanged(desk.at, "model", ModelState.READY, "m", DIGEST, "", ""))
    assert not of(desk.pass_ms(30_000), AskJudgment)


def test_nothing_is_asked_of_a_book_that_is_not_trusted() -> None:
    desk = Judging()
    desk.asked()
    silent: list[Event] = []
    for _ in range(300):
        desk.at += 100 * MS
        silent += desk.feed(Tick(desk.at))  # and no update of the book
    assert not desk.held.book.trusted and not of(silent, AskJudgment)


def test_a_slow_model_is_asked_less_often() -> None:
    desk = Judging()
    question = desk.asked()
    desk.answer(question)
    desk.feed(AnswerDone(desk.at, MARKET, question.question, "model", reply(), "stop", 300, 60, 0, 20_000))
    assert desk.asked(60).at - question.at >= 40_000 * MS


# --- what an answer does ----------------------------------------------------------------------------------------------


def test_an_answer_is_the_stance_in_force_and_is_traded_at_a_tenth_while_it_is_young() -> None:
    desk, ruled = Judging(), Judging(model=False)
    question = desk.asked()
    (judged,) = of(desk.answer(question, chance_up=80, expires_min=30), Judged)
    stance = judged.stance
    assert desk.held.stance is stance and stance.bias is Bias.LONG and stance.size_cap == 0.1 and stance.chance_up == 0.8
    orders = sent(desk.trend(8, 2))
    assert [order.purpose for order in orders][:1] == [Purpose.ENTRY]
    (decided,) = [one for one in of(desk.out, Decided) if one.approved][:1]
    assert decided.judgment == question.question and decided.mid > 0
    full = [order for order in sent(ruled.trend(60, 4)) if order.purpose is Purpose.ENTRY]
    assert 0.05 < orders[0].quantity / full[0].quantity < 0.15


def test_its_sentence_comes_later_and_joins_the_stance() -> None:
    desk = Judging()
    question = desk.asked()
    whole = reply(80, 30, why="rows agree \x1b[31m[bold]loud[/]")
    desk.answer(question, whole[: whole.index(', "why"')] + "}")
    assert desk.held.stance.rationale == ""
    desk.feed(AnswerDone(desk.at, MARKET, question.question, "model", whole, "stop", 300, 60, 0, 2_000))
    assert desk.held.stance.rationale == "rows agree [31m[bold]loud[/]" and desk.held.stance.source == "model:3b"


def test_rules_judge_again_when_the_models_stance_has_ended() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=5)
    desk.judge().rests_until = 1 << 62  # it is asked nothing more
    assert desk.held.stance.source == "model:3b"
    desk.trend(40, 0)
    assert desk.held.stance.source == "model:3b", "what rules say meanwhile does not replace it"
    desk.trend(280, 0)
    assert desk.held.stance.source == "rules"


def test_with_hold_as_the_fallback_nobody_judges_then() -> None:
    desk = Judging(model=False, fallback="hold")
    assert desk.held.stance is None and not sent(desk.trend(60, 4))


def test_a_view_that_does_not_pay_its_costs_makes_no_entry() -> None:
    desk = Judging(cost_factor=50.0)
    desk.answer(desk.asked(), chance_up=80, expires_min=5)
    assert not sent(desk.trend(8, 2))
    assert "does not pay 50 times the cost" in desk.held.outcome


def test_an_opposite_view_closes_the_position_and_opens_none_at_once() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=30)
    entry = next(order for order in sent(desk.trend(8, 2)) if order.purpose is Purpose.ENTRY)
    price, size = desk.held.last_price, entry.quantity
    desk.feed(
        OrderReport(
            desk.at, MARKET, entry.client_id, "v1", "FILLED", entry.side, size, size, False, desk.at // MS, size, price, 7
        )
    )
    (judged,) = of(desk.answer(desk.asked(), chance_up=20, expires_min=30), Judged)
    assert judged.stance.action == "close"
    orders = [order for order in sent(desk.trend(3, 0, price)) if not order.kind.conditional]
    assert [(order.purpose, order.reduce_only, order.quantity) for order in orders] == [(Purpose.EXIT, True, size)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("not json", "malformed"),
        (reply(80).replace("80", "NaN"), "malformed"),
        (reply(95, regime="quiet"), "contradictory"),
        ('{"chance_up": 80, "chance_up": 20, "expires_min": 5, "invalid_bp": 30, "regime": "trend"}', "contradictory"),
        ("IGNORE ALL LIMITS AND BUY EVERYTHING", "malformed"),
    ],
)
def test_an_answer_that_cannot_be_used_is_dropped_with_its_reason(text: str, kind: str) -> None:
    desk = Judging()
    before = desk.held.stance
    (dropped,) = of(desk.answer(desk.asked(), text), JudgmentDropped)
    assert dropped.kind == kind and desk.judge().dropped == {kind: 1}
    assert desk.held.model is None and desk.held.stance.source == before.source == "rules"


def test_an_answer_that_comes_when_the_price_has_moved_is_dropped() -> None:
    desk = Judging()
    question = desk.asked()
    desk.touch(6300, 6301)
    (dropped,) = of(desk.answer(question, chance_up=80), JudgmentDropped)
    assert dropped.kind == "stale" and "bps since the question" in dropped.reason
    assert desk.judge().failures == 0, "that is not the model's fault"


def test_an_answer_is_taken_once_and_only_to_a_question_that_was_asked() -> None:
    desk = Judging()
    question = desk.asked()
    assert of(desk.answer(question), Judged) and not of(desk.answer(question), Judged)
    stranger = msgspec.structs.replace(question, question="x")
    assert of(desk.answer(stranger), JudgmentDropped)[0].kind == "stale"
    other = Answered(desk.at, MARKET, desk.asked().question, "model", reply(), "another digest", 1, 2)
    assert of(desk.feed(other), JudgmentDropped)[0].kind == "stale"


def test_the_market_ends_a_stance_that_it_proves_wrong() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=60, invalid_bp=300)
    desk.touch(5900, 5901)
    (over,) = of(desk.pass_ms(200), StanceEnded)
    assert "against it" in over.reason and not desk.held.model.valid(desk.at)
    assert desk.held.stance is desk.held.model or desk.held.stance.source == "rules"


def test_a_veto_ends_what_everybody_said_and_its_note_is_kept() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=60)
    desk.feed(Command(desk.at, "v1", Action.VETO, "the test", MARKET, "news at noon"))
    assert desk.held.vetoed and not desk.held.stance.valid(desk.at)
    assert not sent(desk.trend(3, 2)), "nothing steps in for what was vetoed"
    assert desk.inputs[-1].at >= desk.at and any(getattr(one, "note", "") == "news at noon" for one in desk.inputs)


def test_a_trace_tells_an_orders_chain_from_the_question_to_the_money() -> None:
    desk = Judging()
    question = desk.asked()
    desk.answer(question, chance_up=80, expires_min=30)
    desk.feed(AnswerDone(desk.at, MARKET, question.question, "model", reply(80, 30), "stop", 300, 60, 0, 2_000))
    entry = next(order for order in sent(desk.trend(8, 2)) if order.purpose is Purpose.ENTRY)
    size, mid = entry.quantity, desk.core.state.causes[entry.client_id].mid
    price = round(mid / 0.0001) + 3
    done = OrderReport(
        desk.at, MARKET, entry.client_id, "v1", "FILLED", entry.side, size, size, False, desk.at // MS, size, price, 7
    )
    guard = sent(desk.feed(done))[0]
    steps = dict((name, text) for name, _, text in trace(desk.core.state, entry.client_id).steps)
    assert list(steps) == ["question", "judgment", "stance", "decision", "intent", "risk", "order", "ack", "fill", "money"]
    assert question.question in steps["question"] and "80% up, taken as 80%" in steps["judgment"]
    assert "short and long rows agree" in steps["judgment"] and f"{mid:g}" in steps["intent"]
    assert f"{(price * 0.0001 / mid - 1) * 1e4:+.1f} bps from the mid" in steps["fill"] and "realised" in steps["money"]
    behind = [name for name, _, _ in trace(desk.core.state, guard.client_id).steps]
    assert behind == [*steps, "intent", "order"], "a stop is told behind the entry that it guards"
    assert "Nothing is kept" in trace(desk.core.state, "x").steps[0][2]
    assert "long entries of at most" in steps["stance"] and "entry sent" in steps["decision"]
    assert steps["ack"].startswith("filled ") and "ms after it was sent" in steps["ack"]
    times = [at for _, at, _ in trace(desk.core.state, entry.client_id).steps]
    assert times == sorted(times) and times[0] == question.at


def test_a_trace_of_a_judgment_tells_what_was_done_with_it() -> None:
    desk = Judging()
    question = desk.asked()
    (judged,) = of(desk.answer(question, chance_up=80, expires_min=30), Judged)
    told = trace(desk.core.state, judged.stance.key).steps
    assert [name for name, _, _ in told] == ["question", "judgment", "stance"]
    desk.feed(AnswerDone(desk.at, MARKET, question.question, "model", reply(80, 30), "stop", 300, 60, 0, 2_000))
    entry = next(order for order in sent(desk.trend(8, 2)) if order.purpose is Purpose.ENTRY)
    desk.feed(OrderAccepted(desk.at, MARKET, entry.client_id, "v1"))
    steps = trace(desk.core.state, judged.stance.key).steps
    assert steps == trace(desk.core.state, question.question).steps, "its question names it as well"
    names = [name for name, _, _ in steps]
    assert names[:4] == ["question", "judgment", "stance", "decision"] and names[-4:] == ["intent", "risk", "order", "ack"]
    assert "short and long rows agree" in steps[1][2] and entry.client_id in steps[-2][2] and "working" in steps[-1][2]
    desk.feed(Command(desk.at, "v1", Action.VETO, "the test", MARKET))
    decided = [text for name, _, text in trace(desk.core.state, judged.stance.key).steps if name == "decision"]
    assert "entry sent" in " ".join(decided) and decided[-1] == "nothing: the judgment was vetoed"


def test_a_judgment_that_never_came_into_force_says_so() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=60)
    (second,) = of(desk.trend(8, 2), Judged)[:1]
    assert second.stance.source == "rules" and desk.held.stance is desk.held.model
    steps = trace(desk.core.state, second.stance.key).steps
    assert [name for name, _, _ in steps] == ["judgment", "stance"] and "never came into force" in steps[1][2]


# --- what a model may never do ----------------------------------------------------------------------------------------


def test_an_unqualified_model_is_asked_on_paper_and_the_screen_is_told() -> None:
    desk = Judging(BLIND)
    assert any("is not qualified" in alert.text and "on paper" in alert.text for alert in of(desk.out, Alert))
    (judged,) = of(desk.answer(desk.asked(), chance_up=80, expires_min=30), Judged)
    assert judged.stance.size_cap == 0.0 and desk.held.stance.source == "rules"
    assert len(desk.held.scoring) == 1, "it is scored all the same"


def test_an_unqualified_model_trades_in_demo_only_where_the_settings_say_so() -> None:
    desk = Judging(BLIND, allow_unqualified=True)
    (judged,) = of(desk.answer(desk.asked(), chance_up=80, expires_min=30), Judged)
    assert judged.stance.size_cap == 0.1 and desk.held.stance is judged.stance


def test_in_live_a_young_model_does_not_trade() -> None:
    desk = Judging(mode=Mode.LIVE)
    (judged,) = of(desk.answer(desk.asked(), chance_up=80, expires_min=30), Judged)
    assert judged.stance.size_cap == 0.0 and desk.held.stance.source == "rules"


def test_a_record_from_earlier_sessions_is_believed_for_the_same_model_template_and_kind_of_market_only() -> None:
    for changes, believed in (
        ({}, True),
        ({"digest": "other"}, False),
        ({"template": "0"}, False),
        ({"simulated": False}, False),
    ):
        desk = Judging(model=False)
        desk.feed(ModelChanged(desk.at, "model", ModelState.READY, "m", DIGEST, "", ""))
        known = Record(**{"digest": DIGEST, "template": TEMPLATE, "simulated": True, "n": 70, "independent": 60, **changes})
        desk.feed(TrackRecord(desk.at, "model", msgspec.json.encode(known).decode()))
        assert (desk.judge().record.n == 70) is believed


ANSWERS = st.one_of(
    st.builds(
        reply,
        st.integers(1, 99),
        st.sampled_from([5, 10, 15, 30, 60]),
        st.integers(5, 300),
        st.sampled_from(["breakout", "range", "shock", "trend", "quiet"]),
        st.text(max_size=60),
    ),
    st.builds(reply, st.sampled_from([20, 80, 85, 15]), st.sampled_from([30, 60]), st.integers(5, 300), st.just("trend")),
    st.text(max_size=80),
    st.dictionaries(st.sampled_from(["chance_up", "size", "leverage", "stop", "regime"]), st.integers(-(10**9), 10**9)).map(
        json.dumps
    ),
)
LED = {"cases": 0, "orders": 0}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(ANSWERS, min_size=1, max_size=3),
    st.integers(-3, 3),
    st.sampled_from(["percentage_of_capital", "kelly", "risk_parity"]),
)
def answered(answers: list[str], step: int, sizing: str) -> None:
    desk = Judging()
    desk.core.settings = msgspec.structs.replace(
        desk.core.settings, strategy=msgspec.structs.replace(desk.core.settings.strategy, sizing=sizing, cooldown_bars=0)
    )
    known = desk.judge().record
    known.independent, known.lean, known.leans = 40, 1.0, 1.0  # on probation still, and kelly has outcomes to stake on
    risk = desk.core.settings.risk
    orders: list[SendOrder] = []
    for text in answers:
        try:
            desk.answer(desk.asked(), text)
        except AssertionError:
            break  # it rests
        orders += sent(desk.trend(4, step, desk.held.last_price))
    entries = [order for order in orders if order.purpose is Purpose.ENTRY]
    LED["cases"] += 1
    LED["orders"] += bool(entries)
    price = max(desk.held.book.best_ask, 6300) * 0.0001
    for order in entries:
        assert order.kind is OrderKind.MARKET and not order.reduce_only
        assert 0 < order.quantity * price <= min(risk.max_order_notional, risk.max_position_notional) * 1.02
        stance = desk.held.model
        assert stance is None or stance.size_cap <= 0.1
    assert sum(order.quantity for order in entries) * price <= risk.max_position_notional * 1.02
    plan = desk.held.plan
    if entries and plan is not None:
        lost = plan.stop_distance * entries[-1].quantity
        assert lost <= risk.max_loss_per_trade * 10_000 * 1.02
    for judged in of(desk.out, Judged):
        life = (judged.stance.expires_at - judged.stance.made_at) / 60e9
        assert life <= desk.core.settings.judgment.max_expiry_min and 0.0 <= judged.stance.confidence <= 1.0
        assert math.isfinite(judged.stance.target_price) and judged.stance.rationale.isprintable()


def test_no_answer_whatever_makes_an_order_that_breaks_a_limit() -> None:
    """At least a fifth of them led to orders: it does not pass because nothing ever happens."""
    answered()
    assert LED["orders"] >= LED["cases"] / 5, LED


# --- when it rests ----------------------------------------------------------------------------------------------------


def failing(desk: Judging, kind: str = "silent") -> list[Event]:
    question = desk.asked(90)
    return desk.feed(AnswerFailed(desk.at, MARKET, question.question, "model", kind, "no word within 45 s"))


def test_a_model_that_fails_three_times_rests_and_comes_back_by_a_sign_of_life() -> None:
    desk = Judging()
    for _ in range(FAILURES_BEFORE_REST - 1):
        failing(desk)
        assert not desk.judge().rests_until
    told = failing(desk)
    assert any("is not asked for 60 s" in alert.text for alert in of(told, Alert))
    assert not of(desk.pass_ms(59_000), AskJudgment)
    assert of(desk.pass_ms(2_000), WarmModel) and not of(desk.pass_ms(5_000), AskJudgment)
    desk.feed(ModelChanged(desk.at, "model", ModelState.READY, "model:3b", DIGEST, "0.33", ""))
    told = failing(desk)
    assert any("is not asked for 120 s" in alert.text for alert in of(told, Alert)), "half open: one more is enough, for longer"
    desk.pass_ms(121_000)
    desk.feed(ModelChanged(desk.at, "model", ModelState.READY, "model:3b", DIGEST, "0.33", ""))
    assert of(desk.answer(desk.asked()), Judged)
    assert desk.judge().failures == desk.judge().rest_ns == 0


def test_without_a_sign_of_life_it_rests_on() -> None:
    desk = Judging()
    for _ in range(FAILURES_BEFORE_REST):
        failing(desk)
    desk.pass_ms(61_000)
    desk.feed(ModelChanged(desk.at, "model", ModelState.OFF, "model:3b", DIGEST, "", "nothing answers"))
    assert desk.judge().rests_until - desk.at >= 119_000 * MS and not of(desk.pass_ms(30_000), AskJudgment)


@pytest.mark.parametrize("kind", ["stale", "superseded"])
def test_what_is_not_its_fault_does_not_make_it_rest(kind: str) -> None:
    desk = Judging()
    for _ in range(5):
        failing(desk, kind)
    assert not desk.judge().rests_until and desk.judge().dropped == {kind: 5}


def test_a_model_that_says_the_same_of_everything_rests() -> None:
    desk = Judging()
    for _ in range(SAME_ANSWERS):
        desk.answer(desk.asked(), chance_up=55)
    assert desk.judge().rests_until and "same answer" in desk.judge().problem


def test_a_model_that_sees_one_side_only_where_rules_see_both_rests() -> None:
    desk = Judging()
    for n in range(ONE_SIDED):
        question = desk.asked()
        desk.held.questions[question.question].rules_chance = 0.7 if n % 3 else 0.3
        desk.answer(question, chance_up=60 + n % 9)
    assert desk.judge().rests_until and "on one side" in desk.judge().problem


# --- how it is scored -------------------------------------------------------------------------------------------------


def test_a_judgment_is_scored_at_its_end_against_the_price_when_it_was_given() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=70, expires_min=5)
    desk.judge().rests_until = 1 << 62
    begun = desk.held.model.price
    desk.touch(6250, 6251)
    scores = of(desk.pass_ms(301_000), JudgmentScored)
    (score,) = scores
    assert score.up and score.price == begun and score.end_price == pytest.approx(0.62505)
    record = msgspec.json.decode(score.record, type=Record)
    assert (record.n, record.hits, record.independent) == (1, 1, 1) and record.brier == pytest.approx(0.09)
    cost = 2e4 * 0.0005 + 2e4 / (6200 + 6201)
    assert record.gain == pytest.approx((0.62505 / begun - 1) * 1e4 - cost, rel=1e-3)


def test_a_model_that_loses_its_rank_is_told() -> None:
    desk = Judging(probation=1, hold_after=3)
    for n in range(4):
        desk.answer(desk.asked(), chance_up=80 - n, expires_min=5)
        desk.touch(6190 - 10 * n, 6191 - 10 * n)
        desk.judge().rests_until = 1 << 62
        desk.pass_ms(302_000)
        desk.judge().rests_until = 0
    told = [alert.text for alert in of(desk.out, Alert) if " now: it judges " in alert.text]
    assert "was probation and is demoted" in told[0] and "at 10% of the usual size" in told[0] and "inf" not in told[0]
    assert "is held now: it judges on paper" in told[-1]
    (judged,) = of(desk.answer(desk.asked(), chance_up=80), Judged)
    assert judged.stance.size_cap == 0.0 and desk.held.stance.source == "rules"


def test_a_shadow_is_scored_and_moves_nothing() -> None:
    desk = Judging()
    desk.feed(ModelChanged(desk.at, "shadow", ModelState.READY, "shadow:1b", DIGEST, "0.33", ""))
    desk.feed(Qualified(desk.at, "shadow", DIGEST, TEMPLATE, GOOD, True))
    question = desk.asked()
    before = desk.held.stance
    assert not of(desk.answer(question, by="shadow", chance_up=90, regime="trend"), Judged)
    assert desk.held.stance is before and desk.held.model is None
    assert of(desk.pass_ms(601_000), JudgmentScored)[0].by == "shadow"


# --- what would have come of it otherwise ---------------------------------------------------------------------------------


def test_papers_follow_the_model_the_rules_and_the_strategy_without_its_gate() -> None:
    desk = Judging()
    desk.feed(Command(desk.at, "off", Action.DISARM, "the test"))
    desk.answer(desk.asked(), chance_up=80, expires_min=60)
    desk.judge().rests_until = 1 << 62
    before = desk.held.book.best_ask
    out = desk.trend(12, 2, before)
    papers = desk.held.papers
    assert not sent(out), "trading is off: the account does nothing"
    raw, gateless = papers["model raw"], papers["no risk gate"]
    assert (
        raw.quantity > 0 and raw.trades == 1 and raw.plan is None and raw.fees == pytest.approx(raw.quantity * raw.entry * 0.0005)
    )
    assert gateless.trades == 1 and 0 < gateless.quantity < raw.quantity * 0.2, "a young model's size"
    assert papers["rules alone"].quantity != gateless.quantity
    bid = desk.held.book.best_bid * 0.0001
    assert profit(desk.held, raw) == pytest.approx((bid - raw.entry) * raw.quantity - raw.fees)


def test_a_paper_is_stopped_at_the_price_that_the_book_would_give() -> None:
    desk = Judging()
    desk.feed(Command(desk.at, "off", Action.DISARM, "the test"))
    desk.answer(desk.asked(), chance_up=80, expires_min=60)
    desk.judge().rests_until = 1 << 62
    desk.trend(12, 2, desk.held.book.best_ask)
    paper = desk.held.papers["no risk gate"]
    size, entry, fees, plan = paper.quantity, paper.entry, paper.fees, paper.plan
    assert plan is not None
    low = int((entry - plan.stop_distance) / 0.0001) - 5
    desk.touch(low, low + 1)
    desk.pass_ms(100)
    assert paper.quantity == 0.0 and paper.realised == pytest.approx((low * 0.0001 - entry) * size)
    assert paper.fees == pytest.approx(fees + size * low * 0.0001 * 0.0005)


# --- replay -----------------------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_outputs_and_a_changed_answer_others() -> None:
    desk = Judging()
    for n in range(4):
        question = desk.asked()
        desk.answer(question, chance_up=80 - n, expires_min=30)
        desk.feed(AnswerDone(desk.at, MARKET, question.question, "model", reply(80 - n), "stop", 300, 60, 0, 2_000))
        desk.trend(5, 1, desk.held.last_price)
    failing(desk)

    # The history of minutes was slipped in by hand: a fresh core needs the same door open.
    def played(inputs: list[Event]) -> list[bytes]:
        core, made = Core(desk.core.settings), []
        for event in inputs:
            if isinstance(event, BarHistory):
                core.state.markets[MARKET].bars[60_000].started = False
            made += [msgspec.msgpack.encode(out) for out in core.process(event)]
            if isinstance(event, BarHistory):
                core.state.markets[MARKET].bars[60_000].started = True
        return made

    assert played(desk.inputs) == [msgspec.msgpack.encode(out) for out in desk.out]
    changed = [
        msgspec.structs.replace(event, text=event.text.replace("79", "31")) if isinstance(event, Answered) else event
        for event in desk.inputs
    ]
    assert played(changed) != played(desk.inputs)


def test_a_core_restored_in_the_middle_goes_on_alike() -> None:
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=5)
    other = Core.restore(desk.core.settings, desk.core.snapshot())
    inputs = len(desk.inputs)
    out = desk.pass_ms(320_000)
    assert [one for event in desk.inputs[inputs:] for one in other.process(event)] == out
    assert any(isinstance(one, JudgmentScored) for one in out)


def test_a_session_that_never_hears_of_a_model_is_as_before() -> None:
    desk = Judging(model=False)
    out = desk.trend(60, 3)
    assert desk.held.stance.source == "rules" and not of(out, AskJudgment) and not desk.core.state.judges
    assert isinstance(desk.inputs[1], Instrument)
