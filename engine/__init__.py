"""The trading engine: markets in, decisions and orders out. It never imports the console."""
