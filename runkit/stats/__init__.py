"""Statistics as pure functions: integers in, a named tuple out; no file, clock or random state."""
