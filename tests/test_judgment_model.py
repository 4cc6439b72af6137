"""What is asked of a model and what is made of its answers: prompt, decoding, stance, qualification, record."""

import json
import math
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import JudgmentSettings
from engine.events import Bar, Bias, Features
from engine.judgment import answer, prompt, qualify, record
from engine.judgment.answer import AnswerError, Opinion, clean, committed, decode, rationale
from engine.judgment.record import Record, Tier
from engine.judgment.stance import Question, check_fresh, ended, expected_move_bps, made
from tests.ollama_standin import leaning, reply

NAN = math.nan
MINUTE_MS = 60_000


def minutes(count: int, step: int = 3, start: int = 6000) -> list[Bar]:
    bars = []
    for n in range(count):
        close = start + n * step + (5 if n % 2 else -5)
        bars.append(Bar("m", MINUTE_MS, n * MINUTE_MS, close - 2, close + 4, close - 6, close, 100 + n % 7, 5))
    return bars


MOST_TOKENS = 420  # of system and table by the bound below: a core reads a dozen a second


def tokens_bound(words: str) -> int:
    """How many tokens a tokenizer of the Mistral family makes of it at most, nearly: a digit or sign each is one, a word of
    letters one for every five letters begun, and a line end one.
    """
    count, run = 0, 0
    for char in words:
        if char.isalpha():
            count += run % 5 == 0
            run += 1
        else:
            run = 0
            count += char != " "
    return count


# --- the prompt -------------------------------------------------------------------------------------------------------


def test_the_prompt_keeps_to_its_budget_by_mistrals_own_tokenizer() -> None:
    tokenizers = pytest.importorskip("mistral_common.tokens.tokenizers.mistral")
    from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    tokenizer = tokenizers.MistralTokenizer.v3()
    longest = qualify.market(-1.0)
    rows = tuple(msgspec.structs.replace(row, moved_bps=-99_999.0, atr_bps=99_999.0) for row in longest.rows)
    longest = msgspec.structs.replace(longest, rows=rows, cost_bps=99_999.0, funding_bps=-99_999.0, basis_bps=-99_999.0)
    usual = prompt.text(qualify.market(0.5))
    for table, most in ((usual, 400), (prompt.text(longest), 480)):
        messages = [SystemMessage(content=prompt.SYSTEM), UserMessage(content=table)]
        assert len(tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens) <= most
    raw = tokenizer.instruct_tokenizer.tokenizer
    assert len(raw.encode(usual, False, False)) <= 250


def test_the_prompt_keeps_to_its_budget_by_the_bound() -> None:
    assert tokens_bound(prompt.SYSTEM) + tokens_bound(prompt.text(qualify.market(1.0))) <= MOST_TOKENS


def test_a_market_upside_down_is_asked_in_the_opposite_words() -> None:
    up, down = prompt.text(qualify.market(1.0)), prompt.text(qualify.market(-1.0))
    swap = {"up": "down", "down": "up", "buyers": "sellers", "sellers": "buyers", "ret -": "ret ", "ret ": "ret -"}
    mirrored = re.sub(r"\b(up|down|buyers|sellers)\b|ret -?", lambda it: swap[it[0]], up)
    mirrored = mirrored.replace("rsi 74", "rsi 26")
    assert mirrored == down


def test_rows_speak_in_words_of_what_is_usual_and_longer_bars_end_with_the_newest_minute() -> None:
    rows = prompt.rows(minutes(400))
    assert [row.minutes for row in rows] == [1, 5, 15, 60]
    assert all(row.trend == 1.0 and row.moved_bps > 0 for row in rows[2:])
    five = math.log(minutes(400)[-1].close / minutes(400)[-6].close) * 1e4
    assert rows[1].moved_bps == pytest.approx(five)
    assert "move flat" in prompt.text(qualify.market(0.0)) and "strong up" in prompt.text(qualify.market(1.0))
    assert prompt.rows(minutes(4)) == () and [row.minutes for row in prompt.rows(minutes(30))] == [1, 5]


