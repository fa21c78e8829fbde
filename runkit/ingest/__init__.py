"""A run directory, ours or a foreign one, becomes facts: text in, records out. Writes nothing."""
