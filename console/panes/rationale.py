"""The newest opinion: what it allows, how sure and how old it is, when it ends, why, and what was done with it; and the model
behind it: how it is, what it writes, how far it is believed.
"""

import math
from typing import ClassVar

from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run, bar, fitted, wrap
from console.screens.record import RecordScreen
from engine.events import Bias, ModelState, Stance
from engine.views import JudgmentView, LadderView, ModelView, StatusView, TrackView

SECOND_NS = 1_000_000_000
WORDS = {Bias.LONG: ("▲ LONG", "up bold"), Bias.SHORT: ("▼ SHORT", "down bold"), Bias.HOLD: ("■ HOLD", "muted bold")}
GAUGE = 12  # cells
STATES = {
    ModelState.OFF: "muted",
    ModelState.STARTING: "muted",
    ModelState.LOADING: "entry",
    ModelState.READY: "up",
    ModelState.THINKING: "entry bold",
    ModelState.LATE: "stop bold",
    ModelState.RULES: "stop bold",
}
OFF_FROM = 6  # rows of the pane that say that there is no model
INSTEAD_FROM = 12
TRACK_FROM = 8  # rows of the pane that show a track record


class RationalePane(LinePane):
    """The clock is the engine's: it stands still when the engine does."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="rationale")]
    title: ClassVar[str] = "Rationale"
    shows = ((JudgmentView, None), (ModelView, None))

    def versions(self) -> tuple[object, ...]:
        return (*super().versions(), self._now() // SECOND_NS)

    def action_trace(self) -> None:
        """What led to the judgment, and what was done with it."""
        view = self.desk.get(JudgmentView)
        self.screen.trace(view.stance.key if view is not None and view.stance is not None else "")  # type: ignore[attr-defined]

    def action_record(self) -> None:
        """How the model's judgments turned out, in full."""
        self.app.push_screen(RecordScreen(self.desk))

    def _now(self) -> int:
        status = self.desk.get(StatusView, "")
        return status.at if status is not None else 0

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view, model = desk.get(JudgmentView), desk.get(ModelView)
        asked = self._model(model, width, height) if model is not None else []
        if view is None or view.stance is None:
            said = view.outcome if view is not None and view.outcome else "no judgment yet"
            return [*(((line, "muted"),) for line in wrap(said, width)), *asked]
        stance, now = view.stance, self._now()
        facts = [self._verdict(view, stance, now, width), self._times(stance, now, width)]
        if height >= 6:
            facts.append(self._risk(stance, width))
        outcome: list[Row] = [((text, "text bold"),) for text in wrap(f"→ {view.outcome}", width, most=max(1, height // 4))]
        if not view.outcome:
            outcome = []
        outcome = [*outcome, *asked, *_instead(view, model, width, height)]
        gap: list[Row] = [()] if height >= 10 else []
        room = max(height - len(facts) - len(outcome) - 2 * len(gap), 0)
        reasons = wrap(stance.rationale or "no reason was given", width)
        if len(reasons) > room:
            reasons = reasons[:room]
            if reasons:
                reasons[-1] = (
                    show.fit(f"{reasons[-1]} …", width).rstrip() if len(reasons[-1]) + 2 <= width else reasons[-1][:-1] + "…"
                )
        over = view.vetoed or not stance.valid(now)
        text: list[Row] = [((line, "muted" if over else "text"),) for line in reasons]
        return [*facts, *gap, *text, *gap, *outcome]

    def _model(self, model: ModelView, width: int, height: int) -> list[Row]:
        """How the model is and what it writes, in as many rows as there is room for."""
        if model.state in (ModelState.OFF, ModelState.STARTING):
            return (
                [fitted([(f"◆ model {model.state.value}", "muted"), (model.reason, "muted")], width)]
                if height >= OFF_FROM
                else []
            )
        now = self._now()
        word = model.state.value
        if model.state in (ModelState.THINKING, ModelState.LATE):
            word = f"{word} {model.seconds:.0f}s"
        elif model.state is ModelState.RULES:
            word = f"rules {whole(max(model.rests_until - now, 0) // SECOND_NS * 1_000)}"
        runs: list[Run] = [(f"◆ {word}", STATES[model.state]), (model.name, "text"), (model.tier, "muted")]
        runs.append((f"size {model.size_cap:.0%}" if model.size_cap else "on paper", "text" if model.size_cap else "stop"))
        rows = [fitted(runs, width)]
        if model.writing:
            rows += [((line, "entry"),) for line in wrap(f"… {model.writing}", width, most=2)]
        elif model.state is ModelState.RULES or (model.verdict and not model.size_cap):
            why = model.reason or "; ".join(model.verdict)
            rows += [((line, "muted"),) for line in wrap(why, width, most=2)]
        if height >= TRACK_FROM and model.track is not None:
            rows.append(fitted(_track(model.track), width))
        return rows[: max(1, height // 3)]

    def _verdict(self, view: JudgmentView, stance: Stance, now: int, width: int) -> Row:
        word, look = WORDS[stance.bias]
        over = view.vetoed or not stance.valid(now)
        runs: list[Run] = [(word, "stale" if over else look)]
        if not self.desk.connected:
            runs.append(("! old", "halt bold"))
        if view.vetoed:
            runs.append(("! VETOED", "halt bold"))
        elif now >= stance.expires_at:
            runs.append(("! EXPIRED", "halt bold"))
        if math.isfinite(stance.confidence):
            cells = f"confidence {stance.confidence:.2f}"
            runs += [(cells, "text"), (gauge(stance.confidence), "stale" if over else look.split()[0])]
        return fitted(runs, width)

    def _times(self, stance: Stance, now: int, width: int) -> Row:
        age = show.duration(max(now - stance.made_at, 0) // SECOND_NS * 1_000) if now else show.NONE
        left = (stance.expires_at - now) // SECOND_NS * 1_000
        life = stance.expires_at - stance.made_at
        ends = f"ends in {whole(left)}" if left > 0 else f"ended {whole(-left)} ago"
        runs: list[Run] = [(ends, "text" if left > 0 else "stale"), (f"age {whole_text(age)}", "muted")]
        if life > 0 and left > 0:
            runs.append((gauge((stance.expires_at - now) / life), "faint"))
        return fitted(runs, width)

    def _risk(self, stance: Stance, width: int) -> Row:
        price = self.desk.get(LadderView)
        made_at = f"{stance.price:.{show.decimals(price.tick)}f}" if price is not None else f"{stance.price:g}"
        runs: list[Run] = []
        if math.isfinite(stance.risk_score):
            word = "calm" if stance.risk_score < 0.34 else "uneasy" if stance.risk_score < 0.67 else "dangerous"
            look = "stop" if stance.risk_score >= 0.67 else "text"
            runs += [(f"risk {stance.risk_score:.2f} {word}", look), (gauge(stance.risk_score), "stop")]
        return fitted([*runs, (f"by {stance.source} at {made_at}", "muted")], width)


def _instead(view: JudgmentView, model: ModelView | None, width: int, height: int) -> list[Row]:
    """What would have come of it otherwise, beside the account's own profit; a model that never spoke followed nothing."""
    if height < INSTEAD_FROM or not view.instead:
        return []
    spoke = model is not None and model.answers
    rows = [(name, profit) for name, profit, _ in view.instead if spoke or not name.startswith("model")]
    told: list[Run] = [("instead:", "muted")]
    told += [(f"{name} {show.money(str(profit), sign=True)}", "up" if profit > 0 else "down") for name, profit in rows]
    return [fitted(told, width)]


def _track(track: TrackView) -> list[Run]:
    """How judgments turned out, the plainest first."""
    hits = f"{track.hits / track.sided:.0%} ({track.hit_low:.0%}-{track.hit_high:.0%})" if track.sided else "none"
    return [
        (f"record {track.n}", "muted"),
        (f"right {hits}", "text"),
        (f"skill {track.skill:+.0%}", "up" if track.skill > 0 else "down"),
        (f"{track.gain:+.1f} bps each, rules {track.gain_rules:+.1f}", "muted"),
        (f"{track.independent} apart", "muted"),
    ]


def gauge(fraction: float) -> str:
    return bar(fraction, GAUGE).replace(" ", "·") if math.isfinite(fraction) else ""


def whole(ms: int) -> str:
    """A time in whole seconds."""
    return f"{ms // 1_000}s" if ms < 60_000 else show.duration(ms)


def whole_text(text: str) -> str:
    """`2.0s` as `2s`."""
    return text.replace(".0s", "s")
