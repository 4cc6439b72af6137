"""A judge of one's own: the chance of a rise is the RSI of the newest minutes, nothing else."""

import re

from engine.judgment import Opinion

RSI = re.compile(r"^1m .*rsi (\d+)", re.MULTILINE)


class Momentum:
    name = "momentum"

    async def answer(self, question, wrote):  # question.table is the text that a model would read
        found = RSI.search(question.table)
        chance = min(max(int(found[1]), 1), 99) if found else 50
        return Opinion(chance_up=chance, expires_min=10, invalid_bp=40, regime="trend", why=f"RSI is {chance}")
