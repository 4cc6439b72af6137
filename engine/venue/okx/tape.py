"""Takes trades, quotes and book changes in ticks and steps; gives OKX v5 frames, sizes in contracts, all numbers as strings."""

from collections.abc import Iterable
from decimal import Decimal

from engine.venue.market import KlineRow, MarkState, TapeRow
from engine.venue.tape import Grid, Tape


class OkxTape(Tape):
    """`sizes` turns steps into contracts; `face` is a contract's base units."""

    def __init__(self, name: str, prices: Grid, sizes: Grid, face: Decimal, next_id: int = 1) -> None:
        super().__init__(name, prices, sizes, next_id)
        self.face = face

    def trade_frame(self, row: TapeRow, event_ms: int, derived: bool = False) -> bytes:
        count = row.last_id - row.first_id + 1
        side = "sell" if row.maker_is_buyer else "buy"
        return self._frame(
            "trades",
            f'{{"instId":"{self.symbol}","tradeId":"{row.last_id}","px":"{self.prices.text(row.price)}",'
            f'"sz":"{self.sizes.text(row.quantity)}","side":"{side}","ts":"{row.at_ms}","count":"{count}","source":"0",'
            f'"seqId":{row.last_id}}}',
        )

    def kline_frame(self, event_ms: int, closed: bool, derived: bool = False) -> bytes:
        bar = self.bar
        assert bar is not None
        self.unpublished = False
        return self._frame("candle1m", self.candle(self._row(bar), closed))

    def candle(self, row: KlineRow, closed: bool) -> str:
        """One bar as a row: volume in contracts, in base units, in quote units."""
        price, size = self.prices.text, self.sizes.text
        base = self.sizes.amount(row.volume) * self.face
        return (
            f'["{row.open_ms}","{price(row.open)}","{price(row.high)}","{price(row.low)}","{price(row.close)}",'
            f'"{size(row.volume)}","{base:f}","{row.quote_volume * self.face:f}","{int(closed)}"]'
        )

    def quote_frame(self, best: tuple[int, int, int, int], update_id: int, at_ms: int) -> bytes:
        bid, bid_size, ask, ask_size = best
        return self._frame(
            "bbo-tbt",
            f'{{"asks":[{self._levels([(ask, ask_size)])}],"bids":[{self._levels([(bid, bid_size)])}],'
            f'"ts":"{at_ms}","seqId":{update_id}}}',
        )

    def depth_frame(
        self, first_id: int, last_id: int, previous_id: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]],
        at_ms: int,
    ) -> bytes:  # fmt: skip
        return self.book_frame("update", previous_id, last_id, bids, asks, at_ms)

    def book_frame(
        self, action: str, previous_id: int, last_id: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]],
        at_ms: int,
    ) -> bytes:  # fmt: skip
        row = (
            f'{{"asks":[{self._levels(asks)}],"bids":[{self._levels(bids)}],"ts":"{at_ms}","checksum":0,'
            f'"prevSeqId":{previous_id},"seqId":{last_id}}}'
        )
        return f'{{"arg":{self._arg("books")},"action":"{action}","data":[{row}]}}'.encode()

    def mark_frame(self, mark: MarkState, at_ms: int) -> bytes:
        return self._frame(
            "mark-price", f'{{"instId":"{self.symbol}","instType":"SWAP","markPx":"{mark.mark:.8f}","ts":"{at_ms}"}}'
        )

    def funding_frame(self, mark: MarkState, minutes: int, at_ms: int) -> bytes:
        after = mark.next_funding_ms + minutes * 60_000
        return self._frame(
            "funding-rate",
            f'{{"instId":"{self.symbol}","instType":"SWAP","fundingRate":"{mark.rate:.8f}","nextFundingRate":"",'
            f'"fundingTime":"{mark.next_funding_ms}","nextFundingTime":"{after}","method":"current_period","ts":"{at_ms}"}}',
        )

    def _frame(self, channel: str, row: str) -> bytes:
        return f'{{"arg":{self._arg(channel)},"data":[{row}]}}'.encode()

    def _arg(self, channel: str) -> str:
        return f'{{"channel":"{channel}","instId":"{self.symbol}"}}'

    def _levels(self, levels: Iterable[tuple[int, int]]) -> str:
        """Price, contracts, a field that is dead, and how many orders (one, or none where the level goes)."""
        price, size = self.prices.text, self.sizes.text
        return ",".join([f'["{price(ticks)}","{size(steps)}","0","{min(steps, 1)}"]' for ticks, steps in levels])
