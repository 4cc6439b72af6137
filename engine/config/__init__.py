"""The settings: declarations, file, environment and flags in; one frozen `Settings` or a `ConfigError` out.

Order, later wins: defaults, the user's file, `settings.toml` (what the settings screen changed), `BARTER_*`, flags.
`python -m engine.config` prints the `config.toml` that is generated from the declarations.
"""

from engine.config.declare import (
    TIMEFRAMES_MS,
    BookSettings,
    ConsoleSettings,
    EngineSettings,
    FeatureSettings,
    JudgmentSettings,
    QueueSettings,
    RiskSettings,
    Settings,
    StrategySettings,
    VenueSettings,
    day_starts_s,
    timeframe_ms,
)
from engine.config.layers import (
    RESERVED,
    Changes,
    Origin,
    Source,
    Sourced,
    changed,
    config_folder,
    create_aster_config,
    load,
    parsed,
    read,
    save,
    settings_path,
    state_dir,
)
from engine.config.render import Key, declaration, render_config, render_table, sections, typed

__all__ = [
    "RESERVED",
    "TIMEFRAMES_MS",
    "BookSettings",
    "Changes",
    "ConsoleSettings",
    "EngineSettings",
    "FeatureSettings",
    "JudgmentSettings",
    "Key",
    "Origin",
    "QueueSettings",
    "RiskSettings",
    "Settings",
    "Source",
    "Sourced",
    "StrategySettings",
    "VenueSettings",
    "changed",
    "config_folder",
    "create_aster_config",
    "day_starts_s",
    "declaration",
    "load",
    "parsed",
    "read",
    "render_config",
    "render_table",
    "save",
    "sections",
    "settings_path",
    "state_dir",
    "timeframe_ms",
    "typed",
]
