"""Named faults go in from a test; the places where the venue may fail ask here whether they should.

Every fault is one that a venue or a network really shows (except `fee_rate`, which exists so that a ledger's check can be
seen to fail). Those with `times` wear off by themselves; `clear` removes the rest.
"""

import msgspec

from engine.errors import DecodeError

FRAME_FAULTS = ("drop", "duplicate", "malformed", "wrong_type", "unknown_fields")
REPLY_FAULTS = ("http", "lose_ack", "delay_execution", "delay_reply", "empty_body")
OTHER_FAULTS = (
    "depth_gap", "depth_duplicate", "stale_snapshot", "boundary_snapshot", "silence", "cut", "refuse", "fee_rate", "funding",
    "shock", "expire_listen_key", "clock_offset", "slow_consumer_bytes", "late_ack", "clear",
)  # fmt: skip
NAMES = (*FRAME_FAULTS, *REPLY_FAULTS, *OTHER_FAULTS)


class FaultOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sim/fault`. Only `name` is always needed; the rest has meaning for some faults.

    `kind` is a stream's name without symbol and speed (`depth`, `aggTrade` ...), `path` a REST path with or without its
    method (`POST /fapi/v1/order`), `on` switches lasting faults off again.
    """

    name: str
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
        self.stale_snapshots = 0
        self.boundary_snapshots = 0
        self.late_acks = 0
        self.fee_rate = ""
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
        elif name == "stale_snapshot":
            self.stale_snapshots = order.times
        elif name == "boundary_snapshot":
            self.boundary_snapshots = order.times
        elif name == "late_ack":
            self.late_acks = order.times
        elif name == "fee_rate":
            self.fee_rate = order.rate
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
        if not self.frames:
            return (body,)
        if self._due("drop", kind):
            return ()
        if self._due("duplicate", kind):
            return (body, body)
        if self._due("malformed", kind):
            return (body[: len(body) * 2 // 3],)
        if self._due("wrong_type", kind):
            return (self._with(body, {"E": {"not": "a time"}, "u": ["x"], "p": {}, "b": 7}),)
        if self._due("unknown_fields", kind):
            return (self._with(body, {"zz_new": {"nested": [1, "2", None]}, "zz_flag": True}, adds=True),)
        return (body,)

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
    def _with(body: bytes, fields: dict[str, object], adds: bool = False) -> bytes:
        message: dict[str, object] = msgspec.json.decode(body)
        message.update({name: value for name, value in fields.items() if adds or name in message})
        return msgspec.json.encode(message)
