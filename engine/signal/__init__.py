"""Venue messages come in; books that say whether they may be trusted, and bars, go out."""
