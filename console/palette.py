"""Textual's command palette, which may be closed while it still searches without ending the program.

Textual 8.2.8: the search is a worker that looks for the list of a palette that may be gone by then, and fails the program.
"""

from typing import Any

from textual.command import CommandPalette
from textual.worker import Worker


class Palette(CommandPalette):
    """A search whose widgets are gone fails alone."""

    def run_worker(self, *work: Any, **options: Any) -> Worker[Any]:
        return super().run_worker(*work, **{**options, "exit_on_error": False})
