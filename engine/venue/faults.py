"""Named faults go in from a test; the places where the venue may fail ask here whether they should.

Every fault is one that a venue or a network really shows (except `fee_rate`, which exists so that a ledger's check can be
seen to fail). Those with `times` wear off by themselves; `clear` removes the rest.
"""

from decimal import Decimal
from typing import Any

import msgspec

from engine.errors import DecodeError

FRAME_FAULTS = ("drop", "duplicate", "reorder", "malformed", "truncated", "wrong_type", "unknown_fields", "disagree", "cross")
COUNTED = ("stale_snapshot", "lying_snapshot", "lose_subscribe", "lose_unsubscribe")
REPLY_FAULTS = ("http", "lose_ack", "delay_execution", "delay_reply", "empty_body")
OTHER_FAULTS = (
    "depth_gap", "depth_duplicate", "boundary_snapshot", "silence", "cut", "refuse", "fee_rate", "funding", "renumber", "leave",
    "shock", "withdrawals", "expire_listen_key", "clock_offset", "slow_consumer_bytes", "late_ack", "clear",
)  # fmt: skip
NAMES = (*FRAME_FAULTS, *COUNTED, *REPLY_FAULTS, *OTHER_FAULTS)
# What may be tried on a running demo, and what is seen of it: a console offers these by name.
OFFERED = {
    "depth_gap": "A depth update is lost: the book goes stale and is read anew",
    "depth_duplicate": "A depth update comes twice: nothing changes",
    "reorder": "Two depth updates change places: a gap",
    "cross": "A depth update crosses the book: it goes stale and is read anew",
    "disagree": "The ticker disagrees with the book at the same update: it goes stale and is read anew",
    "malformed": "A depth update is cut off in the middle: it is counted, and a gap",
    "wrong_type": "A depth update has fields of a wrong type: it is counted, and a gap",
    "unknown_fields": "A depth update has new fields: they are ignored and named",
    "stale_snapshot": "The next snapshot is older than every update: another one is asked for",
    "lying_snapshot": "The next snapshot is wrong: the periodic check finds it",
    "silence": "The depth stream says nothing more: the book goes stale (cleared by `clear`)",
    "cut": "Every connection is cut: books are lost and come back",
    "refuse": "Connections are refused (until `clear`)",
    "renumber": "OKX numbers its book anew: legal, nothing happens",
    "leave": "OKX says that it will close the connections: others follow before it does",
    "clear": "What lasts ends",
}
VENUES = ("binance", "okx")


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sim/fault`. Only `name` is always needed; the rest has meaning for some faults.

    `kind` is a stream's name without symbol and speed (`depth`, `aggTrade` ...), `path` a REST path with or without its
    method (`POST /fapi/v1/order`), `on` switches lasting faults off again.
    """

    name: str
    venue: str = "binance"  # binance, okx or all
    kind: str = "depth"
    symbol: str = ""
    path: str = ""
    times: int = 1
    on: bool = True
    route: str = "all"
    status: int = 503
    body: str = '{"code":-1001,"msg":"Internal error; unable to process your request. Please try again."}'
    headers: dict[str, str] = {}
    executed: bool = False  # `http`: the request is carried out before the error is sent
    ms: int = 0
    rate: str = ""
    side: str = "SELL"
    quantity: int = 0


class ReplyFault(msgspec.Struct):
    """The next `times` REST requests of `path` (also `METHOD path`; empty: any) are answered so."""

    name: str
    path: str
    times: int
    status: int
    body: str
    headers: dict[str, str]
    executed: bool
    ms: int


class Faults:
    """What is switched on now. The exchange, the streams and the REST surface read it; only the control endpoint writes."""

    def __init__(self) -> None:
        self.frames: dict[tuple[str, str], int] = {}
        self.replies: list[ReplyFault] = []
        self.silent: set[str] = set()
        self.refusing = False
        self.counted: dict[str, int] = {}
        self._kept: dict[str, bytes] = {}  # frames that wait to be overtaken
        self.boundary_snapshots = 0
        self.late_acks = 0
        self.fee_rate = ""
        self.withdrawals = False  # the API key may withdraw
        self.clock_offset_ms = 0
        self.buffer_bytes = 0  # 0: the usual limit
        self.injected = 0

    def switch(self, order: FaultOrder) -> None:
        """Record a fault. Those that act at once (`cut`, `funding`, `shock` ...) are the server's to carry out."""
        if order.name not in NAMES:
            raise DecodeError("fault", f"{order.name!r} is not a fault; there are {', '.join(sorted(NAMES))}")
        name = {"depth_gap": "drop", "depth_duplicate": "duplicate"}.get(order.name, order.name)
        if name in FRAME_FAULTS:
            self.frames[(name, order.kind)] = order.times if order.on else 0
        elif name in REPLY_FAULTS:
            fields = {field: getattr(order, field) for field in ReplyFault.__struct_fields__}
            self.replies.append(ReplyFault(**fields))
        elif name == "silence":
            self.silent.add(order.kind) if order.on else self.silent.discard(order.kind)
        elif name == "refuse":
            self.refusing = order.on
        elif name in COUNTED:
            self.counted[name] = order.times if order.on else 0
        elif name == "boundary_snapshot":
            self.boundary_snapshots = order.times
        elif name == "late_ack":
            self.late_acks = order.times
        elif name == "fee_rate":
            self.fee_rate = order.rate
        elif name == "withdrawals":
            self.withdrawals = order.on
        elif name == "clock_offset":
            self.clock_offset_ms = order.ms
        elif name == "slow_consumer_bytes":
            self.buffer_bytes = order.quantity
        elif name == "clear":
            self.__init__()  # type: ignore[misc]

    def bodies(self, kind: str, body: bytes) -> tuple[bytes, ...]:
        """What is sent in place of one frame of a stream kind."""
        if kind in self.silent:
            return ()
        if kept := self._kept.pop(kind, b""):
            return (body, kept)
        if not self.frames:
            return (body,)
        if self._due("reorder", kind):
            self._kept[kind] = body
            return ()
        if self._due("truncated", kind):
            return (body[:1],)
        if self._due("disagree", kind):
            return (self._with(body, {"B": "123456"}, first=("bids", 1, "123456")),)
        if self._due("cross", kind):
            return (self._crossed(body),)
        if self._due("drop", kind):
            return ()
        if self._due("duplicate", kind):
            return (body, body)
        if self._due("malformed", kind):
            return (body[: len(body) * 2 // 3],)
        if self._due("wrong_type", kind):
            return (self._with(body, {"E": {"not": "a time"}, "u": ["x"], "p": {}, "b": 7, "ts": [], "px": {}, "asks": 7}),)
        if self._due("unknown_fields", kind):
            return (self._with(body, {"zz_new": {"nested": [1, "2", None]}, "zz_flag": True}, adds=True),)
        return (body,)

    def take(self, name: str) -> bool:
        """Whether a counted fault is due; used up by asking."""
        left = self.counted.get(name, 0)
        if left <= 0:
            return False
        self.counted[name] = left - 1
        self.injected += 1
        return True

    def reply(self, method: str, path: str) -> ReplyFault | None:
        """The next fault of this request's reply, used up by asking."""
        for fault in self.replies:
            if fault.path in ("", path, f"{method} {path}"):
                fault.times -= 1
                if fault.times <= 0:
                    self.replies.remove(fault)
                self.injected += 1
                return fault
        return None

    def _due(self, name: str, kind: str) -> bool:
        left = self.frames.get((name, kind), 0)
        if left <= 0:
            return False
        if left == 1:
            del self.frames[(name, kind)]
        else:
            self.frames[(name, kind)] = left - 1
        self.injected += 1
        return True

    @staticmethod
    def _with(
        body: bytes, fields: dict[str, object], adds: bool = False, first: tuple[str, int, object] | None = None
    ) -> bytes:
        """The frame with other fields; `first` changes one entry of the first row of a list (OKX's levels)."""
        message: dict[str, Any] = msgspec.json.decode(body)
        inner = message["data"][0] if isinstance(message.get("data"), list) else message
        if isinstance(inner, dict):
            inner.update({name: value for name, value in fields.items() if adds or name in inner})
            if first and inner.get(first[0]):
                inner[first[0]][0][first[1]] = first[2]
        return msgspec.json.encode(message)

    @staticmethod
    def _crossed(body: bytes) -> bytes:
        """A depth update with a bid far above every ask."""
        message: dict[str, Any] = msgspec.json.decode(body)
        inner = message["data"][0] if "data" in message else message
        name = "bids" if "bids" in inner else "b"
        sample = next(iter(inner[name] + inner["asks" if name == "bids" else "a"]), None)
        if sample is not None:
            price = str(Decimal(sample[0]) * 2)
            inner[name].append([price, *(sample[1:] if Decimal(sample[1]) else ["1", "0", "1"][: len(sample) - 1])])
        return msgspec.json.encode(message)
