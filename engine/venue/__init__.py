"""The simulated exchange: a process of its own that speaks the venues' wire protocols on loopback."""
