"""The trading engine: markets in, decisions and orders out. It never imports the console."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("barter-tui")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"
