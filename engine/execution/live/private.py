"""The account's private socket in; order reports, conditional reports and balance changes out as events.

The listen key is kept alive every 25 minutes; after each (re)connection the core asks for a snapshot by REST, since what
happened in between is not sent again.
"""

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal

import msgspec
import websockets

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import (
    BalanceChange,
    ConditionalReport,
    Connected,
    Disconnected,
    Emit,
    Event,
    Instrument,
    OrderReport,
    Side,
)
from engine.execution.live import shapes
from engine.execution.live.account import TITLE, VENUE, BinanceAccount
from engine.execution.live.stream import PrivateStream, why_ended
from engine.signal.decoding import SHORT, UNREADABLE, said
from engine.signal.socket import never

KEEP_ALIVE_S = 25 * 60
# Nothing may come for hours where nobody trades, and a connection that a router has forgotten looks the same. Binance answers
# pings (ccxt sends them too).
PING_EVERY_S, PONG_WITHIN_S = 30.0, 30.0

_frames = msgspec.json.Decoder(shapes.PrivateFrame, strict=False)


class PrivateFeed(PrivateStream[shapes.PrivateFrame]):
    """One account's stream. `run` ends only by cancellation or when no key can be had (a VenueError)."""

    venue, title = VENUE, TITLE

    def __init__(
        self,
        base: str,
        account: BinanceAccount,
        instruments: list[Instrument],
        clock: Clock,
        emit: Emit,
        order_waits: Callable[[], bool] = never,
    ) -> None:
        super().__init__(base, instruments, clock, emit, order_waits)
        self.account = account

    async def run(self) -> None:
        key = await self.account.listen_key()
        # The test network has no routes.
        url = f"{self.base}/{key}" if self.base.endswith("/ws") else f"{self.base}/private/ws?listenKey={key}"
        async with await self._open(url, ping_interval=PING_EVERY_S, ping_timeout=PONG_WITHIN_S) as socket:
            self.emit(Connected(self.clock.now_ns(), VENUE, "private"), time.monotonic_ns())
            reason = "the connection ended"
            keeping = asyncio.create_task(self._keep_alive())
            reading = asyncio.create_task(socket.listen(self._hear, self.order_waits))
            try:
                done, _ = await asyncio.wait({keeping, reading}, return_when=asyncio.FIRST_COMPLETED)
                next(iter(done)).result()
            except (websockets.ConnectionClosed, VenueError) as problem:
                reason = why_ended(problem)
            finally:
                socket.mute()
                for task in (keeping, reading):
                    task.cancel()
                await asyncio.gather(keeping, reading, return_exceptions=True)
                self.emit(Disconnected(self.clock.now_ns(), VENUE, "private", reason), time.monotonic_ns())
        raise VenueError(TITLE, f"the private stream ended: {reason}")

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self.clock.real_seconds(KEEP_ALIVE_S))
            await self.account.keep_listen_key()

    def _hear(self, raw: bytes) -> bool:
        return self._told(raw, self._look)

    def _look(self, frame: shapes.PrivateFrame) -> None:
        if isinstance(frame, shapes.ListenKeyExpiredFrame):
            raise VenueError(TITLE, "the venue let the stream's key expire")

    def decode(self, raw: bytes, at: int) -> tuple[shapes.PrivateFrame, list[Event]]:
        try:
            frame = _frames.decode(raw)
            return frame, self._events(frame, at)
        except UNREADABLE as problem:
            raise DecodeError("Binance account", str(problem)[:SHORT]) from None

    def _events(self, frame: shapes.PrivateFrame, at: int) -> list[Event]:
        if isinstance(frame, shapes.OrderTradeUpdateFrame):
            return self._order(frame.o, at)
        if isinstance(frame, shapes.AlgoUpdateFrame):
            algo = frame.o
            instrument = self._by_symbol.get(algo.s)
            if instrument is None:
                self.foreign += 1
                return []
            return [ConditionalReport(at, instrument.market, algo.caid, str(algo.aid), algo.X, algo.ai, said(algo.rm), frame.E)]
        if isinstance(frame, shapes.AccountUpdateFrame) and frame.a.m != "ORDER":
            market = next((self._by_symbol[row.s].market for row in frame.a.P if row.s in self._by_symbol), "")
            return [
                BalanceChange(at, VENUE, frame.a.m, balance.a, balance.wb, balance.bc, market)
                for balance in frame.a.B
                if balance.bc
            ]
        return []

    def _order(self, order: shapes.OrderUpdate, at: int) -> list[Event]:
        instrument = self._by_symbol.get(order.s)
        if instrument is None:
            self.foreign += 1
            return []
        step = instrument.step
        traded = order.x in ("TRADE", "CALCULATED") and order.l > 0
        return [
            OrderReport(
                at,
                instrument.market,
                order.c,
                str(order.i),
                order.X,
                Side.BUY if order.S == "BUY" else Side.SELL,
                shapes.whole(order.q, step),
                shapes.whole(order.z, step),
                order.R,
                order.T,
                shapes.whole(order.l, step) if traded else 0,
                shapes.whole(order.L, instrument.tick) if traded else 0,
                order.t if traded else 0,
                order.n or Decimal(0),
                order.N or "",
                order.m,
                order.rp,
                price=shapes.whole(order.p, instrument.tick),
            )
        ]
