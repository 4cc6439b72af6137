"""The indicators of the `ta` library: what may be named in `[[indicators]]`, and what is wrong with an entry that cannot be.

The table is declared and not read from the library, since importing that takes seconds that prices do not wait for; a test holds
it equal to the installed one.
"""

import difflib
from collections.abc import Mapping

import msgspec

Value = bool | int | float
LONGEST = 400  # bars that a window may span: the worker keeps 500


class Kind(msgspec.Struct, frozen=True):
    """One indicator: where it lives, the series that it takes, its parameters with their defaults, and its outputs.

    A default that is a type must be given; None may be left out.
    """

    module: str
    inputs: tuple[str, ...]
    parameters: dict[str, Value | type | None]
    outputs: tuple[str, ...]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of `[[indicators]]`. `label` names its figures; without one its own name does."""

    name: str
    timeframe: str = ""
    parameters: dict[str, Value] = {}
    label: str = ""

    @property
    def shown(self) -> str:
        return self.label or self.name.removesuffix("Indicator")


class Wrong(msgspec.Struct, frozen=True):
    """What cannot be: the field of the entry, the sentence, and what would do."""

    field: str
    problem: str
    expected: str


def _of(module: str, inputs: str, parameters: dict[str, Value | type | None], outputs: str) -> Kind:
    return Kind(module, tuple(inputs.split()), parameters, tuple(outputs.split()))


KINDS: dict[str, Kind] = {
    "AwesomeOscillatorIndicator": _of("momentum", "high low", {"window1": 5, "window2": 34}, "awesome_oscillator"),
    "KAMAIndicator": _of("momentum", "close", {"window": 10, "pow1": 2, "pow2": 30}, "kama"),
    "PercentagePriceOscillator": _of("momentum", "close",
        {"window_slow": 26, "window_fast": 12, "window_sign": 9},
        "ppo ppo_hist ppo_signal"
    ),
    "PercentageVolumeOscillator": _of("momentum", "volume",
        {"window_slow": 26, "window_fast": 12, "window_sign": 9},
        "pvo pvo_hist pvo_signal"
    ),
    "ROCIndicator": _of("momentum", "close", {"window": 12}, "roc"),
    "RSIIndicator": _of("momentum", "close", {"window": 14}, "rsi"),
    "StochRSIIndicator": _of("momentum", "close", {"window": 14, "smooth1": 3, "smooth2": 3}, "stochrsi stochrsi_d stochrsi_k"),
    "StochasticOscillator": _of("momentum", "high low close", {"window": 14, "smooth_window": 3}, "stoch stoch_signal"),
    "TSIIndicator": _of("momentum", "close", {"window_slow": 25, "window_fast": 13}, "tsi"),
    "UltimateOscillator": _of("momentum", "high low close",
        {"window1": 7, "window2": 14, "window3": 28, "weight1": 4.0, "weight2": 2.0, "weight3": 1.0},
        "ultimate_oscillator"
    ),
    "WilliamsRIndicator": _of("momentum", "high low close", {"lbp": 14}, "williams_r"),
    "ADXIndicator": _of("trend", "high low close", {"window": 14}, "adx adx_neg adx_pos"),
    "AroonIndicator": _of("trend", "high low", {"window": 25}, "aroon_down aroon_indicator aroon_up"),
    "CCIIndicator": _of("trend", "high low close", {"window": 20, "constant": 0.015}, "cci"),
    "DPOIndicator": _of("trend", "close", {"window": 20}, "dpo"),
    "EMAIndicator": _of("trend", "close", {"window": 14}, "ema_indicator"),
    "IchimokuIndicator": _of("trend", "high low",
        {"window1": 9, "window2": 26, "window3": 52, "visual": False},
        "ichimoku_a ichimoku_b ichimoku_base_line ichimoku_conversion_line"
    ),
    "KSTIndicator": _of("trend", "close",
        {"roc1": 10, "roc2": 15, "roc3": 20, "roc4": 30, "window1": 10, "window2": 10, "window3": 10, "window4": 15, "nsig": 9},
        "kst kst_diff kst_sig"
    ),
    "MACD": _of("trend", "close", {"window_slow": 26, "window_fast": 12, "window_sign": 9}, "macd macd_diff macd_signal"),
    "MassIndex": _of("trend", "high low", {"window_fast": 9, "window_slow": 25}, "mass_index"),
    "PSARIndicator": _of("trend", "high low close",
        {"step": 0.02, "max_step": 0.2},
        "psar psar_down psar_down_indicator psar_up psar_up_indicator"
    ),
    "SMAIndicator": _of("trend", "close", {"window": int}, "sma_indicator"),
    "STCIndicator": _of("trend", "close",
        {"window_slow": 50, "window_fast": 23, "cycle": 10, "smooth1": 3, "smooth2": 3},
        "stc"
    ),
    "TRIXIndicator": _of("trend", "close", {"window": 15}, "trix"),
    "VortexIndicator": _of("trend", "high low close",
        {"window": 14},
        "vortex_indicator_diff vortex_indicator_neg vortex_indicator_pos"
    ),
    "WMAIndicator": _of("trend", "close", {"window": 9}, "wma"),
    "AverageTrueRange": _of("volatility", "high low close", {"window": 14}, "average_true_range"),
    "BollingerBands": _of("volatility", "close",
        {"window": 20, "window_dev": 2},
        "bollinger_hband bollinger_hband_indicator bollinger_lband bollinger_lband_indicator bollinger_mavg "
        "bollinger_pband bollinger_wband"
    ),
    "DonchianChannel": _of("volatility", "high low close",
        {"window": 20, "offset": 0},
        "donchian_channel_hband donchian_channel_lband donchian_channel_mband donchian_channel_pband donchian_channel_wband"
    ),
    "KeltnerChannel": _of("volatility", "high low close",
        {"window": 20, "window_atr": 10, "original_version": True, "multiplier": 2},
        "keltner_channel_hband keltner_channel_hband_indicator keltner_channel_lband keltner_channel_lband_indicator "
        "keltner_channel_mband keltner_channel_pband keltner_channel_wband"
    ),
    "UlcerIndex": _of("volatility", "close", {"window": 14}, "ulcer_index"),
    "AccDistIndexIndicator": _of("volume", "high low close volume", {}, "acc_dist_index"),
    "ChaikinMoneyFlowIndicator": _of("volume", "high low close volume", {"window": 20}, "chaikin_money_flow"),
    "EaseOfMovementIndicator": _of("volume", "high low volume", {"window": 14}, "ease_of_movement sma_ease_of_movement"),
    "ForceIndexIndicator": _of("volume", "close volume", {"window": 13}, "force_index"),
    "MFIIndicator": _of("volume", "high low close volume", {"window": 14}, "money_flow_index"),
    "NegativeVolumeIndexIndicator": _of("volume", "close volume", {}, "negative_volume_index"),
    "OnBalanceVolumeIndicator": _of("volume", "close volume", {}, "on_balance_volume"),
    "VolumePriceTrendIndicator": _of("volume", "close volume", {"smoothing_factor": None}, "volume_price_trend"),
    "VolumeWeightedAveragePrice": _of("volume", "high low close volume", {"window": 14}, "volume_weighted_average_price"),
    "CumulativeReturnIndicator": _of("others", "close", {}, "cumulative_return"),
    "DailyLogReturnIndicator": _of("others", "close", {}, "daily_log_return"),
    "DailyReturnIndicator": _of("others", "close", {}, "daily_return"),
}
# Outputs that are prices themselves, so that a chart can draw them over the candles.
ON_PRICE = frozenset((
    *("kama", "ema_indicator", "sma_indicator", "wma", "psar", "volume_weighted_average_price"),
    *("ichimoku_a", "ichimoku_b", "ichimoku_base_line", "ichimoku_conversion_line"),
    *("bollinger_hband", "bollinger_lband", "bollinger_mavg"),
    *("donchian_channel_hband", "donchian_channel_lband", "donchian_channel_mband"),
    *("keltner_channel_hband", "keltner_channel_lband", "keltner_channel_mband"),
))  # fmt: skip
_BY_LOWER = {name.lower(): name for name in KINDS} | {name.lower().removesuffix("indicator"): name for name in KINDS}


def found(name: str) -> str:
    """The library's own name for `rsi`, `RSIIndicator` or `momentum.RSIIndicator`; "" where there is none."""
    return _BY_LOWER.get(name.rpartition(".")[2].lower(), "")


