"""What `barter-tui sessions` can do: the one table behind its help and its errors."""

ACTIONS: dict[str, tuple[str, str]] = {
    "list": ("", "the recorded sessions of the mode, oldest first (the default)"),
    "show": ("SESSION", "what is known of one session"),
    "verify": ("SESSION [--head HASH]", "check every hash of one session; with --head against a hash that you kept"),
    "export": (
        "SESSION --to FILE [--as FORM]",
        "write one session: `jsonl`, an event a line (the default); `csv` or `parquet`, a folder of tables",
    ),
    "drift": ("SESSION", "each order's price beside the one that paper would have given it, in basis points"),
    "bundle": (
        "SESSION --to FILE.zip [--last TIME] [--at TIME]",
        "all that is needed to look into an incident, in one file: settings, journal, logs, screen; no secrets",
    ),
    "import": ("FILE ...", "check captures and keep them in the state folder, so that --capture finds them by name"),
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
