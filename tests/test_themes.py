"""Every theme in `themes/` is whole, parses and can be read."""

import re
import tomllib
from pathlib import Path

import pytest
from textual.color import Color
from textual.theme import Theme

FOLDER = Path(__file__).resolve().parent.parent / "themes"
THEMES = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
BASE = ["primary", "secondary", "warning", "error", "success", "accent", "foreground", "background", "surface", "panel"]
MARKET = [
    *("bid", "ask", "up", "down", "entry", "exit", "stop", "liq", "muted", "stale", "halt"),
    *("demo", "paper", "testnet", "live"),
]
MUST_STAND_OUT = ("bid", "ask", "up", "down", "halt", "live")
every_theme = pytest.mark.parametrize("name", THEMES)


def luminance(text: str) -> float:
    """Relative luminance by WCAG 2.2."""
    channels = (value / 255 for value in Color.parse(text).rgb)
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2.2, from 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def hue(text: str) -> float:
    """0 red, 120 green, 240 blue, in degrees."""
    return Color.parse(text).hsl.h * 360


def test_the_contrast_formula_gives_the_standards_own_numbers() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_the_six_promised_themes_exist() -> None:
    assert {"dark", "light", "midnight", "sepia", "colour-blind-safe", "high-contrast"} <= THEMES.keys()


@every_theme
def test_every_theme_has_the_same_keys(name: str) -> None:
    assert set(THEMES[name]) == {"name", "dark", "market", *BASE}
    assert set(THEMES[name]["market"]) == set(MARKET)


@every_theme
def test_a_theme_is_named_after_its_file_and_textual_takes_it(name: str) -> None:
    theme = THEMES[name]
    made = Theme(**{key: value for key, value in theme.items() if key != "market"}, variables=theme["market"])
    assert made.name == name
    assert made.to_color_system().generate()["primary"]


@every_theme
def test_every_colour_is_six_hexadecimal_digits_and_parses(name: str) -> None:
    theme = THEMES[name]
    for colour in [*(theme[key] for key in BASE), *theme["market"].values()]:
        assert re.fullmatch("#[0-9a-f]{6}", colour)
        Color.parse(colour)


@every_theme
def test_a_dark_theme_has_a_dark_background_and_a_light_one_does_not(name: str) -> None:
    theme = THEMES[name]
    assert theme["dark"] == (luminance(theme["background"]) < luminance(theme["foreground"]))


@every_theme
@pytest.mark.parametrize("ground", ["background", "surface", "panel"])
def test_text_can_be_read_on_every_ground(name: str, ground: str) -> None:
    least = 7 if name == "high-contrast" else 4.5
    assert contrast(THEMES[name]["foreground"], THEMES[name][ground]) >= least


@every_theme
@pytest.mark.parametrize("ground", ["background", "surface", "panel"])
def test_market_colours_can_be_told_from_every_ground(name: str, ground: str) -> None:
    weak = {key: contrast(THEMES[name]["market"][key], THEMES[name][ground]) for key in MARKET}
    least = 7 if name == "high-contrast" else 3
    assert {key: ratio for key, ratio in weak.items() if ratio < least} == {}


@every_theme
def test_what_must_not_be_missed_reads_as_well_as_text(name: str) -> None:
    market = THEMES[name]["market"]
    assert {key: market[key] for key in MUST_STAND_OUT if contrast(market[key], THEMES[name]["background"]) < 4.5} == {}


@every_theme
def test_the_modes_do_not_look_alike(name: str) -> None:
    market = THEMES[name]["market"]
    assert len({market[mode] for mode in ("demo", "paper", "testnet", "live")}) == 4


@pytest.mark.parametrize("pair", [("bid", "ask"), ("up", "down")])
def test_the_colour_blind_safe_theme_sets_blue_against_orange_and_not_green_against_red(pair: tuple[str, str]) -> None:
    first, second = (hue(THEMES["colour-blind-safe"]["market"][key]) for key in pair)
    assert 190 <= first <= 260
    assert 20 <= second <= 50
