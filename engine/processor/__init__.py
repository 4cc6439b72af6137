"""Closed bars, books and trades come in; indicators and microstructure features go out."""
