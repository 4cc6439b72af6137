"""`--no-ui --plain`: what a screen reader is given is sentences, one fact each, money at once and the rest seldom."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from console.exits import Exit
from console.plain import MODES, Plain, sentence
from engine.core.state import State
from engine.core.view import MarketView, View
from engine.events import (
    Decided,
    Event,
    Filled,
    FundingPaid,
    Instrument,
    Mode,
    OrderChanged,
    OrderKind,
    OrderState,
    Purpose,
    Side,
    TimeInForce,
    Trading,
    TradingChanged,
    Trust,
    TrustChanged,
)
from engine.execution.orders import Order
from tests.factory import aster
from tests.test_headless import run

MARKET = aster().market
MOVES = re.compile(r"ASTER trades between|The session has made|The open position stands at")


@dataclass
class Held:
    instrument: Instrument = field(default_factory=aster)


@dataclass
class Known:
    """As much of the core's state as is read: one market and one order."""

    traded: Held = field(default_factory=Held)
    orders: dict[str, Order] = field(default_factory=dict)

    @property
    def markets(self) -> dict[str, Held]:
        return {MARKET: self.traded}


def order(kind: OrderKind = OrderKind.STOP, purpose: Purpose = Purpose.STOP, trigger: int = 12_249) -> Order:
    return Order("b-1", MARKET, kind, purpose, Side.SELL, 8_200, 0, trigger, TimeInForce.GTC, True, 1)


def heard(*events: Event, known: Known | None = None) -> list[str]:
    said: list[str] = []
    plain = Plain(known or Known(orders={"b-1": order()}), said.append)  # type: ignore[arg-type]
    for event in events:
        plain.hear(event)
    return said


def changed(after: OrderState, reason: str = "", before: OrderState = OrderState.SENT) -> OrderChanged:
    return OrderChanged(1, MARKET, "b-1", before, after, reason)


def filled(position: int, realised: str) -> Filled:
    return Filled(1, MARKET, "b-1", 7, Side.SELL, 8_200, 12_324, Decimal("5.02"), False, Decimal(realised), position, Decimal(1))


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            filled(0, "-12.5"),
            [
                "Sold 8200 ASTER at 1.2324.",
                "The fee was 5.02 USDT.",
                "That realised a loss of 12.50 USDT.",
                "You hold no ASTER.",
            ],
        ),
        (filled(-8_200, "0"), ["Sold 8200 ASTER at 1.2324.", "The fee was 5.02 USDT.", "You are short 8200 ASTER."]),
        (changed(OrderState.WORKING, "accepted"), ["The stop order to sell 8200 ASTER at 1.2249 is working at the venue."]),
        (
            changed(OrderState.REJECTED, "price outside its limits (-4016)"),
            ["The stop order to sell 8200 ASTER at 1.2249 was rejected: price outside its limits (-4016)."],
        ),
        (changed(OrderState.SENT, before=OrderState.CREATED), []),
        (FundingPaid(1, "binance", MARKET, Decimal("-0.42"), Decimal(1)), ["Funding of 0.42 USDT was paid for ASTER."]),
        (TradingChanged(1, Trading.HALTED, "F12"), ["Trading is halted: F12."]),
        (
            TrustChanged(1, MARKET, Trust.STALE, "no news for 3 s"),
            ["The prices of binance ASTER/USDT are not trusted, and no entry is made on them: no news for 3 s."],
        ),
        (TrustChanged(1, "okx:ASTER/USDT:USDT", Trust.STALE, "no news for 3 s"), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_an_output_is_said_at_once_in_sentences(event: Event, said: list[str]) -> None:
    assert heard(event) == said


def test_the_same_refusal_is_said_once_until_another_comes() -> None:
    def refused(reason: str) -> Decided:
        return Decided(1, MARKET, Purpose.ENTRY, Side.BUY, 1, False, reason)

    said = heard(*(refused(reason) for reason in ("the spread is 9 bps", "the spread is 9 bps", "it is late")))
    assert said == ["An entry to buy was refused: the spread is 9 bps.", "An entry to buy was refused: it is late."]


def view(bid: str, position: str = "0", unrealised: str = "0", trading: Trading = Trading.ARMED) -> View:
    market = MarketView(
        *(MARKET, "ASTER/USDT:USDT", Trust.TRUSTED, "", bid, "1.2361", 0.8, "", "", position, "", unrealised, "", "", None, None)
    )
    return View(1, Mode.DEMO, trading, "the start", "", "", "1", "1", "0", unrealised, "0", "0", (market,), (), {})


def test_of_what_only_moves_one_sentence_a_second_is_said_and_each_has_its_turn() -> None:
    said: list[str] = []
    plain = Plain(State(), said.append)
    plain.second(view("1.2350"))
    assert said[:3] == ["The market that is traded is binance ASTER/USDT.", "You hold no ASTER.", "Trading is armed: the start."]
    turns = []
    for second in range(6):
        before = len(said)
        plain.second(view(f"1.235{second + 1}", "8200", f"{second + 1}.5"))
        assert len(said) == before + 1
        turns.append(MOVES.match(said[-1]).group())  # type: ignore[union-attr]
    assert {turns.count(turn) for turn in set(turns)} == {2} and len(set(turns)) == 3
    for _ in range(4):
        plain.second(view("1.2356", "8200", "6.5"))
    before = len(said)
    plain.second(view("1.2356", "8200", "6.5"))
    assert len(said) == before, "what stands still is not said again"


@pytest.mark.parametrize("words", ["two  columns\tand\x1b[31m red", "lines\nof it.", "already whole."])
def test_a_sentence_is_one_line_of_printable_letters_with_one_full_stop(words: str) -> None:
    made = sentence(words)
    assert made.isprintable() and "  " not in made and made.endswith(".") and not made.endswith("..") and made[0].isupper()


def moves(lines: list[str]) -> Iterator[str]:
    return (line for line in lines if MOVES.match(line))


def test_a_whole_run_is_sentences_and_says_each_fill(tmp_path: Path) -> None:
    code, lines, err = run(tmp_path, "--no-ui", "--plain", "--for", "40s", "--speed", "4", FORCE_COLOR="1")
    assert code == Exit.OK, err
    assert lines[0] == f"{MODES[Mode.DEMO]}."
    for line in lines:
        assert re.fullmatch(r"[A-Z][^|\t\x1b]*[^.]\.", line) and "  " not in line and line.isprintable(), line
    assert any(re.fullmatch(r"(Bought|Sold) \d+ ASTER at [\d.]+\.", line) for line in lines)
    assert any(re.match(r"You are (long|short) \d+ ASTER\.", line) for line in lines)
    assert any(re.match(r"The stop order to .* is working at the venue\.", line) for line in lines)
    assert 1 <= len(list(moves(lines))) <= 12, "ten seconds of this machine's time, and one sentence in each"
    assert "The ledger equals the venue's account." in lines


COLOUR = re.compile(r"\x1b\[[\d;]*(3[0-8]|4[0-8]|9[0-7]|10[0-7])[\d;]*m")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_commands_have_colour_only_where_it_is_wanted(tmp_path: Path, no_color: str) -> None:
    """Forced colours stand for a terminal; an empty NO_COLOR is none."""
    _, lines, _ = run(tmp_path, "doctor", FORCE_COLOR="1", NO_COLOR=no_color)
    assert bool(COLOUR.search("\n".join(lines))) is not bool(no_color)
    assert any("state folder" in line for line in lines)
