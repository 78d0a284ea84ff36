"""Where attempts run; backends are strangers to each other."""
