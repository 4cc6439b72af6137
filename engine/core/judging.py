"""When a model is asked, what becomes of its answers, which stance is in force, and how judgments turned out.

The core decides all of it from events, so that a session with a model replays without one.
"""

import math

import msgspec

from engine.action import plan
from engine.config import Settings, timeframe_ms
from engine.core import across
from engine.core.state import OUTCOMES_KEPT, STANCE_MARKS_KEPT, VERDICTS_KEPT, JudgeState, MarketState, State, Verdict
from engine.core.trading import Out, cost_bps
from engine.events import (
    Alert,
    AnswerDone,
    Answered,
    AnswerFailed,
    AskJudgment,
    Bar,
    Bias,
    Judged,
    JudgmentDropped,
    JudgmentScored,
    Level,
    Mode,
    ModelChanged,
    ModelState,
    Qualified,
    Stance,
    StanceEnded,
    TrackRecord,
    WarmModel,
)
from engine.judgment import prompt, qualify, record
from engine.judgment.answer import FAILURES, AnswerError, decode, rationale
from engine.judgment.record import Record, Tier
from engine.judgment.stance import Question, Scoring, check_fresh, ended, made

NS_PER_MS, NS_PER_S = 1_000_000, 1_000_000_000
MINUTE_MS = 60_000
QUESTIONS_KEPT = 8
SCORINGS_KEPT = 200
UNPRICED_NS = 60 * NS_PER_S  # a judgment whose end came while there was no price to trust waits so long, then is not scored
FAILURES_BEFORE_REST = 3  # in succession
FIRST_REST_NS, LONGEST_REST_NS = 60 * NS_PER_S, 600 * NS_PER_S  # real time
SAME_ANSWERS = 12  # word for word, to as many tables
ONE_SIDED = 24  # answers on one side while rules saw both
BOTH_SIDES = 5  # times that rules saw each of them
TIMES_KEPT = 15
NO_FAULT = ("stale", "superseded")  # of the model


# --- which stance is in force -----------------------------------------------------------------------------------------


