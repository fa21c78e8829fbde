"""A linter for experiment records, an archive it can trust, and tables that print only what it proves."""

__version__ = "0.1.0"
