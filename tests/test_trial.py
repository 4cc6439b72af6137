"""The dry harness: every limit of an entry is tripped at each start, and a toothless one stops it."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import risk, trial
from engine.clock import Clock
from engine.config import JudgmentSettings, RiskSettings, create_aster_config
from engine.errors import LimitError
from engine.events import Purpose, Side, Trading, Trust
from engine.risk import Approved, Context, Intent, Refused
from engine.runtime import Endpoints, Engine, latch
from tests.test_engine import desk

ALL = RiskSettings(loss_cooldown_s=5.0)
JUDGE = JudgmentSettings()


def test_every_limit_is_tried_and_says_its_reason() -> None:
    outcomes = trial.run(ALL, JUDGE)
    assert {one.limit for one in outcomes} >= {*RiskSettings.__struct_fields__} - {*trial.NOT_TRIED}
    assert {"min_confidence", "max_risk_score", "trading", "book", "unknown orders"} <= {one.limit for one in outcomes}
    assert all(one.said for one in outcomes)


def test_a_setting_is_either_tried_or_no_limit_and_never_both() -> None:
    tried = {one.limit for one in trial.trials(ALL, JUDGE)}
    assert not tried & {*trial.NOT_TRIED} and {*trial.NOT_TRIED} <= {*RiskSettings.__struct_fields__}
    assert {*trial.LOOSE} <= {*RiskSettings.__struct_fields__}


NOTIONAL = st.floats(10.0, 1e7)
FRACTION = st.floats(0.001, 1.0)


@given(
    st.builds(
        RiskSettings,
        max_order_notional=NOTIONAL,
        max_position_notional=NOTIONAL,
        max_gross_notional=NOTIONAL,
        max_leverage=st.floats(0.1, 100.0),
        max_loss_per_trade=FRACTION,
        max_daily_loss=FRACTION,
        max_drawdown=FRACTION,
        min_liquidation_distance=st.floats(0.0, 0.9),
        max_collar_bps=st.floats(1.0, 2_000.0),
        max_funding_bps=st.floats(0.0, 1_000.0),
        max_spread_bps=st.floats(0.1, 500.0),
        max_orders_per_minute=st.integers(1, 1_000),
        stop_guard=st.integers(0, 100),
    )
)
def test_whatever_the_settings_are_each_limit_trips(limits: RiskSettings) -> None:
    trial.run(limits, JUDGE)


@pytest.mark.parametrize("limit", sorted({one.limit for one in trial.trials(ALL, JUDGE) if one.limit in trial.LOOSE}))
def test_a_toothless_limit_is_found(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the line that compares with it were gone."""
    honest = risk.approve

    def careless(intent: Intent, context: Context, limits: RiskSettings) -> Approved | Refused:
        return honest(intent, context, msgspec.structs.replace(limits, **{limit: trial.LOOSE[limit]}))

    monkeypatch.setattr(risk, "approve", careless)
    with pytest.raises(LimitError, match=limit):
        trial.run(ALL, JUDGE)


def test_a_gate_that_refuses_everything_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(risk, "approve", lambda intent, context, limits: Refused(intent, "no"))
    with pytest.raises(LimitError, match="nothing is wrong with"):
        trial.run(ALL, JUDGE)


