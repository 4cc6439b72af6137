"""What many tests need: an instrument, settings, a core that is ready to trade."""

from decimal import Decimal

from engine.config import Settings, create_aster_config
from engine.core import Core
from engine.events import (
    AccountSnapshot,
    Action,
    BookDelta,
    BookSnapshot,
    Command,
    Connected,
    Event,
    Fees,
    Instrument,
    LeverageSet,
    Mode,
    PositionFact,
    SendOrder,
    Side,
    Started,
    Tick,
    Trade,
    TradeHistory,
    pack_levels,
)

MARKET = "binance:ASTER/USDT:USDT"
START = 1_790_000_000_000_000_000
MS = 1_000_000
SECOND = 1_000_000_000
MAKER, TAKER = Decimal("0.0002"), Decimal("0.0005")


def aster(at: int = START) -> Instrument:
    return Instrument(
        at, MARKET, "ASTERUSDT", "ASTER", "USDT", Decimal("0.0001"), Decimal(1), 1, 1_000_000, 250_000, Decimal(5), True
    )


def settings(**sections: dict[str, object]) -> Settings:
    """Defaults for ASTER on one-second bars."""
    strategy = {"timeframe": "1s", **sections.pop("strategy", {})}
    return create_aster_config(strategy=strategy, **sections)


class Desk:
    """A core and the time, fed by hand: what a runtime would do, without sockets."""

    def __init__(self, chosen: Settings | None = None, halted: str = "") -> None:
        self.core = Core(chosen or settings())
        self.at = START
        self.out: list[Event] = []
        self.inputs: list[Event] = []
        self.update = 1000
        self.trade_id = 0
        self.feed(Started(self.at, "test00", "", Mode.DEMO, "", "0", halted))
        self.feed(aster())

    def feed(self, event: Event) -> list[Event]:
        self.inputs.append(event)
        out = self.core.process(event)
        self.out += out
        return out

    def pass_ms(self, ms: int) -> list[Event]:
        """Let time pass in steps of 100 ms, with a book that stays fresh."""
        out: list[Event] = []
        for _ in range(ms // 100):
            self.at += 100 * MS
            out += self.touch()
            out += self.feed(Tick(self.at))
        return out

    def touch(self, bid: int = 0, ask: int = 0) -> list[Event]:
        """A book update: an unchanged book, or a new best bid and ask."""
        bids, asks = b"", b""
        if bid:
            book = self.core.state.markets[MARKET].book
            gone_bids = [n for price in book.bid_prices if price > bid for n in (price, 0)]
            gone_asks = [n for price in book.ask_prices if price < ask for n in (price, 0)]
            bids, asks = pack_levels([*gone_bids, bid, 5000]), pack_levels([*gone_asks, ask, 5000])
        before, self.update = self.update, self.update + 5
        return self.feed(BookDelta(self.at, MARKET, before + 1, self.update, before, bids, asks, self.at // MS))

    def open(self, bid: int = 6200, ask: int = 6201) -> "Desk":
        """Feeds connected, book trusted, account known."""
        self.feed(Connected(self.at, "binance", "public"))
        self.feed(Connected(self.at, "binance", "market"))
        self.feed(TradeHistory(self.at, MARKET, b""))
        self.touch()
        levels = pack_levels([n for i in range(20) for n in (bid - i, 5000)])
        others = pack_levels([n for i in range(20) for n in (ask + i, 5000)])
        self.feed(BookSnapshot(self.at, MARKET, self.update, levels, others, self.at // MS))
        self.touch()
        self.feed(Fees(self.at, MARKET, MAKER, TAKER))
        self.feed(LeverageSet(self.at, MARKET, 3))
        self.feed(Connected(self.at, "binance", "private"))
        self.account()
        return self

    def account(self, wallet: str = "10000", positions: tuple[PositionFact, ...] = (), **more: object) -> list[Event]:
        """The venue's snapshot, read now."""
        self.at += MS
        return self.feed(
            AccountSnapshot(self.at, "binance", Decimal(wallet), Decimal(wallet), positions, more.pop("orders", ()), self.at)  # type: ignore[arg-type]
        )

    def arm(self) -> "Desk":
        self.command(Action.ARM)
        return self

    def command(self, action: Action, id: str = "") -> list[Event]:
        return self.feed(Command(self.at, id or f"c{len(self.inputs)}", action, "the test"))

    def trade(self, price: int, size: int = 10, side: Side = Side.BUY) -> list[Event]:
        self.trade_id += 1
        return self.feed(Trade(self.at, MARKET, self.trade_id, price, size, side, self.at // MS))

    def trend(self, bars: int, step: int, price: int = 6200) -> list[Event]:
        """A second a bar, `step` ticks a bar."""
        out: list[Event] = []
        for n in range(bars):
            now = price + n * step + (1 if n % 2 else -1)
            out += self.touch(now - 1, now)
            out += self.trade(now)
            out += self.pass_ms(1000)
        return out


def sent(out: list[Event]) -> list[SendOrder]:
    return [event for event in out if isinstance(event, SendOrder)]


def of(out: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in out if isinstance(event, kind)]
