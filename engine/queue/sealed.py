"""A console's command in, a sealed record out; and behind the broker, whether such a record may be carried out.

The seal is HMAC-SHA256 over session, id, expiry and body with a secret that both sides know and that is in none of it. Times
are UTC of the two machines' own clocks, so these must agree to a few seconds; a refusal says by how much they do not.
"""

import hashlib
import hmac

import msgspec

from engine.errors import BarterError
from engine.views import Ask, encode

LIFETIME_S = 5.0  # a command that is older may not come from a backlog
FURTHEST_S = 10.0  # a command may not expire later than this: one could be kept for a better moment
KEPT = 10_000
NS = 1_000_000_000
_PURPOSE = b"barter-tui command 1\n"


class Sealed(msgspec.Struct, frozen=True, array_like=True):
    """A record of the topic of commands. `body` is an encoded `Ask`."""

    session: str
    id: str
    expires_ns: int
    body: bytes
    mac: bytes


_sealed = msgspec.msgpack.Decoder(Sealed)
_ask = msgspec.msgpack.Decoder(Ask)


class Refused(BarterError):
    """A command is not carried out. `id` is its own, "" where that cannot be known; `session` whose it is for."""

    def __init__(self, reason: str, id: str = "", session: str = "") -> None:
        self.reason, self.id, self.session = reason, id, session
        super().__init__(reason)


def seal(ask: Ask, session: str, secret: bytes, now_ns: int) -> bytes:
    expires_ns, body = now_ns + int(LIFETIME_S * NS), encode(ask)
    return msgspec.msgpack.encode(Sealed(session, ask.id, expires_ns, body, _mac(secret, session, ask.id, expires_ns, body)))


class Gate:
    """Opens records for one session. Without a `secret` it stays shut, and `why` says what is wrong with it."""

    def __init__(self, session: str, secret: bytes | None, why: str = "") -> None:
        self._session, self._secret = session, secret
        self._shut = why.rstrip(".") or "this engine has no secret to check it with"
        self._had: dict[str, int] = {}  # ids that were let through, until they are expired anyway

    def open(self, value: bytes, now_ns: int) -> Ask:
        """Raises Refused. What is returned has been let through once and will not be again."""
        try:
            found = _sealed.decode(value)
        except (ValueError, RecursionError):  # msgspec's are ValueErrors
            raise Refused("it cannot be read") from None
        if reason := self._reason(found, now_ns):
            raise Refused(reason, found.id[:64], found.session)
        try:
            ask = _ask.decode(found.body)
        except (ValueError, RecursionError):
            ask = None
        if ask is None or ask.id != found.id:
            raise Refused("what is sealed is no such command: versions may differ", found.id[:64], found.session)
        self._had = {id: until for id, until in self._had.items() if until > now_ns}
        if found.id in self._had or len(self._had) >= KEPT:
            reason = "it was carried out before" if found.id in self._had else "too many commands came within a few seconds"
            raise Refused(reason, found.id[:64], found.session)
        self._had[found.id] = found.expires_ns
        return ask

    def _reason(self, found: Sealed, now_ns: int) -> str:
        """Why not, "" where nothing speaks against it."""
        if self._secret is None:
            return self._shut
        if not hmac.compare_digest(_mac(self._secret, found.session, found.id, found.expires_ns, found.body), found.mac):
            return "its seal is not made with this engine's secret"
        if found.session != self._session:
            return f"it is for session {found.session[:16]}, and this is {self._session}"
        left_s = (found.expires_ns - now_ns) / NS
        if left_s <= 0:
            return f"it expired {-left_s:.1f} s ago by the engine's clock: it was late, or the clocks differ"
        if left_s > FURTHEST_S:
            return f"it would be valid for {left_s:.1f} s more by the engine's clock: the clocks differ"
        return ""


def _mac(secret: bytes, session: str, id: str, expires_ns: int, body: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + msgspec.msgpack.encode((session, id, expires_ns, body)), hashlib.sha256)
