"""Lines that are typed: what they mean, and what is wrong with the others."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.orderline import LINES, Facts, LineError, complete, read
from engine.events import Action, OrderKind, Side, Ticket, TimeInForce

B, S, K, T = Side.BUY, Side.SELL, OrderKind, TimeInForce
ASTER = Facts("ASTER", "USDT", Decimal("0.0001"), Decimal(1), 12_040, 12_041)
RICH = ASTER._replace(equity=Decimal(10_000), power=Decimal(27_000))
LONG = RICH._replace(position=800, selected="bt1", selected_side=B)
BTC = Facts("BTC", "USDT", Decimal("0.1"), Decimal("0.0001"), 640_000, 640_001, -25)


@pytest.mark.parametrize(
    ("line", "facts", "ticket"),
    [
        ("buy 500", ASTER, Ticket(B, K.MARKET, 500)),
        ("SELL 1,500", ASTER, Ticket(S, K.MARKET, 1500)),
        ("buy 300usdt", ASTER, Ticket(B, K.MARKET, 249)),
        ("buy 500 @ 1.2040 post", ASTER, Ticket(B, K.LIMIT, 500, 12_040, 0, T.GTX)),
        ("buy 500@1.2040 ioc", ASTER, Ticket(B, K.LIMIT, 500, 12_040, 0, T.IOC)),
        ("s 500 @ ask fok", ASTER, Ticket(S, K.LIMIT, 500, 12_041, 0, T.FOK)),
        ("buy 500 @ bid", ASTER, Ticket(B, K.LIMIT, 500, 12_040)),
        ("buy 500 stop 1.19 target 1.25", ASTER, Ticket(B, K.MARKET, 500, stop=11_900, target=12_500)),
        ("buy 500 trail 0.5", ASTER, Ticket(B, K.MARKET, 500, trail_bps=50)),
        ("buy 500 @ join stop 1% target 2%", ASTER, Ticket(B, K.LIMIT, 500, 12_040, stop=11_920, target=12_281)),
        ("sell 500 @ join stop 1%", ASTER, Ticket(S, K.LIMIT, 500, 12_041, stop=12_161)),
        ("buy 25%", RICH, Ticket(B, K.MARKET, 5605)),
        ("buy 10% @ 1.2", RICH, Ticket(B, K.LIMIT, 2250, 12_000)),
        ("buy risk 0.5% stop 1.19", RICH, Ticket(B, K.MARKET, 3546, stop=11_900)),
        ("sell risk 0.5% @ 1.2 trail 1", RICH, Ticket(S, K.LIMIT, 4166, 12_000, trail_bps=100)),
        ("sell 25% reduce", LONG, Ticket(S, K.MARKET, 200, reduce_only=True)),
        ("stop 1%", LONG, Ticket(S, K.STOP, 0, trigger=11_920, reduce_only=True)),
        ("target 1%", BTC, Ticket(B, K.TARGET, 0, trigger=633_601, reduce_only=True)),
        ("sell all reduce", LONG, Ticket(S, K.MARKET, 800, reduce_only=True)),
        ("sell half @ 1.3 reduce", LONG, Ticket(S, K.LIMIT, 400, 13_000, reduce_only=True)),
        ("stop 1.19", LONG, Ticket(S, K.STOP, 0, trigger=11_900, reduce_only=True)),
        ("target 1.25", LONG, Ticket(S, K.TARGET, 0, trigger=12_500, reduce_only=True)),
        ("trail 1%", LONG, Ticket(S, K.TRAILING, 0, reduce_only=True, trail_bps=100)),
        ("amend 400 @ 1.2050", LONG, Ticket(B, K.LIMIT, 400, 12_050)),
        ("buy 0.0015 @ 63999.9", BTC, Ticket(B, K.LIMIT, 15, 639_999)),
        ("buy 1000usdt", BTC, Ticket(B, K.MARKET, 156)),
        ("stop 65000", BTC, Ticket(B, K.STOP, 0, trigger=650_000, reduce_only=True)),
    ],
)
def test_a_line_means(line: str, facts: Facts, ticket: Ticket) -> None:
    understood = read(line, facts)
    assert understood.ticket == ticket
    assert (understood.action, understood.target) == ((Action.AMEND, "bt1") if "amend" in line else (Action.ORDER, ""))


def test_what_was_understood_is_said_in_words() -> None:
    said = read("buy 500 @ 1.2040 post stop 1.19 target 1.25", ASTER).words
    assert said == "Buy 500 ASTER, limit 1.2040, post-only, stop 1.1900 (-1.16 %), target 1.2500 (+3.82 %): 602.00 USDT"
    assert read("sell half reduce", LONG).words == "Sell 400 ASTER, at the market, only to reduce: 481.60 USDT"
    assert read("trail 0.5", LONG).words == "The stop of the position of 800 ASTER trails by 0.5 %"


@pytest.mark.parametrize(
    ("line", "facts", "why"),
    [
        ("", ASTER, "Type an order"),
        ("bye 500", ASTER, "'bye' is no command"),
        ("buy", ASTER, "How much?"),
        ("buy @ bid", ASTER, "How much?"),
        ("buy much", ASTER, "'much' is no number"),
        ("buy -5", ASTER, "cannot be the size"),
        ("buy nan", ASTER, "cannot be the size"),
        ("buy 1.5", ASTER, "no multiple of 1 ASTER"),
        ("buy 500 @", ASTER, "price is missing"),
        ("buy 500 @ 1.20405", ASTER, "1.2040 and 1.2041 exist"),
        ("buy 500 post", ASTER, "belong to a limit"),
        ("buy 500 now", ASTER, "'now' was not understood"),
        ("buy 500 @ ask", ASTER._replace(ask=0), "no ask now"),
        ("buy 5usdt", ASTER._replace(ask=0), "no price now"),
        ("buy 0.5usdt", ASTER, "is no size"),
        ("buy 25%", ASTER, "free margin is not known"),
        ("buy 25%", RICH._replace(power=Decimal(0)), "free margin is nothing"),
        ("buy 101%", RICH, "more than there is"),
        ("buy risk 1%", RICH, "A risk needs a stop"),
        ("buy risk", RICH, "at risk in percent is missing"),
        ("buy risk 1% stop 1.19", ASTER, "equity at risk is not known"),
        ("buy 500 stop", ASTER, "price is missing"),
        ("buy 500 stop 100%", ASTER, "there is nothing"),
        ("buy 500 stop 1%", ASTER._replace(ask=0), "no price now"),
        ("buy 25% reduce", LONG, "means the position"),
        ("sell all", ASTER, "means the position"),
        ("buy all", LONG, "not closed by this side"),
        ("stop 1.19", ASTER, "There is no position"),
        ("stop 1.19 please", LONG, "'please' was not understood"),
        ("trail 0.555", LONG, "too fine"),
        ("amend 400 @ 1.2", ASTER, "Which order?"),
        ("amend 400", LONG, "Amend to what?"),
    ],
)
def test_a_line_that_means_nothing_says_why(line: str, facts: Facts, why: str) -> None:
    with pytest.raises(LineError, match=why.replace("?", r"\?")):
        read(line, facts)


PARTS = [
    "risk",
    "0.5%",
    "join",
    "buy",
    "sell",
    "@",
    "1.2",
    "500",
    "stop",
    "target",
    "trail",
    "post",
    "all",
    "1e400",
    "usdt",
    "reduce",
    "amend",
]


@given(st.text(max_size=60) | st.lists(st.sampled_from(PARTS)).map(" ".join))
def test_no_line_breaks_it_and_what_is_understood_is_a_ticket(line: str) -> None:
    try:
        understood = read(line, LONG)
    except LineError as problem:
        assert str(problem)
        return
    ticket = understood.ticket
    assert ticket.quantity >= 0 and ticket.price >= 0 and understood.words


def test_each_documented_line_is_understood() -> None:
    for line, _ in LINES:
        assert read(line, LONG).words


def test_a_word_is_completed_where_one_will_do() -> None:
    assert complete("buy 500 @ 1.2 po") == "buy 500 @ 1.2 post"
    assert complete("am") == "amend"
    assert complete("buy 500 t") == "" and complete("buy 500 ") == "" and complete("buy 500 xyz") == ""
