"""What `barter-tui sessions` can do: the one table behind its help and its errors."""

ACTIONS: dict[str, tuple[str, str]] = {
    "list": ("", "the recorded sessions of the mode, oldest first (the default)"),
    "show": ("SESSION", "what is known of one session"),
    "verify": ("SESSION [--head HASH]", "check every hash of one session; with --head against a hash that you kept"),
    "export": ("SESSION --to FILE", "write one session as JSON lines, an event a line"),
    "pull": ("SESSION", "fetch one session from the Fluvio cluster at [queue] endpoint, and check every hash"),
    "prune": (
        "[SESSION ...] [--yes]",
        "remove market data: of the sessions named, else of those beyond [queue] keep_days and keep_gb; asks first",
    ),
}


def help_text() -> str:
    """One line an action."""
    shown = {f"{name} {takes}".rstrip(): what for name, (takes, what) in ACTIONS.items()}
    wide = max(map(len, shown))
    return "\n".join(f"  {usage:<{wide}}  {what}" for usage, what in shown.items())
