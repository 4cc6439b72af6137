"""Bars in, trades and statistics out: the live decision code over recorded or generated bars."""
