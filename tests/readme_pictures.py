"""The README's pictures, made from the fixtures that the tests use: `python -m tests.readme_pictures` writes them again."""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from console.desk import Desk
from tests import pictures
from tests.screens import picture

FOLDER = Path(__file__).resolve().parent / "readme"
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


class Picture(NamedTuple):
    name: str
    state: Callable[[], Desk]
    size: tuple[int, int]
    theme: str
    press: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.svg"


PICTURES = (
    Picture("desk", pictures.busy, (160, 50), "dark"),
    Picture("small", pictures.busy, (80, 24), "dark", ("2",)),
    Picture("halted", pictures.halted, (120, 36), "colour-blind-safe"),
)


async def svg(made: Picture) -> str:
    return tidy(await picture(made.state, made.size, made.theme, *made.press), made.name)


def tidy(text: str, name: str) -> str:
    """Ids made of the picture's name instead of a hash, blanks as blanks, the reader's own fonts: nothing is fetched."""
    text = re.sub(r"terminal-\d+", f"barter-{name}", text)
    text = re.sub(r"\s*@font-face \{.*?\}", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: Fira Code, monospace", f"font-family: {FONT}", text)
    text = text.replace("font-family: arial", "font-family: sans-serif")
    # Viewers of files read the attribute, browsers the style.
    text = text.replace("<svg ", '<svg xml:space="preserve" ', 1).replace("&#160;", " ")
    text = text.replace("<style>", "<style>\n    text { white-space: pre; }", 1)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


def main() -> None:
    os.environ.pop("NO_COLOR", None)
    FOLDER.mkdir(exist_ok=True)
    for made in PICTURES:
        made.path.write_text(asyncio.run(svg(made)), encoding="utf-8")
        print(made.path.relative_to(FOLDER.parent.parent))


if __name__ == "__main__":
    main()
