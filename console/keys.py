"""The one table of keys in; bindings, key bar, help, palette entries and the README's table out."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from textual.binding import Binding
from textual.keys import KEY_NAME_REPLACEMENTS, Keys, format_key, key_to_character

PLACES = "1234567890P"  # the key of each pane of the trading screen
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
    Key("ticket", "o", "ticket", "ticket", "Write an order field by field, at the ladder's cursor: what it would do is said "
        "before it is sent", "trading", True, bar=17),
    Key("close", "c", "close", "close", "Close a position at the market, reduce-only: the selected one in positions, else "
        "this market's", "trading", True, bar=7),
    Key("cancel", "x", "cancel", "cancel", "Cancel the order selected in the orders pane; asks for a second press",
        "trading", True, bar=8),
    Key("alert", "exclamation_mark", "alert", "alerts", "Say when a price, a figure, profit, the day's loss, trust or a judgment "
        "comes to something: type it, see and delete them", "view"),
    Key("next_symbol", "n", "symbol(1)", "next symbol", "Show the next market", "view", bar=13),
    Key("previous_symbol", "p", "symbol(-1)", "previous symbol", "Show the previous market", "view"),
    Key("collect", "w", "collect", "watch another", "Collect another market from every venue that lists it: asks for its symbol",
        "view"),
    Key("drop", "u", "drop", "watch no more", "Collect the market that is shown no more, unless it is traded, held or has "
        "orders; asks for a second press", "view"),
    Key("timeframe", "t", "timeframe", "timeframe", "Show the next length of bars", "view", bar=9),
    Key("previous_timeframe", "T", "timeframe(-1)", "timeframe back", "Show the length of bars before", "view"),
    Key("recentre", "space", "recentre", "recentre", "Put the last price in the middle of the ladder", "view"),
    Key("backtest", "b", "backtest", "backtest", "Run strategies over bars, and look at what came of it", "view"),
    Key("layout", "L", "layout", "layout", "Lay the panes out another way: desk, chart, orders, then your own", "view"),
    Key("theme", "y", "theme", "theme", "Wear the next theme", "view", bar=11),
    Key("latency", "f3", "latency", "latency", "How long each stage takes, from the venue's stamp to its answer", "view"),
    Key("next_pane", "tab", "pane_step(1)", "next pane", "Go to the next pane", "pane", bar=14),
    Key("previous_pane", "shift+tab", "pane_step(-1)", "previous pane", "Go to the previous pane", "pane"),
    Key("maximise", "m", "maximise", "maximise", "Give the whole screen to this pane, and back", "pane", bar=10),
    *(Key(f"pane_{place}", PLACES[place - 1], f"pane({place})", name, f"Go to {name}", "pane") for place, name in enumerate(
        ("ladder", "chart", "indicators", "rationale", "positions", "orders", "log", "account", "tape", "markets"), start=1)),
    Key("pane_pnl", PLACES[10], "pane(11)", "pnl", "Go to pnl: what the session has made over time, and the day's limit", "pane"),
    *_of("ladder", (
        ("scroll_up", "up,k", "scroll_up", "scroll up", "Look at higher prices"),
        ("scroll_down", "down,j", "scroll_down", "scroll down", "Look at lower prices"),
        ("page_up", "pageup", "page_up", "page up", "Half a page of prices higher"),
        ("page_down", "pagedown", "page_down", "page down", "Half a page of prices lower"),
        ("group_more", "right_square_bracket", "group_more", "coarser", "More ticks a row"),
        ("group_less", "left_square_bracket", "group_less", "finer", "Fewer ticks a row"),
        ("cursor_up", "shift+up", "cursor(1)", "cursor up", "Put a cursor on a price, or move it up"),
        ("cursor_down", "shift+down", "cursor(-1)", "cursor down", "The same, down"),
        ("ticket", "enter", "ticket", "ticket here", "The ticket, at the cursor's price"),
    )),
    *_of("chart", (
        ("zoom_in", "plus,equals_sign", "zoom_in", "zoom in", "Fewer, wider bars"),
        ("zoom_out", "minus", "zoom_out", "zoom out", "More bars, several a column"),
        ("scroll_left", "left,h", "scroll_left", "older", "Look at older bars; where there is a cross hair, move it"),
        ("scroll_right", "right,l", "scroll_right", "newer", "Look at newer bars; where there is a cross hair, move it"),
        ("page_left", "pageup", "page_left", "page older", "Half a page of bars older"),
        ("page_right", "pagedown", "page_right", "page newer", "Half a page of bars newer"),
        ("newest", "end", "newest", "newest", "Back to the newest bar, and follow it"),
        ("hair", "enter", "hair", "cross hair", "Read a bar and a price off the chart, and back"),
        ("hair_up", "up,k", "hair_up", "hair up", "Move the cross hair to a higher price"),
        ("hair_down", "down,j", "hair_down", "hair down", "Move the cross hair to a lower price"),
        ("overlays", "right_square_bracket", "overlays", "overlays", "Other lines over the candles, or none"),
    )),
    *_of("rationale", (
        ("trace", "enter", "trace", "trace", "From the question to the money: all that led to the judgment and came of it"),
        ("record", "e", "record", "record", "How the model's judgments turned out, and what its chances are worth"),
    )),
    *_of("orders", (
        ("trace", "enter", "trace", "trace", "From the question to the money: all that led to the order under the cursor"),
    )),
    *_of("log", (
        ("trace", "enter", "trace", "trace", "All that led to the fill, order or judgment under the cursor, and came of it"),
    )),
    *_of("tape", (
        ("scroll_up", "up,k", "scroll_up", "newer", "Look at newer trades"),
        ("scroll_down", "down,j", "scroll_down", "older", "Look at older trades; those that come are counted"),
        ("page_up", "pageup", "page_up", "page newer", "A page of trades newer"),
        ("page_down", "pagedown", "page_down", "page older", "A page of trades older"),
        ("newest", "end", "newest", "newest", "Back to the newest trade, and follow"),
        ("larger", "right_square_bracket", "larger", "larger", "Only trades of a larger size"),
        ("smaller", "left_square_bracket", "smaller", "smaller", "Trades of a smaller size too, down to all"),
    )),
    *_of("markets", (
        ("show", "enter", "show", "show", "Show the market under the cursor"),
    )),
    Key("settings", "s", "settings", "settings", "Look at every setting, where its value comes from, and change it", "program"),
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
        ("sweep", "f4", "sweep", "sweep", "Run every combination that the sweep's tab describes, over the form's data"),
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
    *_of("heat", (
        ("next_pair", "n", "pair(1)", "next pair", "The next two of what differed"),
        ("previous_pair", "p", "pair(-1)", "previous pair", "The two before"),
        ("up", "up,k", "scroll(-1,0)", "up", "Rows above, where not all fit"),
        ("down", "down,j", "scroll(1,0)", "down", "Rows below"),
        ("left", "left,h", "scroll(0,-1)", "left", "Columns to the left, where not all fit"),
        ("right", "right,l", "scroll(0,1)", "right", "Columns to the right"),
    )),
    *_of("runs", (
        ("run", "enter", "run", "run it", "Put the values of the run under the cursor into the form, and run it"),
    )),
)  # fmt: skip
# Ids of what reads or writes files of this machine, or starts work on it: none of it for who watches in a browser.
LOCAL = frozenset({"backtest", "settings", "alert"})
BACKTEST_PANES = tuple(dict.fromkeys(key.pane for key in BACKTEST))
# Of the settings screen; `settings` are those that act in all of it.
SETTINGS: tuple[Key, ...] = (
    *_of("settings", (
        ("save", "f2", "save", "save", "Write what was changed to settings.toml"),
        ("put_back", "f3", "put_back", "put back", "Have what holds without settings.toml: your file's value, else the default"),
        ("leave", "escape", "leave", "leave", "From a value or the search to the list, else back to the market"),
    )),
    *_of("setting_list", (
        ("up", "up,k", "rows(-1)", "up", "The setting before"),
        ("down", "down,j", "rows(1)", "down", "The next setting"),
        ("page_up", "pageup", "page(-1)", "page up", "A page of settings up"),
        ("page_down", "pagedown", "page(1)", "page down", "A page of settings down"),
        ("first", "home", "ends(0)", "first", "The first setting"),
        ("last", "end", "ends(1)", "last", "The last setting"),
        ("edit", "enter", "edit", "edit", "Type another value; enter takes it"),
        ("next_value", "right,l", "step(1)", "next", "The next of the values that it may have; a theme is worn at once"),
        ("value_before", "left,h", "step(-1)", "before", "The one before"),
        ("search", "slash", "search", "search", "Only the settings that hold the words you type"),
    )),
)  # fmt: skip
SETTINGS_PANES = tuple(dict.fromkeys(key.pane for key in SETTINGS))
EVERY = (*KEYS, *REPLAY, *BACKTEST, *SETTINGS)
BY_ID = {key.id: key for key in EVERY}


def shown(keys: str) -> str:
    """`question_mark` as `?`, `f12` as `F12`, several with `or` between them."""
    return " or ".join(_shown(key) for key in keys.split(","))


def name_of(id: str, remapped: Mapping[str, str]) -> str:
    """How a key is called where a user may have another one for it."""
    return shown(remapped.get(id, BY_ID[id].key))


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


MODIFIERS = {"ctrl", "alt", "shift", "super", "hyper", "meta"}
SIGNS = frozenset(KEY_NAME_REPLACEMENTS.values())  # whose names Textual shortened, and so does not know as characters
NAMED = SIGNS | {name.value.rpartition("+")[2] for name in Keys if name.value.rpartition("+")[2].isidentifier()}
AS_SHOWN = {format_key(name).lower(): name for name in sorted(NAMED, reverse=True)}  # an arrow, for one


def settled(remapped: Mapping[str, str]) -> dict[str, str]:
    """A user's keys, as Textual names them or as they are shown, by Textual's names: `?, F9` as `question_mark,f9`."""
    return {id: ",".join(_named(name.strip()) for name in names.split(",")) for id, names in remapped.items()}


def _named(key: str) -> str:
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    if len(last) == 1 and last.isalnum():
        last = last.lower() if "ctrl" in map(str.lower, modifiers) else last
    elif len(last) == 1 and last not in AS_SHOWN:
        name = unicodedata.name(last, last).lower().replace("-", "_").replace(" ", "_")
        last = KEY_NAME_REPLACEMENTS.get(name, name)
    else:
        last = AS_SHOWN.get(last.lower(), last.lower())
    return "+".join([*map(str.lower, modifiers), last])


def _is_key(name: str) -> bool:
    *modifiers, last = name.split("+")
    return MODIFIERS.issuperset(modifiers) and bool(last) and (last in NAMED or key_to_character(last) is not None)


def _writes(name: str) -> bool:
    return key_to_character(name) is not None or name in SIGNS


def problems(remapped: Mapping[str, str]) -> list[str]:
    """Why a user's keys cannot be used, as sentences; empty when they can."""
    remapped = settled(remapped)
    found = [f"keys.{name}: there is no such key." for name in remapped if name not in BY_ID]
    kill = remapped.get("halt", BY_ID["halt"].key).split(",")
    if any(_writes(name) or not name for name in kill):
        found.append("keys.halt: the kill switch may not be a key that writes a letter, or typing would halt.")
    for id, names in remapped.items():
        unknown = [name or "nothing" for name in dict.fromkeys(names.split(",")) if not _is_key(name)]
        found += [f"keys.{id}: {name} is no key's name." for name in unknown]
    taken: dict[tuple[str, str], str] = {}  # by pane: two panes may use the same key, a pane and the screen may not
    for key in sorted(EVERY, key=lambda key: key.pane):
        for name in (name.strip() for name in remapped.get(key.id, key.key).split(",")):
            # On purpose: while a session is played nothing can be steered, and other screens cover the market's.
            shadows = key.pane in ("replay", *BACKTEST_PANES, *SETTINGS_PANES) and name not in kill
            other = (not shadows and taken.get(("", name))) or taken.setdefault((key.pane, name), key.id)
            if other != key.id:
                found.append(f"keys.{key.id}: {shown(name)} is already the key of {other}.")
    return found


def render_table() -> str:
    """The README's table."""
    rows = [
        f"| `{'` `'.join(_shown(key) for key in row.key.split(','))}` | {row.group}: {row.label} | {row.help}. | `{row.id}` |"
        for row in EVERY
    ]
    return "\n".join(["| key | command | what it does | name in `console.keys` |", "|---|---|---|---|", *rows])
