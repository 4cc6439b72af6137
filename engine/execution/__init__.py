"""Approved intents in, orders at the venue and their fates out."""
