"""The one table of keys in; bindings, key bar, help, palette entries and the README's table out."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from textual.binding import Binding
from textual.keys import format_key, key_to_character

PANES = 8  # number keys
LAST = 99  # in the key bar


class Key(NamedTuple):
    """`danger`: it can add exposure or remove protection, so it asks before it acts. `anywhere`: over every dialog too.
    `pane`: only while the pane of that id has the focus.
    """

    id: str
    key: str  # Textual's name; several separated by commas
    action: str  # a method `action_...` of the trading screen; of its pane where it has one, of the program where `anywhere`
    label: str  # in the key bar and, after its group, in the palette
    help: str
    group: str
    danger: bool = False
    anywhere: bool = False
    bar: int = 0  # place in the key bar, the first to stay when it is narrow is 1; 0: not in it
    pane: str = ""

    @property
    def shown(self) -> str:
        return shown(self.key)


def _of(pane: str, rows: Iterable[tuple[str, str, str, str, str]]) -> list[Key]:
    """Keys of one pane; they are in the key bar while it has the focus and there is room."""
    return [Key(f"{pane}_{id}", key, action, label, help, pane, bar=LAST, pane=pane) for id, key, action, label, help in rows]


KEYS: tuple[Key, ...] = (
    Key("halt", "f12", "halt", "halt", "Kill switch: halt at once, cancelling what could add exposure. Again: flatten, "
        "closing every position. From anywhere, over any dialog", "trading", anywhere=True, bar=1),
    Key("arm", "a", "arm", "arm", "Allow entries; asks for a second press (live: a typed phrase)", "trading", True, bar=4),
    Key("disarm", "d", "disarm", "disarm", "No new entries; entry orders are cancelled, stops stay", "trading", bar=5),
    Key("release", "r", "release", "release", "End a halt on purpose; trading is off after it", "trading", True, bar=12),
    Key("veto", "v", "veto", "veto", "End the current judgment of this market now", "trading", bar=6),
    Key("veto_why", "V", "veto_why", "veto saying why", "The same, with a note that the journal keeps", "trading"),
    Key("order", "colon", "order", "order", "Type an order; what it would do is said before it is sent", "trading", True,
        bar=16),
    Key("close", "c", "close", "close", "Close a position at the market, reduce-only: the selected one in positions, else "
        "this market's", "trading", True, bar=7),
    Key("cancel", "x", "cancel", "cancel", "Cancel the order selected in the orders pane; asks for a second press",
        "trading", True, bar=8),
    Key("next_symbol", "n", "symbol(1)", "next symbol", "Show the next market", "view", bar=13),
    Key("previous_symbol", "p", "symbol(-1)", "previous symbol", "Show the previous market", "view"),
    Key("collect", "w", "collect", "watch another", "Collect another market from every venue that lists it: asks for its symbol",
        "view"),
    Key("drop", "u", "drop", "watch no more", "Collect the market that is shown no more, unless it is traded, held or has "
        "orders; asks for a second press", "view"),
    Key("timeframe", "t", "timeframe", "timeframe", "Show the next length of bars", "view", bar=9),
    Key("recentre", "space", "recentre", "recentre", "Put the last price in the middle of the ladder", "view"),
    Key("backtest", "b", "backtest", "backtest", "Run strategies over bars, and look at what came of it", "view"),
    Key("theme", "y", "theme", "theme", "Wear the next theme", "view", bar=11),
    Key("next_pane", "tab", "pane_step(1)", "next pane", "Go to the next pane", "pane", bar=14),
    Key("previous_pane", "shift+tab", "pane_step(-1)", "previous pane", "Go to the previous pane", "pane"),
    Key("maximise", "m", "maximise", "maximise", "Give the whole screen to this pane, and back", "pane", bar=10),
    *(Key(f"pane_{place}", str(place), f"pane({place})", name, f"Go to {name}", "pane") for place, name in enumerate(
        ("ladder", "chart", "indicators", "rationale", "positions", "orders", "log", "account"), start=1)),
    *_of("ladder", (
        ("scroll_up", "up,k", "scroll_up", "scroll up", "Look at higher prices"),
        ("scroll_down", "down,j", "scroll_down", "scroll down", "Look at lower prices"),
        ("page_up", "pageup", "page_up", "page up", "Half a page of prices higher"),
        ("page_down", "pagedown", "page_down", "page down", "Half a page of prices lower"),
        ("group_more", "right_square_bracket", "group_more", "coarser", "More ticks a row"),
        ("group_less", "left_square_bracket", "group_less", "finer", "Fewer ticks a row"),
    )),
    *_of("chart", (
        ("zoom_in", "plus,equals_sign", "zoom_in", "zoom in", "Fewer, wider bars"),
        ("zoom_out", "minus", "zoom_out", "zoom out", "More bars, several a column"),
        ("scroll_left", "left,h", "scroll_left", "older", "Look at older bars"),
        ("scroll_right", "right,l", "scroll_right", "newer", "Look at newer bars"),
        ("page_left", "pageup", "page_left", "page older", "Half a page of bars older"),
        ("page_right", "pagedown", "page_right", "page newer", "Half a page of bars newer"),
        ("newest", "end", "newest", "newest", "Back to the newest bar, and follow it"),
    )),
    *_of("rationale", (
        ("record", "enter", "record", "record", "How the model's judgments turned out, and what its chances are worth"),
    )),
    *_of("orders", (
        ("trace", "enter", "trace", "trace", "From the question to the money: all that led to the order under the cursor"),
    )),
    Key("help", "question_mark", "help", "help", "Every key and what it does", "program", bar=3),
    Key("tour", "f2", "tour", "tour", "Six short cards: what this screen says, and how to trade and stop with it", "program"),
    Key("palette", "ctrl+p", "palette", "palette", "Search every command by name", "program", bar=15),
    Key("quit", "q,ctrl+c", "quit", "quit", "Leave: asks whether the engine stops, runs on, or you stay", "program", bar=2),
)  # fmt: skip
# Over a recorded session these stand before the others: there is no engine to steer.
REPLAY: tuple[Key, ...] = tuple(_of("replay", (
    ("play", "space", "play", "play", "Play, or pause"),
    ("faster", "greater_than_sign", "speed(1)", "faster", "Up to as fast as it goes"),
    ("slower", "less_than_sign", "speed(-1)", "slower", "Down to a tenth of real time"),
    ("step", "full_stop", "step(1)", "step", "One input of the core on"),
    ("step_back", "comma", "step(-1)", "step back", "One input back"),
    ("on", "shift+right", "jump(30)", "on", "Half a minute on"),
    ("back", "shift+left", "jump(-30)", "back", "Half a minute back"),
    ("goto", "g", "goto", "go to", "Go to a time of day, so many seconds from here, or a part of the session"),
    ("judgment", "J", "to_next('judgment')", "judgment", "To the next judgment"),
    ("order", "O", "to_next('order')", "order", "To the next order"),
    ("fill", "F", "to_next('fill')", "fill", "To the next fill"),
    ("alert", "A", "to_next('alert')", "alert", "To the next alert"),
    ("fault", "E", "to_next('fault')", "fault", "To the next error, halt or switch of trading"),
    ("last_fill", "B", "to_last('fill')", "last fill", "Back to the fill before"),
    ("what_if", "W", "what_if", "what if", "What would have come of it with other settings: asks for them"),
    ("start", "S", "ends(0)", "start", "To the start of the session"),
    ("end", "Z", "ends(1)", "end", "To the end of the session"),
)))  # fmt: skip
# Of the backtest screen; `backtest` are those that act in all of it.
BACKTEST: tuple[Key, ...] = (
    *_of("backtest", (
        ("run", "f5", "run", "run", "Run the backtest that the form describes"),
        ("next_tab", "f6", "tab(1)", "next tab", "To the next tab, from the form to the notes"),
        ("previous_tab", "f7", "tab(-1)", "previous tab", "To the tab before"),
        ("help", "f8", "help", "help", "The keys of this screen"),
        ("leave", "escape", "leave", "leave", "End a run that goes on, else back to the market"),
    )),
    *_of("trades", (
        ("up", "up,k", "rows(-1)", "up", "The trade before"),
        ("down", "down,j", "rows(1)", "down", "The next trade"),
        ("page_up", "pageup", "page(-1)", "page up", "A page of trades up"),
        ("page_down", "pagedown", "page(1)", "page down", "A page of trades down"),
        ("first", "home", "ends(0)", "first", "The first trade"),
        ("last", "end", "ends(1)", "last", "The last trade"),
        ("chart", "enter", "chart", "chart", "The bars around the trade under the cursor"),
    )),
    *_of("trade_chart", (
        ("next", "n,right,l", "step(1)", "next trade", "The bars around the next trade"),
        ("previous", "p,left,h", "step(-1)", "previous trade", "The bars around the trade before"),
        ("zoom_in", "plus,equals_sign", "zoom(1)", "zoom in", "Fewer bars around it"),
        ("zoom_out", "minus", "zoom(-1)", "zoom out", "More bars around it"),
    )),
)  # fmt: skip
# Ids of what reads or writes files of this machine, or starts work on it: none of it for who watches in a browser.
LOCAL = frozenset({"backtest"})
BACKTEST_PANES = tuple(dict.fromkeys(key.pane for key in BACKTEST))
EVERY = (*KEYS, *REPLAY, *BACKTEST)
BY_ID = {key.id: key for key in EVERY}


def shown(keys: str) -> str:
    """`question_mark` as `?`, `f12` as `F12`, several with `or` between them."""
    return " or ".join(_shown(key) for key in keys.split(","))


def _shown(key: str) -> str:
    *modifiers, name = key.strip().split("+")
    last = format_key(name)
    return "+".join([*(word.capitalize() for word in modifiers), last if len(last) == 1 else last.capitalize()])


def bindings(*, anywhere: bool = False, pane: str = "") -> list[Binding]:
    """For the program (`anywhere`, before everything else), for a pane by its id, or for the trading screen."""
    return [
        Binding(key.key, key.action, key.label, id=key.id, tooltip=key.help, priority=anywhere)
        for key in EVERY
        if key.anywhere is anywhere and key.pane == pane
    ]


def offered(replay: bool = False) -> list[Key]:
    """What the trading screen can do; over a recorded session there is no engine to steer."""
    return [*REPLAY, *(key for key in KEYS if key.group != "trading")] if replay else [*KEYS]


def palette(replay: bool = False, backtest: bool = False) -> Iterable[tuple[str, Key]]:
    """`area: verb` and its key; on the backtest's screen its own first."""
    for key in [*(BACKTEST if backtest else ()), *offered(replay)]:
        if key.id not in ("palette", "backtest_help"):
            yield f"{key.group.replace('_', ' ')}: {key.label}", key