async def test_a_toothless_limit_stops_the_start_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = risk.approve

    def careless(intent: Intent, context: Context, limits: RiskSettings) -> Approved | Refused:
        verdict = honest(intent, context, limits)
        return Approved(intent, seal=risk._SEAL) if isinstance(verdict, Refused) and "leverage" in verdict.reason else verdict

    monkeypatch.setattr(risk, "approve", careless)
    engine = Engine(desk(tmp_path), Clock.start(), Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9"))
    with pytest.raises(LimitError, match="max_leverage does not hold"):
        await engine.__aenter__()
    assert not engine.folder.exists() and not (engine.folder / latch.NAME).exists()


# --- the new limits at their edges -------------------------------------------------------------------------------------

CALM = Context(
    *(Trading.ARMED, Trust.TRUSTED, "", "", 0.62, 1.0, 0.0001, 1.6, float("nan"), 10_000.0, 10_000.0),
    *(0, 0, 0.0, 0, 0, 1, 250_000, 5.0),
    mark=0.62,
)
ENTRY = Intent("m", Purpose.ENTRY, Side.BUY, 1000, 6200, 6150, 6300)


def refusal(intent: Intent = ENTRY, **changes: object) -> str:
    verdict = risk.approve(intent, msgspec.structs.replace(CALM, **changes), ALL)
    return verdict.reason if isinstance(verdict, Refused) else ""


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_the_collar_is_against_the_mark_and_every_other_venue(side: Side) -> None:
    near, far, absurd = 6200 + 61 * side, 6200 + 64 * side, 6200 - 1300 * side

    def entry(price: int) -> Intent:
        return Intent("m", Purpose.ENTRY, side, 1000, price, price - 50 * side, limit=price)

    assert refusal(entry(near)) == "" and refusal(entry(6200 - 600 * side)) == ""
    assert "103 bps beyond the mark" in refusal(entry(far))
    assert "from the mark" in refusal(entry(absurd))
    assert "price at another venue" in refusal(entry(6200), elsewhere=(0.62, 0.62 - side * 0.01))
    assert refusal(entry(near), mark=0.0) == "" and refusal(entry(near), elsewhere=(0.0,)) == ""


def test_the_same_order_is_not_sent_twice_within_the_window() -> None:
    assert "less than 1 s ago" in refusal(recent=((1, 1000, 0),))
    for other in ((-1, 1000, 0), (1, 999, 0), (1, 1000, 6200)):
        assert refusal(recent=(other,)) == ""


def test_limits_of_judgments_are_for_entries_that_follow_one() -> None:
    judged = msgspec.structs.replace(ENTRY, judged=True)
    wrong = {
        "judgment_age_s": (900.0, 900.1),
        "judgment_drift_bps": (150.0, 150.1),
        "risk_score": (0.85, 0.86),
        "confidence": (0.55, 0.54),
    }
    thresholds = {"min_confidence": 0.55, "max_risk_score": 0.85}
    for name, (edge, beyond) in wrong.items():
        assert refusal(judged, **thresholds, **{name: edge}) == "", name
        assert refusal(judged, **thresholds, **{name: beyond}) != "", name
        assert refusal(ENTRY, **thresholds, **{name: beyond}) == "", f"{name} is nothing to an order by hand"


def test_gross_exposure_over_all_markets() -> None:
    rich = {"equity": 1e6, "day_equity": 1e6}
    assert refusal(**rich, other_notional=49_380.0) == ""
    assert "gross exposure of 50001.00" in refusal(**rich, other_notional=49_381.0)


CONTEXTS = st.builds(
    Context,
    trading=st.sampled_from(list(Trading)),
    trust=st.sampled_from(list(Trust)),
    trust_reason=st.just("x"),
    ready=st.sampled_from(["", "no"]),
    price=st.floats(0.0, 10.0),
    step=st.just(1.0),
    tick=st.just(0.0001),
    spread_bps=st.floats(0.0, 1e6),
    divergence_bps=st.floats(allow_nan=True),
    equity=st.floats(-1e6, 1e6),
    day_equity=st.floats(-1e6, 1e6),
    position=st.integers(-5_000, 5_000),
    pending=st.integers(-5_000, 5_000),
    other_notional=st.floats(0.0, 1e6),
    unknown_orders=st.integers(0, 2),
    entries_last_minute=st.integers(0, 100),
    min_quantity=st.integers(1, 10),
    max_quantity=st.integers(1, 100_000),
    min_notional=st.floats(0.0, 100.0),
    mark=st.floats(0.0, 10.0),
    recent_stops=st.integers(0, 10),
)


@given(CONTEXTS, st.data())
def test_an_exit_is_never_refused_for_an_entrys_reason(context: Context, data: st.DataObject) -> None:
    if not context.position:
        return
    quantity = data.draw(st.integers(1, abs(context.position)))
    side = Side.SELL if context.position > 0 else Side.BUY
    for purpose in (Purpose.EXIT, Purpose.STOP, Purpose.TARGET):
        assert isinstance(risk.approve(Intent("m", purpose, side, quantity, 6200), context, ALL), Approved)
    over = Intent("m", Purpose.EXIT, side, abs(context.position) + 1, 6200)
    assert isinstance(risk.approve(over, context, ALL), Refused)
    assert isinstance(risk.approve(Intent("m", Purpose.EXIT, side.other, 1, 6200), context, ALL), Refused)


# Around the limits, so that a good part of the entries passes.
NEAR = st.builds(
    Context,
    trading=st.sampled_from([Trading.ARMED] * 9 + [Trading.OFF]),
    trust=st.sampled_from([Trust.TRUSTED] * 9 + [Trust.STALE]),
    trust_reason=st.just("x"),
    ready=st.sampled_from([""] * 9 + ["no"]),
    price=st.floats(0.61, 0.63),
    step=st.just(1.0),
    tick=st.just(0.0001),
    spread_bps=st.floats(0.0, 22.0),
    divergence_bps=st.one_of(st.just(float("nan")), st.floats(0.0, 32.0)),
    equity=st.floats(9_500.0, 11_000.0),
    day_equity=st.floats(9_500.0, 10_200.0),
    position=st.one_of(st.integers(-500, 1_000), st.integers(6_500, 8_000)),
    pending=st.integers(-500, 500),
    other_notional=st.one_of(st.floats(0.0, 5_000.0), st.floats(24_000.0, 32_000.0)),
    unknown_orders=st.sampled_from([0] * 9 + [1]),
    entries_last_minute=st.integers(0, 31),
    min_quantity=st.integers(1, 10),
    max_quantity=st.integers(2_000, 100_000),
    min_notional=st.floats(0.0, 10.0),
    peak_equity=st.floats(9_000.0, 11_500.0),
    since_loss_s=st.floats(4.0, 60.0),
    recent_stops=st.integers(0, 4),
    funding_in_s=st.floats(0.0, 200.0),
    funding_bps=st.floats(-6.0, 6.0),
    mark=st.floats(0.61, 0.63),
    elsewhere=st.lists(st.floats(0.61, 0.63), max_size=2).map(tuple),
    recent=st.sampled_from([()] * 9 + [((1, 1_000, 0),)]),
    judgment_age_s=st.floats(0.0, 1_000.0),
    judgment_drift_bps=st.floats(0.0, 160.0),
    confidence=st.floats(0.5, 1.0),
    min_confidence=st.just(0.55),
    risk_score=st.floats(0.0, 0.9),
    max_risk_score=st.just(0.85),
)
INTENTS = st.builds(
    Intent,
    market=st.just("m"),
    purpose=st.just(Purpose.ENTRY),
    side=st.just(Side.BUY),
    quantity=st.one_of(st.just(1_000), st.integers(1, 3_500)),
    price=st.integers(6_150, 6_250),
    stop=st.integers(5_900, 6_200),
    judged=st.booleans(),
)
SEEN = {"approved": 0, "refused": 0}


@settings(max_examples=1_500, deadline=None)
@given(NEAR, INTENTS, st.sampled_from([20_000.0, 50_000.0]))
def asked(context: Context, intent: Intent, most: float) -> None:
    """The limits once more, in other words and without the gate's own arithmetic."""
    limits = msgspec.structs.replace(ALL, max_gross_notional=most)
    approved = isinstance(risk.approve(intent, context, limits), Approved)
    SEEN["approved" if approved else "refused"] += 1
    if not approved:
        return
    price, paid, stop = context.price, intent.price / 10_000, intent.stop / 10_000
    order, after = intent.quantity * price, abs(context.position + context.pending + intent.quantity) * price
    gross = after + context.other_notional
    assert (context.trading, context.trust, context.ready, context.unknown_orders) == (Trading.ARMED, Trust.TRUSTED, "", 0)
    assert context.min_quantity <= intent.quantity <= context.max_quantity and order >= context.min_notional
    assert context.spread_bps <= 20.0 and not context.divergence_bps > 30.0 and context.entries_last_minute < 30
    assert context.since_loss_s >= 5.0 and context.recent_stops < 4
    assert context.funding_in_s > 60.0 or context.funding_bps <= 5.0
    assert context.equity > 0.97 * context.day_equity and context.equity > 0.9 * context.peak_equity
    assert order <= 2_000.0 and after <= 5_000.0 and gross <= most
    assert gross <= 3.0 * context.equity * (1 + 1e-9) and context.equity >= 0.11 * gross * (1 - 1e-9)
    assert stop < paid and intent.quantity * abs(price - stop) <= 0.01 * context.equity * (1 + 1e-6)
    for worth in (context.mark, *context.elsewhere):
        assert worth * (1 - 0.2 - 1e-9) <= paid <= worth * (1.01 + 1e-9)
    assert (1, intent.quantity, 0) not in context.recent
    if intent.judged:
        assert context.judgment_age_s <= 900.0 and context.judgment_drift_bps <= 150.0
        assert context.confidence >= 0.55 and context.risk_score <= 0.85


def test_an_entry_that_is_approved_keeps_every_limit() -> None:
    asked()
    assert SEEN["refused"] and SEEN["approved"] > 20, SEEN


def test_the_settings_of_aster_pass_their_own_trials() -> None:
    chosen = create_aster_config()
    assert trial.run(chosen.risk, chosen.judgment)
