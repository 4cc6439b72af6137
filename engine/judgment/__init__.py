"""Features in, a stance out: an opinion with a confidence, an end and a sentence that says why.

Rules are always there (`rules`), so that trading never waits. A language model is asked with a `prompt`, its `answer` is decoded
and checked, `stance` says what it may do, `record` how its judgments turned out, `qualify` whether it can tell up from down.
All of it is pure: `engine.model` talks to the model, `engine.core.judging` decides when.
"""

from collections.abc import Callable
from typing import Protocol

from engine.events import AskJudgment
from engine.judgment.answer import FAILURES, AnswerError, Opinion
from engine.judgment.rules import Judge, RuleJudge

__all__ = ["FAILURES", "AnswerError", "AsyncJudge", "Judge", "Opinion", "RuleJudge"]


class AsyncJudge(Protocol):
    """Whoever answers questions in their own time; `[judgment] judge = "module:name"` names a class without parameters.

    What it returns is checked as a model's answer is, applied when it comes, scored and journalled.
    """

    name: str

    async def answer(self, question: AskJudgment, wrote: Callable[[str], None]) -> Opinion:
        """An opinion on the table; `wrote` may be given the text so far. Whatever it raises is told, and rules judge."""
        ...
