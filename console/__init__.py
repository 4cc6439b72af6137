"""What a person sees and presses: the `barter-tui` command and its screens. No trading rules live here."""