def problem(wanted: Wanted) -> Wrong | None:
    """Why an entry cannot be reckoned; None where it can."""
    name = found(wanted.name)
    if not name:
        near = difflib.get_close_matches(wanted.name.lower(), _BY_LOWER, n=1, cutoff=0.0)
        return Wrong("name", f"{wanted.name[:40]!r} is no indicator of the ta library", f"{_BY_LOWER[near[0]]}, the nearest")
    if wanted.timeframe not in ("", "1s", "1m"):
        return Wrong("timeframe", f"{wanted.timeframe[:20]!r} is not a length of bars", "one of 1s, 1m")
    kind = KINDS[name]
    for given, value in wanted.parameters.items():
        if given not in kind.parameters:
            known = ", ".join(kind.parameters) or "no parameter"
            return Wrong("parameters", f"{name} has no parameter {given[:40]!r}", known)
        if wrong := _impossible(name, given, value, kind.parameters[given]):
            return wrong
    missing = [key for key, value in kind.parameters.items() if isinstance(value, type) and key not in wanted.parameters]
    if missing:
        return Wrong("parameters", f"{name} needs {missing[0]}", f"parameters = {{{missing[0]} = 20}}")
    return None


def _impossible(name: str, given: str, value: Value, default: Value | type | None) -> Wrong | None:
    wants = default if isinstance(default, type) else int if default is None else type(default)
    fits = isinstance(value, wants) and isinstance(value, bool) == (wants is bool)
    if wants is float and isinstance(value, int) and not isinstance(value, bool):
        fits = True
    if not fits:
        words = {int: "a whole number", float: "a number", bool: "true or false"}[wants]
        return Wrong("parameters", f"{given} of {name} is {value!r}", words)
    most = LONGEST if wants is int else 1e6
    if not 0 <= value <= most:
        return Wrong("parameters", f"{given} of {name} is {value!r}", f"a number from 0 to {most:g}")
    return None


def arguments(wanted: Wanted) -> Mapping[str, Value]:
    """The parameters to call the library with: given ones, and the defaults of the others."""
    kind = KINDS[found(wanted.name)]
    usual = {key: value for key, value in kind.parameters.items() if value is not None and not isinstance(value, type)}
    return {**usual, **wanted.parameters}


def columns(wanted: Wanted) -> dict[str, str]:
    """Each output by the name that its figure has: the label, with the output after it where there are several."""
    outputs = KINDS[found(wanted.name)].outputs
    return {output: wanted.shown if len(outputs) == 1 else f"{wanted.shown}.{output}" for output in outputs}


def drawn(wanted: Wanted) -> tuple[str, ...]:
    """The columns of those of its outputs that are prices."""
    return tuple(column for output, column in columns(wanted).items() if output in ON_PRICE)