def problems(remapped: Mapping[str, str]) -> list[str]:
    """Why a user's keys cannot be used, as sentences; empty when they can."""
    found = [f"keys.{name}: there is no such key." for name in remapped if name not in BY_ID]
    kill = remapped.get("halt", BY_ID["halt"].key).split(",")
    if any(key_to_character(key.strip()) is not None or not key.strip() for key in kill):
        found.append("keys.halt: the kill switch may not be a key that writes a letter, or typing would halt.")
    taken: dict[tuple[str, str], str] = {}  # by pane: two panes may use the same key, a pane and the screen may not
    for key in sorted(EVERY, key=lambda key: key.pane):
        for name in (name.strip() for name in remapped.get(key.id, key.key).split(",")):
            # On purpose: while a session is played nothing can be steered, and the backtest's screen covers the market's.
            shadows = key.pane in ("replay", *BACKTEST_PANES) and name not in kill
            other = (not shadows and taken.get(("", name))) or taken.setdefault((key.pane, name), key.id)
            if other != key.id:
                found.append(f"keys.{key.id}: {shown(name)} is already the key of {other}.")
    return found


def render_table() -> str:
    """The README's table."""
    rows = [
        f"| `{'` `'.join(_shown(key) for key in row.key.split(','))}` | {row.group}: {row.label} | {row.help}. |"
        for row in EVERY
    ]
    return "\n".join(["| key | command | what it does |", "|---|---|---|", *rows])
