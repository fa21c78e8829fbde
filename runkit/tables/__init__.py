"""From a specification and archived runs to a table as a value: no file, no clock, no markup."""
