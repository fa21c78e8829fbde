"""The disk: where things lie, hashing, capture, atomic writes and the store."""
