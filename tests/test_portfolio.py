"""The ledger is exact: against an independent computation in fractions, over random fills."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Side
from engine.portfolio import Portfolio, Position, cents, commission
from tests.factory import MAKER, MARKET, TAKER, aster

FILLS = st.lists(
    st.tuples(st.sampled_from([Side.BUY, Side.SELL]), st.integers(1, 500), st.integers(1, 20_000), st.booleans()), max_size=60
)


def opened() -> Portfolio:
    portfolio = Portfolio()
    portfolio.open(Decimal(10_000))
    portfolio.fee_rates[MARKET] = (MAKER, TAKER)
    return portfolio


@given(FILLS)
def test_cash_is_conserved_to_the_last_digit(fills: list[tuple[Side, int, int, bool]]) -> None:
    """Equity at any mark equals every cash flow plus the position at that mark, whatever the order of fills."""
    portfolio, cash, quantity = opened(), Fraction(10_000), 0
    for side, size, price, maker in fills:
        fee = commission(price * Decimal("0.0001") * size, MAKER if maker else TAKER)
        portfolio.fill(aster(), side, size, price, fee, maker, 1)
        cash -= side * size * Fraction(price, 10_000) + Fraction(fee)
        quantity += side * size
    position = portfolio.position(MARKET)
    assert position.quantity == quantity
    mark = Decimal("0.7777")
    equity = Fraction(portfolio.wallet + position.unrealised(aster(), mark))
    assert equity == cash + quantity * Fraction(mark)


@given(st.integers(1, 1000), st.integers(1, 9_999), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_closing_in_parts_realises_exactly_what_closing_at_once_does(size: int, price: int, parts: list[int]) -> None:
    whole, pieces = Position(), Position()
    for position in (whole, pieces):
        position.apply(aster(), Side.BUY, size, price, 1)
        position.apply(aster(), Side.BUY, 7, price + 3, 1)
    left = size + 7
    once = whole.apply(aster(), Side.SELL, left, price + 11, 2)
    total = Decimal(0)
    for part in parts:
        if left > part:
            total += pieces.apply(aster(), Side.SELL, part, price + 11, 2)
            left -= part
    total += pieces.apply(aster(), Side.SELL, left, price + 11, 2)
    assert total == once
    assert pieces.quantity == 0 and pieces.cost == 0


def test_a_fill_that_turns_the_position_closes_it_and_opens_the_rest_at_its_price() -> None:
    position = Position()
    position.apply(aster(), Side.BUY, 100, 6000, 1)
    realised = position.apply(aster(), Side.SELL, 150, 6100, 2)
    assert realised == Decimal("1.00")
    assert (position.quantity, position.cost) == (-50, Decimal("30.50"))
    assert position.entry(aster()) == Decimal("0.61")


def test_commission_is_charged_on_notional_and_not_on_quantity() -> None:
    """The seed program charged it on quantity."""
    portfolio = opened()
    notional = Decimal("0.62") * 1000
    assert commission(notional, TAKER) == Decimal("0.31")
    portfolio.fill(aster(), Side.BUY, 1000, 6200, Decimal("0.31"), False, 1)
    assert portfolio.fees == Decimal("0.31") and portfolio.fee_mismatches == 0


def test_a_commission_that_is_not_ours_is_booked_as_charged_and_counted() -> None:
    portfolio = opened()
    _, ours = portfolio.fill(aster(), Side.BUY, 1000, 6200, Decimal("0.30"), False, 1)
    assert ours == Decimal("0.31")
    assert portfolio.fee_mismatches == 1 and portfolio.wallet == Decimal("9999.70")


def test_a_short_gains_when_the_price_falls() -> None:
    position = Position()
    position.apply(aster(), Side.SELL, 100, 6000, 1)
    assert position.unrealised(aster(), Decimal("0.59")) == Decimal("1.00")
    assert position.apply(aster(), Side.BUY, 100, 5900, 2) == Decimal("1.00")


def test_funding_moves_the_wallet() -> None:
    portfolio = opened()
    portfolio.fund(MARKET, Decimal("-0.5"))
    assert (portfolio.wallet, portfolio.funding) == (Decimal("9999.5"), Decimal("-0.5"))


def test_a_trade_id_is_new_once() -> None:
    portfolio = opened()
    assert [portfolio.first_sight(MARKET, 5), portfolio.first_sight(MARKET, 5), portfolio.first_sight("other", 5)] == [
        True,
        False,
        True,
    ]


def test_amounts_round_half_to_even_at_eight_decimals() -> None:
    assert cents(Decimal("0.000000005")) == Decimal("0E-8")
    assert cents(Decimal("0.000000015")) == Decimal("2E-8")