def choose(settings: Settings, held: MarketState, now: int) -> None:
    """The model's stance while it is valid and may move anything, else that of the rules where they are the fallback."""
    model, rules = held.model, held.rules
    chosen = None
    if model is not None and model.size_cap > 0.0 and model.valid(now) and settings.judgment.judge != "rules":
        chosen = model
    elif rules is not None and rules.valid(now) and by_rules(settings):
        chosen = rules
    if chosen is not None and chosen is not held.stance:
        held.stance, held.vetoed = chosen, False
        held.stance_marks.append((now // NS_PER_MS + held.clock_offset_ms, chosen.bias))
        del held.stance_marks[:-STANCE_MARKS_KEPT]
        if (known := verdict(held, chosen)) is not None:
            known.since = now


def keep(held: MarketState, stance: Stance) -> None:
    """A judgment was made: what becomes of it is remembered."""
    question = held.questions.get(stance.question)
    held.verdicts.append(Verdict(stance, question.at if question is not None else 0))
    del held.verdicts[:-VERDICTS_KEPT]


def verdict(held: MarketState, stance: Stance) -> Verdict | None:
    return next((one for one in reversed(held.verdicts) if one.stance.key == stance.key), None)


def note(held: MarketState, now: int) -> None:
    """What was done with the stance in force is kept beside it, once while it stays the same."""
    known = verdict(held, held.stance) if held.stance is not None else None
    if known is not None and held.outcome and (not known.outcomes or known.outcomes[-1][1] != held.outcome):
        known.outcomes.append((now, held.outcome))
        del known.outcomes[:-OUTCOMES_KEPT]


def by_rules(settings: Settings) -> bool:
    return settings.judgment.judge == "rules" or settings.judgment.fallback == "rules"


def veto(held: MarketState, now: int) -> None:
    """Nothing that was said so far allows an entry any more."""
    if held.stance is not None:
        held.stance, held.vetoed = msgspec.structs.replace(held.stance, expires_at=now), True
    held.model = msgspec.structs.replace(held.model, expires_at=now) if held.model is not None else None
    held.rules = msgspec.structs.replace(held.rules, expires_at=now) if held.rules is not None else None


def tick(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    """Of the traded market: end what the market has ended, score what is due, ask what is due."""
    _end(state, settings, held, out)
    if held.scoring:
        _score(state, settings, held, out)
    for by, judge in state.judges.items():
        if judge.rests_until and state.now >= judge.rests_until and not judge.warming and judge.state is ModelState.READY:
            judge.warming = True
            out.append(WarmModel(state.now, by))
    _ask(state, settings, held, out)


def _end(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    stance = held.model
    if stance is None or not stance.valid(state.now):
        return
    features = held.features.get(timeframe_ms(settings))
    volatility = features.volatility_bps if features is not None else math.nan
    reason = ended(stance, held.mid, volatility, held.asked_volatility)
    if not reason:
        return
    over = msgspec.structs.replace(stance, expires_at=state.now)
    if held.stance is stance:
        held.stance, held.outcome = over, f"nothing: the judgment ended, since {reason}"
        note(held, state.now)
    held.model = over
    out.append(StanceEnded(state.now, stance.market, stance.question, reason))


# --- asking -----------------------------------------------------------------------------------------------------------


def _ask(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    judge = state.judges.get("model")
    if settings.judgment.judge == "rules":
        return  # a what-if without the model that the session had
    if judge is None or judge.state is not ModelState.READY or not judge.asked_first or judge.rests_until:
        return
    if state.now - held.asked_at < gap_ns(state, settings, judge) or not held.book.trusted:
        return
    features = held.features.get(timeframe_ms(settings))
    rows = prompt.rows(_minutes(held))
    if features is None or not rows:
        return
    held.asked_at = state.now
    seen, cost, mid = across.beside(state, settings, held), cost_bps(state, held), held.mid
    due = held.next_funding()
    table = prompt.Table(
        rows,
        max(state.now - held.received_at, 0) / NS_PER_S,
        cost,
        float(due[0]) * 1e4 if due is not None else math.nan,
        features.imbalance,
        seen.imbalance,
        held.flow / held.flow_total if held.flow_total > 0.0 else math.nan,
        seen.basis_bps,
        features.spread_bps,
    )
    judge.questions += 1
    question = Question(
        f"{state.session}q{judge.questions}",
        state.now,
        mid,
        rows[0].atr_bps * mid / 1e4,
        features.volatility_bps,
        state.portfolio.position(held.instrument.market).quantity,
        _gaps(state, held),
        _chance(held.rules, state.now),
        cost,
    )
    held.questions[question.id] = question
    while len(held.questions) > QUESTIONS_KEPT:
        del held.questions[next(iter(held.questions))]
    out.append(AskJudgment(state.now, held.instrument.market, question.id, prompt.TEMPLATE, prompt.text(table)))


def gap_ns(state: State, settings: Settings, judge: JudgeState) -> int:
    """Between two questions: never below twice what the model usually takes, which passes faster under `--speed`."""
    return max(int(settings.judgment.ask_every_s * NS_PER_S), int(2 * judge.usual_ms * 1_000_000 * state.speed))


def _minutes(held: MarketState) -> list[Bar]:
    """Closed minutes since the newest hole, and what there is of the one that runs."""
    bars = held.bars[MINUTE_MS]
    run = bars.run()
    return [*run, bars.unfinished] if bars.unfinished is not None and bars.unfinished.trades else run


def _gaps(state: State, held: MarketState) -> int:
    return held.book.counters.gaps + state.counters.disconnects + state.counters.clock_jumps


def _chance(rules: Stance | None, now: int) -> float:
    """What a stance of the rules says as a chance that the price rises."""
    if rules is None or not rules.valid(now) or rules.bias is Bias.HOLD:
        return 0.5
    return record.clamp(round(100 * (rules.confidence if rules.bias is Bias.LONG else 1.0 - rules.confidence)))


# --- what came of it --------------------------------------------------------------------------------------------------


def answered(state: State, settings: Settings, held: MarketState, event: Answered, out: Out) -> None:
    """The deciding part of an answer came: everything in it is checked here."""
    judge, question = state.judges.get(event.by), held.questions.get(event.question)
    if judge is None or question is None or event.digest != judge.digest or event.question in judge.taken:
        _dropped(state, judge, event.market, event.question, event.by, "stale", "nobody waits for this answer any more", out)
        return
    judge.taken = [*judge.taken[-QUESTIONS_KEPT:], event.question]
    try:
        opinion = decode(event.text)
        position = state.portfolio.position(event.market).quantity
        price = held.mid
        if not held.book.trusted:
            raise AnswerError("stale", "the book is not trusted")
        check_fresh(question, price, position, _gaps(state, held))
    except AnswerError as problem:
        _dropped(state, judge, event.market, event.question, event.by, problem.kind, str(problem), out)
        return
    judge.answers, judge.failures, judge.rest_ns = judge.answers + 1, 0, 0
    judge.chances = [*judge.chances[-ONE_SIDED + 1 :], (opinion.chance_up, question.rules_chance)]
    words = (opinion.chance_up, opinion.expires_min, opinion.invalid_bp, opinion.regime)
    judge.repeated = judge.repeated + 1 if words == judge.last_words else 1
    judge.last_words = words
    known = judge.record
    assert known is not None  # made with the judge's first sign of life
    chance = record.clamp(opinion.chance_up)
    due = question.at + opinion.expires_min * 60 * NS_PER_S
    held.scoring.append(
        Scoring(
            event.question,
            event.by,
            state.now,
            max(due, state.now),
            price,
            chance,
            question.rules_chance,
            question.cost_bps,
            opinion.regime,
        )
    )
    del held.scoring[:-SCORINGS_KEPT]
    if event.by == "model":
        features = held.features[timeframe_ms(settings)]
        at = tier(settings, judge)
        stop = plan(price, features.atr_14, settings.strategy).stop_distance
        stance = made(
            opinion,
            question,
            event.market,
            state.now,
            price,
            features,
            record.calibrated(known, at, chance),
            size_cap(settings, at),
            position,
            stop,
            judge.name,
            settings.judgment,
            held.model if held.model is not None and held.model.valid(state.now) else None,
        )
        held.model, held.asked_volatility = stance, question.volatility_bps
        state.counters.judgments += 1
        keep(held, stance)
        out.append(Judged(state.now, stance))
        choose(settings, held, state.now)
    _watch_for_nonsense(state, judge, event.by, out)


def _watch_for_nonsense(state: State, judge: JudgeState, by: str, out: Out) -> None:
    """A model that says the same of everything has stopped reading."""
    if judge.repeated >= SAME_ANSWERS:
        judge.repeated = 0
        _rest(state, judge, by, f"it gave the same answer {SAME_ANSWERS} times", out)
    chances = judge.chances
    if len(chances) < ONE_SIDED:
        return
    highs, lows = sum(own > 50 for own, _ in chances), sum(own < 50 for own, _ in chances)
    above, below = sum(rules > 0.5 for _, rules in chances), sum(rules < 0.5 for _, rules in chances)
    if max(highs, lows) == ONE_SIDED and min(above, below) >= BOTH_SIDES:
        judge.chances = []
        _rest(state, judge, by, f"its last {ONE_SIDED} answers were all on one side", out)


def done(state: State, held: MarketState, event: AnswerDone) -> None:
    """The rest of an answer: its sentence, and how long it took."""
    judge = state.judges.get(event.by)
    if judge is None:
        return
    judge.times_ms = [*judge.times_ms[-TIMES_KEPT + 1 :], event.total_ms]
    why = rationale(event.text)
    stance = held.model
    if event.by == "model" and stance is not None and stance.question == event.question and why:
        told = msgspec.structs.replace(stance, rationale=why)
        if held.stance is stance:
            held.stance = told
        held.model = told
        if (known := verdict(held, told)) is not None:
            known.stance = told


def failed(state: State, event: AnswerFailed, out: Out) -> None:
    judge = state.judges.get(event.by)
    kind = event.kind if event.kind in FAILURES else "judge"
    _dropped(state, judge, event.market, event.question, event.by, kind, event.reason, out)


def _dropped(
    state: State, judge: JudgeState | None, market: str, question: str, by: str, kind: str, reason: str, out: Out
) -> None:
    out.append(JudgmentDropped(state.now, market, question, by, kind, reason))
    if judge is None:
        return
    judge.dropped[kind] = judge.dropped.get(kind, 0) + 1
    judge.problem = reason
    if judge.record is not None:
        judge.record.dropped += 1
        judge.record.failed += kind not in NO_FAULT
    if kind in NO_FAULT:
        return
    judge.failures += 1
    if judge.failures >= FAILURES_BEFORE_REST:
        _rest(state, judge, by, f"it failed {judge.failures} times in succession, the last time because {reason}", out)


def _rest(state: State, judge: JudgeState, by: str, reason: str, out: Out) -> None:
    """Do not ask for a while, twice as long each time, until it shows a sign of life."""
    judge.rest_ns = min(max(2 * judge.rest_ns, FIRST_REST_NS), LONGEST_REST_NS)
    judge.rests_until = state.now + int(judge.rest_ns * state.speed)
    judge.warming, judge.problem = False, reason
    who = "The model" if by == "model" else "The shadow model"
    text = f"{who} {judge.name} is not asked for {judge.rest_ns // NS_PER_S} s: {reason}."
    out.append(Alert(state.now, Level.WARNING, text))


def changed(state: State, settings: Settings, event: ModelChanged, out: Out) -> None:
    """A model came, went, or showed a sign of life."""
    judge = state.judges.setdefault(event.by, JudgeState())
    if event.digest and (event.digest != judge.digest or judge.record is None):
        traded = state.traded
        simulated = traded.instrument.simulated if traded is not None else settings.engine.mode is Mode.DEMO
        judge.record = Record(event.digest, prompt.TEMPLATE, simulated)
        judge.qualified, judge.asked_first, judge.verdict = False, False, ()
    was = judge.state
    judge.state, judge.name, judge.version = event.state, event.name or judge.name, event.version or judge.version
    judge.digest = event.digest or judge.digest
    judge.reason = event.reason
    if event.state is ModelState.READY:
        if judge.warming:  # half open: one more failure and it rests again, for longer
            judge.rests_until, judge.failures = 0, FAILURES_BEFORE_REST - 1
        judge.warming = False
        return
    if judge.warming:
        _rest(state, judge, event.by, event.reason or "it gave no sign of life", out)
    missed = was in (ModelState.READY, ModelState.LOADING) or (was is not ModelState.OFF and settings.judgment.judge != "auto")
    if event.state is ModelState.OFF and missed:
        told = "the rules judge" if by_rules(settings) else "no entry is made"
        who = f"The model {judge.name}" if judge.name else "The model"
        out.append(Alert(state.now, Level.WARNING, f"{who} cannot be asked ({event.reason}): {told} until it can."))


def qualified(state: State, settings: Settings, event: Qualified, out: Out) -> None:
    """What the mirrored markets said of a model; an answer of another model or prompt changes nothing."""
    judge = state.judges.setdefault(event.by, JudgeState())
    if event.digest != judge.digest or event.template != prompt.TEMPLATE:
        return
    verdict = qualify.verdict(event.answers) if event.answers else None
    judge.asked_first, judge.verdict = True, verdict.problems if verdict is not None else ()
    judge.qualified = verdict is None or verdict.passed
    if judge.qualified or event.by != "model":
        return
    may = settings.judgment.allow_unqualified and settings.engine.mode is Mode.DEMO
    ends = "It trades all the same, as [judgment] allow_unqualified says." if may else "It is asked on paper only."
    text = f"The model {judge.name} is not qualified: {'; '.join(judge.verdict)}. {ends}"
    out.append(Alert(state.now, Level.WARNING, text))


def remembered(state: State, event: TrackRecord) -> None:
    """What earlier sessions knew of it, before its first question in this one."""
    judge = state.judges.get(event.by)
    if judge is None or judge.record is None or judge.record.n:
        return
    known = msgspec.json.decode(event.record, type=Record)
    ours = judge.record
    if (known.digest, known.template, known.simulated) == (ours.digest, ours.template, ours.simulated):
        judge.record = known


def tier(settings: Settings, judge: JudgeState) -> Tier:
    """What a judge has earned."""
    may = judge.qualified or (settings.judgment.allow_unqualified and settings.engine.mode is Mode.DEMO)
    return record.tier(judge.record, may, settings.judgment) if judge.record is not None else Tier.UNQUALIFIED


def size_cap(settings: Settings, at: Tier) -> float:
    """Share of the usual size that a judge of that rank may move in this mode."""
    return record.size_cap(at, settings.judgment, settings.engine.mode is Mode.LIVE)


def _score(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    price = held.mid if held.book.trusted else 0.0
    waiting = []
    for one in held.scoring:
        if one.due > state.now:
            waiting.append(one)
            continue
        judge = state.judges.get(one.by)
        if not price:
            if state.now - one.due < UNPRICED_NS:
                waiting.append(one)
            continue
        if judge is None or judge.record is None:
            continue
        before = tier(settings, judge)
        moved = (price / one.price - 1.0) * 1e4
        record.score(judge.record, one.chance, one.rules_chance, one.begun, one.due, moved, one.cost_bps, one.regime)
        told = msgspec.json.encode(judge.record).decode()
        out.append(
            JudgmentScored(
                state.now, held.instrument.market, one.question, one.by, one.chance, one.price, price, moved > 0.0, told
            )
        )
        if (after := tier(settings, judge)) is not before and one.by == "model":
            _ranked(state, settings, judge, before, after, out)
    held.scoring = waiting


def _ranked(state: State, settings: Settings, judge: JudgeState, before: Tier, after: Tier, out: Out) -> None:
    """A model that moves more than it did, or less, is told."""
    low, high = record.skill_interval(judge.record) if judge.record is not None else (0.0, 0.0)
    cap = size_cap(settings, after)
    size = f"at {cap:.0%} of the usual size" if cap else "on paper"
    text = f"The model {judge.name} was {before.value} and is {after.value} now: it judges {size}"
    seen = f"skill {low / 0.25:+.0%} to {high / 0.25:+.0%}" if math.isfinite(low) else "no edge was seen"
    out.append(Alert(state.now, Level.WARNING if cap < 1.0 else Level.INFO, f"{text} ({seen})."))
