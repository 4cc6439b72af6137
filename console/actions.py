"""What `barter-tui sessions` and `barter-tui data` can do: the tables behind their help and their errors."""

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


DATA: dict[str, tuple[str, str]] = {
    "list": ("", "the bars and the funding that are kept for backtests (the default)"),
    "download": (
        "--symbol SYMBOL [--venue V] [--from DATE] [--to DATE] [--timeframe 1m]",
        "fetch bars, mark prices and funding of the last year, or between two dates; the next call goes on from there",
    ),
    "import": ("FILE ... --symbol SYMBOL [--venue V]", "keep bars, or funding, from CSV, .zip, .gz, JSON, Parquet or Feather"),
    "check": (
        "FILE | SYMBOL [--venue V]",
        "what is in a file, or kept of a symbol: gaps, doubles, order, volumes; nothing is written",
    ),
}


def help_text(actions: dict[str, tuple[str, str]] = ACTIONS) -> str:
    """One line an action."""
    shown = {f"{name} {takes}".rstrip(): what for name, (takes, what) in actions.items()}
    wide = max(map(len, shown))
    return "\n".join(f"  {usage:<{wide}}  {what}" for usage, what in shown.items())
