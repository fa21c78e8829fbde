"""The bridge engine: the only room that knows torch; importing the package itself does not load torch."""