def test_nothing_of_the_account_no_price_no_date_and_no_name_is_in_the_prompt() -> None:
    words = prompt.SYSTEM + prompt.text(qualify.market(0.3))
    for forbidden in ("ASTER", "BTC", "USDT", "202", "position", "equity", "pnl", "balance"):
        assert forbidden not in words
    cheap = minutes(400)
    dear = [
        msgspec.structs.replace(
            bar, open=bar.open * 9, high=bar.high * 9, low=bar.low * 9, close=bar.close * 9, volume=bar.volume * 5
        )
        for bar in cheap
    ]
    seen = [prompt.text(msgspec.structs.replace(qualify.market(0.0), rows=prompt.rows(bars))) for bars in (cheap, dear)]
    assert seen[0] == seen[1], "prices and sizes are relative"
    # An example to copy, or a list of sides to choose from, collapses the answers of small models.
    assert "{" not in words and "|" not in words and "flat" not in prompt.SYSTEM


@given(st.floats(-1, 1), st.floats(0, 1e9), st.floats(-1e9, 1e9))
def test_whatever_the_market_does_the_table_is_a_few_plain_lines(strength: float, age: float, cost: float) -> None:
    table = msgspec.structs.replace(qualify.market(strength), age_s=age, cost_bps=cost, basis_bps=NAN)
    text = prompt.text(table)
    assert text.isascii() and len(text.splitlines()) <= 6 and "nan" not in text and "e+" not in text
    assert tokens_bound(text) < 250


# --- answers ----------------------------------------------------------------------------------------------------------


