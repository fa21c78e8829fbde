"""The trained part between the two frozen models; its modules take plain numbers, never a config object."""
