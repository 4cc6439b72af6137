"""The fields of an order ticket and the keys that change them in; the line that they amount to, for `orderline`, out. Pure."""

from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation

from console.orderline import Facts

SIDES = ("buy", "sell")
# Each type, with the word of the line behind its price; the last three are for the position that there is.
KINDS = {
    "market": "",
    "limit": "",
    "post-only": "post",
    "ioc": "ioc",
    "fok": "fok",
    "stop": "",
    "take-profit": "",
    "trailing": "",
}
GUARDS = {"stop": "stop", "take-profit": "target", "trailing": "trail"}
YES = ("no", "yes")
SIZES = ("1%", "2%", "5%", "10%", "25%", "50%", "100%", "risk 0.25%", "risk 0.5%", "risk 1%")
PARTS = ("25%", "50%", "100%")  # of the position
AWAY = ("", "0.25%", "0.5%", "1%", "2%", "5%")
TRAILS = ("", "0.2", "0.5", "1", "2")
PRICES = ("join", "bid", "ask")
FIELDS = ("side", "kind", "size", "price", "stop", "target", "trail", "reduce")
MOST = 16  # letters of a field


@dataclass
class Form:
    """Values are words as they are typed. `fresh`: what is typed next replaces the value of the field, instead of going on."""

    side: str = "buy"
    kind: str = "limit"
    size: str = ""
    price: str = "join"
    stop: str = ""
    target: str = ""
    trail: str = ""
    reduce: str = "no"
    here: str = "size"
    fresh: bool = True

    @property
    def fields(self) -> tuple[str, ...]:
        """Those that mean something as things are, in order."""
        if self.kind in GUARDS:
            return ("kind", "trail" if self.kind == "trailing" else "price")
        price = () if self.kind == "market" else ("price",)
        ends = () if self.reduce == "yes" else ("stop", "target", "trail")
        return ("side", "kind", "size", *price, *ends, "reduce")

    def line(self) -> str:
        """What would be typed for it."""
        if self.kind in GUARDS:
            return f"{GUARDS[self.kind]} {self.trail if self.kind == 'trailing' else self.price}".strip()
        words = [self.side, self.size]
        if self.kind != "market":
            words += ["@", self.price, KINDS[self.kind]]
        if self.reduce == "yes":
            return " ".join(word for word in (*words, "reduce") if word)
        for name in ("stop", "target", "trail"):
            value = getattr(self, name)
            words += [name, value] if value else []
        return " ".join(word for word in words if word)

    # --- keys ----------------------------------------------------------------------------------------------------------

    def go(self, fields: int) -> None:
        """So many fields on, round and round."""
        there = self.fields
        place = there.index(self.here) if self.here in there else 0
        self.here, self.fresh = there[(place + fields) % len(there)], True

    def step(self, by: int, facts: Facts | None) -> None:
        """The next or the previous value of the field: another choice or preset, a tick for a price."""
        name, value = self.here, str(getattr(self, self.here))
        self.fresh = True
        if name in ("price", "stop", "target") and facts is not None and (price := _price(value, self.side, facts)) is not None:
            self._set(f"{max(price + by * facts.tick, facts.tick):f}")
            return
        values = self._values(name)
        place = values.index(value) if value in values else -1 if by > 0 else 0
        self._set(values[(place + by) % len(values)])

    def nudge(self, by: int, facts: Facts | None) -> None:
        """A fixed step more or less: a tick for a price, 1 of the first digit for a size (400, 500, 600)."""
        if self.here in ("price", "stop", "target"):
            self.step(by, facts)
        elif self.here == "size" and facts is not None:
            size = _number(self.size) or Decimal(0)
            first = Decimal(1).scaleb(size.adjusted()) if size else facts.step
            digit = first / 10 if by < 0 and size == first else first
            self._set(f"{max(size + by * max(digit, facts.step), facts.step).normalize():f}")
            self.fresh = True

    def type(self, letter: str, cursor: str) -> None:
        """A letter of the field's value, or the first one of a choice; `cursor` is the price at the ladder's cursor, or ""."""
        name = self.here
        if name in ("side", "kind", "reduce"):
            choices = self._values(name)
            after = choices.index(getattr(self, name)) + 1
            found = [choice for choice in (*choices[after:], *choices[:after]) if choice.startswith(letter.lower())]
            if letter == " ":
                self.step(1, None)
            elif found:
                self._set(found[0])
            return
        words = {word[0]: word for word in PRICES if word != "join" or self.kind not in GUARDS} | (
            {"c": cursor} if cursor else {}
        )
        if name == "price" and letter in words:
            self._set(words[letter])
            self.fresh = True
            return
        allowed = letter.isdigit() or letter in ".,%" or (name == "size" and (letter.isalpha() or letter == " "))
        before = "" if self.fresh else str(getattr(self, name))
        if allowed and len(before) < MOST:
            self._set((before + letter.lower()).lstrip())
            self.fresh = False

    def erase(self, *, all: bool = False) -> None:
        if self.here not in ("side", "kind", "reduce"):
            word = getattr(self, self.here) in PRICES
            self._set("" if all or word else getattr(self, self.here)[:-1])
            self.fresh = False

    def _set(self, value: str) -> None:
        setattr(self, self.here, value)
        guards = self.kind in GUARDS
        if self.here == "kind" and guards == (self.price in PRICES):  # a stop joins nothing, and a limit is at no distance
            self.price = "" if guards else self.price if _number(self.price) else "join"

    def _values(self, name: str) -> tuple[str, ...]:
        match name:
            case "side":
                return SIDES
            case "kind":
                return tuple(KINDS)
            case "reduce":
                return YES
            case "size":
                return PARTS if self.reduce == "yes" else SIZES
            case "price" if self.kind not in GUARDS:
                return PRICES
            case "trail":
                return TRAILS
        return AWAY


def _price(value: str, side: str, facts: Facts) -> Decimal | None:
    """What a price field stands for, None where it is a distance or nothing."""
    near = {"bid": facts.bid, "ask": facts.ask, "join": facts.bid if side == "buy" else facts.ask}
    return near[value] * facts.tick if near.get(value) else _number(value)


def _number(value: str) -> Decimal | None:
    try:
        found = Decimal(value.replace(",", ""))
    except InvalidOperation:
        return None
    return found if found.is_finite() and found > 0 else None


def again(before: Form, facts: Facts | None, at: int | None) -> Form:
    """The ticket that was left, opened anew: no price of then; at a price of the ladder (ticks), the side for which it rests."""
    form = replace(before, fresh=True)
    if at is not None and facts is not None:
        form.side = "buy" if at <= facts.bid or (facts.ask and at < facts.ask) else "sell"
        form.kind, form.reduce = before.kind if before.kind == "post-only" else "limit", "no"
        form.price = f"{at * facts.tick:f}"
    elif _number(form.price) is not None:
        form.price = "" if form.kind in GUARDS else "join"
    form.here = "size" if "size" in form.fields else form.fields[-1]
    return form