def test_an_answer_is_decided_before_its_sentence_is_written() -> None:
    whole = reply(63, 15, 40)
    at = next(n for n in range(len(whole)) if committed(whole[:n]))
    assert whole[:at].endswith('"why": "') or whole[:at].rstrip().endswith(":")
    opinion = decode(committed(whole[:at]))
    assert (opinion.chance_up, opinion.expires_min, opinion.invalid_bp, opinion.regime, opinion.why) == (63, 15, 40, "trend", "")
    assert decode(whole).why.startswith("short and long")
    assert committed("") == committed('{"chance_up": 5') == committed('"why": "x') == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "malformed"),
        ("long, I think", "malformed"),
        ('{"chance_up": 70}', "malformed"),
        ('{"chance_up": "70", "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 70.5, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": NaN, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": Infinity, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 1e400, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 0, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 100, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 70, "expires_min": 7, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 70, "expires_min": 600, "invalid_bp": 20, "regime": "trend"}', "malformed"),
        ('{"chance_up": 70, "expires_min": 5, "invalid_bp": 100000, "regime": "trend"}', "malformed"),
        ('{"chance_up": 70, "expires_min": 5, "invalid_bp": 20, "regime": "moon"}', "malformed"),
        ('{"chance_up": 70, "expires_min": 5, "invalid_bp": 20, "regime": "trend", "leverage": 100}', "malformed"),
        ('{"chance_up": 70, "chance_up": 20, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}', "contradictory"),
        ('{"chance_up": 90, "expires_min": 5, "invalid_bp": 20, "regime": "quiet"}', "contradictory"),
        ("[" * 5000, "malformed"),
        ('{"chance_up": 70, "why": "' + "x" * 20_000, "huge"),
        ('```json\n{"chance_up": 70, "expires_min": 5, "invalid_bp": 20, "regime": "trend"}\n```', "malformed"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_none(text: str, kind: str) -> None:
    with pytest.raises(AnswerError) as caught:
        decode(text)
    assert caught.value.kind == kind and kind in answer.FAILURES
    assert str(caught.value) and str(caught.value).isascii()


@settings(max_examples=300)
@given(st.text(max_size=400))
def test_any_text_at_all_is_an_opinion_within_its_bounds_or_an_error(text: str) -> None:
    for candidate in (text, committed(text)):
        try:
            opinion = decode(candidate)
        except AnswerError:
            continue
        assert 1 <= opinion.chance_up <= 99 and opinion.expires_min in answer.EXPIRIES
    assert len(rationale(text)) <= answer.WHY_LENGTH


@given(st.text(max_size=500))
def test_a_strangers_words_are_one_plain_line(text: str) -> None:
    plain = clean(text)
    assert plain.isascii() and plain.isprintable() and len(plain) <= answer.WHY_LENGTH


def test_the_rationale_is_read_while_it_is_written_and_shows_no_escapes() -> None:
    whole = reply(why='up \\ "very" [bold red]much[/] \x1b[2J\u202e and on')
    texts = [rationale(whole[:n]) for n in range(len(whole) + 1)]
    assert texts[-1] == 'up \\ "very" [bold red]much[/] [2J and on'
    assert all("\x1b" not in text and "\u202e" not in text for text in texts)
    assert rationale('{"chance_up": 5') == ""


# --- stances ----------------------------------------------------------------------------------------------------------

FEATURES = Features(1.0, *(NAN for _ in range(18)))
ASKED = Question("q1", 1_000, 100.0, 0.2, 5.0, 0, 0, 0.5, 10.0)


def stance_of(chance: float, opinion: Opinion | None = None, position: int = 0, **changes: object):  # type: ignore[no-untyped-def]
    chosen = JudgmentSettings(**changes)  # type: ignore[arg-type]
    said = opinion or Opinion(round(chance * 100), 10, 40, "trend", "a reason")
    return made(said, ASKED, "m", 2_000, 100.1, FEATURES, chance, 0.1, position, 0.5, "model", chosen, None)


def test_a_chance_becomes_a_side_a_confidence_a_target_and_a_stop() -> None:
    up, down = stance_of(0.7), stance_of(0.3)
    assert (up.bias, down.bias, up.action, down.action) == (Bias.LONG, Bias.SHORT, "open_long", "open_short")
    assert up.confidence == down.confidence == 0.7 and up.size_cap == 0.1
    move = expected_move_bps(0.7, 20.0, 10.0)
    assert up.target_price == pytest.approx(100.1 * (1 + move / 1e4)) and up.stop_price == pytest.approx(99.6)
    assert down.target_price < 100.1 < down.stop_price
    assert stance_of(0.52).bias is Bias.HOLD and stance_of(0.5).action == "hold"
    assert stance_of(0.3, position=5).action == "close" and stance_of(0.52, position=5).action == "reduce"


def test_a_stance_never_outlives_what_the_settings_allow_and_counts_from_the_question() -> None:
    assert stance_of(0.7, Opinion(70, 60, 40, "trend")).expires_at == 1_000 + 30 * 60_000_000_000
    assert stance_of(0.7, Opinion(70, 60, 40, "trend"), max_expiry_min=5.0).expires_at == 1_000 + 5 * 60_000_000_000
    assert stance_of(0.7, Opinion(70, 60, 40, "trend")).due_at == 1_000 + 60 * 60_000_000_000, "it is scored when it said"


def test_an_invalidation_is_kept_within_one_to_four_atrs() -> None:
    assert stance_of(0.7, Opinion(70, 10, 5, "trend")).invalid_bps == 20.0
    assert stance_of(0.7, Opinion(70, 10, 300, "trend")).invalid_bps == 80.0


def test_the_market_ends_a_stance_by_moving_against_it_or_by_becoming_another_one() -> None:
    up = stance_of(0.7)
    assert ended(up, 100.1, 5.0, 5.0) == "" and ended(up, 101.0, 5.0, 5.0) == ""
    assert "against it" in ended(up, 100.1 * (1 - 41e-4), 5.0, 5.0)
    assert "against it" in ended(stance_of(0.3), 100.1 * (1 + 41e-4), 5.0, 5.0)
    assert "as wild" in ended(up, 100.1, 15.0, 5.0) and "calmed" in ended(up, 100.1, 1.0, 5.0)
    assert ended(up, 100.1, NAN, 5.0) == ended(up, 100.1, 5.0, NAN) == ""


@pytest.mark.parametrize(
    ("price", "position", "gaps", "words"),
    [(100.3, 0, 0, "moved 30 bps"), (100.0, 5, 0, "position"), (100.0, 0, 1, "gap"), (0.0, 0, 0, "no price")],
)
def test_an_answer_to_another_market_is_stale(price: float, position: int, gaps: int, words: str) -> None:
    with pytest.raises(AnswerError, match=words) as caught:
        check_fresh(ASKED, price, position, gaps)
    assert caught.value.kind == "stale"
    check_fresh(ASKED, 100.05, 0, 0)


# --- qualification ----------------------------------------------------------------------------------------------------


def answers(judge) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    return tuple(decode(judge(prompt.text(qualify.market(strength)))).chance_up for strength in qualify.STRENGTHS)


def test_a_judge_that_reads_the_table_is_qualified() -> None:
    verdict = qualify.verdict(answers(leaning))
    assert verdict.passed and verdict.rank > 0.9 and verdict.flat == 50


@pytest.mark.parametrize(
    ("given_answers", "words"),
    [
        ((50,) * 7, "all the same"),
        ((30, 40, 45, 50, 55, 60, 70), "do not follow"),
        ((90, 80, 70, 66, 60, 55, 40), "mirror"),
        ((70, 60, 58, 57, 44, 40, 30), "without any signal"),
        ((70, 60, 0, 50, 45, 40, 30), "1 of 7 answers"),
        ((70, 60), "5 of 7 answers"),
    ],
)
def test_a_judge_that_cannot_tell_up_from_down_is_not(given_answers: tuple[int, ...], words: str) -> None:
    verdict = qualify.verdict(given_answers)
    assert not verdict.passed and any(words in problem for problem in verdict.problems)


# --- the record -------------------------------------------------------------------------------------------------------


def fed(outcomes: list[tuple[float, float]], cost: float = 2.0, overlapping: bool = False) -> Record:
    known = Record("d", prompt.TEMPLATE, True)
    for n, (chance, moved) in enumerate(outcomes):
        begun = n * (1 if overlapping else 100)
        record.score(known, chance, 0.5, begun, begun + 100, moved, cost, "trend")
    return known


def test_the_figures_of_a_record_by_hand() -> None:
    known = fed([(0.7, 10.0), (0.7, -10.0), (0.3, -10.0), (0.5, 5.0), (0.8, 0.0)])
    assert (known.n, known.ups, known.hits, known.sided) == (5, 2, 2, 3)
    assert known.brier == pytest.approx(0.09 + 0.49 + 0.09 + 0.25 + 0.09)
    assert known.gain == pytest.approx((10 - 2) + (-10 - 2) + (10 - 2) + 0 + (0 - 2))
    assert known.gain_rules == 0.0 and known.brier_rules == pytest.approx(4 * 0.25 + 0.0)
    assert known.regimes["trend"].n == 5 and sum(tally.n for tally in known.buckets) == 5
    low, high = record.hit_interval(2, 3)
    assert (round(low, 3), round(high, 3)) == (0.208, 0.939), "Wilson's interval of 2 in 3"


def test_judgments_that_overlap_are_no_new_evidence() -> None:
    outcomes = [(0.8, 10.0)] * 300
    assert fed(outcomes, overlapping=True).independent == 3 and fed(outcomes).independent == 300


def test_a_young_model_trades_a_little_and_nothing_in_live() -> None:
    chosen = JudgmentSettings(probation=50, hold_after=100)
    young = fed([(0.8, 10.0)] * 20)
    assert record.tier(young, True, chosen) is Tier.PROBATION
    assert record.size_cap(Tier.PROBATION, chosen, live=False) == 0.1
    assert record.size_cap(Tier.PROBATION, chosen, live=True) == 0.0
    assert record.calibrated(young, Tier.PROBATION, 0.8) == 0.8, "else the cost's gate would refuse every young model"
    assert record.tier(young, False, chosen) is Tier.UNQUALIFIED and record.size_cap(Tier.UNQUALIFIED, chosen, live=False) == 0.0


def test_an_edge_is_seen_or_not_and_a_model_worse_than_chance_is_held() -> None:
    chosen = JudgmentSettings(probation=50, hold_after=100)
    good = [(0.7, 10.0), (0.7, 10.0), (0.7, 10.0), (0.3, 10.0)] * 30
    coin = [(0.8, 10.0), (0.8, -10.0)] * 60
    bad = [(0.8, -10.0), (0.8, -10.0), (0.8, 10.0)] * 40
    assert record.tier(fed(good), True, chosen) is Tier.KNOWN
    assert record.tier(fed(coin[:60]), True, chosen) is Tier.DEMOTED
    assert record.tier(fed(bad), True, chosen) is Tier.HELD
    assert record.size_cap(Tier.DEMOTED, chosen, live=True) == 0.1 and record.size_cap(Tier.HELD, chosen, live=False) == 0.0
    assert record.tier(fed(good, cost=50.0), True, chosen) is Tier.DEMOTED, "an edge that does not pay its costs is none"


def test_a_known_models_chance_is_drawn_to_what_outcomes_bear_out() -> None:
    boastful = fed([(0.8, 10.0), (0.8, 10.0), (0.8, 10.0), (0.8, -10.0)] * 30)
    assert record.believed(boastful) == pytest.approx((0.75 - 0.5) / 0.3, rel=1e-6)
    assert record.calibrated(boastful, Tier.KNOWN, 0.8) == pytest.approx(0.75)
    assert record.believed(fed([(0.8, -10.0)] * 10)) == 0.0, "a contrarian is not followed backwards"


def test_a_record_survives_its_file() -> None:
    known = fed([(0.7, 10.0), (0.3, 4.0)])
    assert msgspec.json.decode(msgspec.json.encode(known), type=Record) == known
    assert json.loads(msgspec.json.encode(known))["n"] == 2
