"""The settings: declarations, file, environment and flags in; one frozen `Settings` or a `ConfigError` out.

Order, later wins: defaults, the user's file, `settings.toml` (what the settings screen changed), `BARTER_*`, flags.
`python -m engine.config` prints the `config.toml` that is generated from the declarations.
"""

from engine.config.declare import (
    TIMEFRAMES_MS,
    BookSettings,
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
from engine.config.layers import RESERVED, changed, config_folder, create_aster_config, load, save, settings_path, state_dir
from engine.config.render import declaration, render_config, render_table

__all__ = [
    "RESERVED",
    "TIMEFRAMES_MS",
    "BookSettings",
    "EngineSettings",
    "FeatureSettings",
    "JudgmentSettings",
    "QueueSettings",
    "RiskSettings",
    "Settings",
    "StrategySettings",
    "VenueSettings",
    "changed",
    "config_folder",
    "create_aster_config",
    "day_starts_s",
    "declaration",
    "load",
    "render_config",
    "render_table",
    "save",
    "settings_path",
    "state_dir",
    "timeframe_ms",
]
