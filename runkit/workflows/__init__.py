"""The verbs as functions; the only place where rooms meet. Workflows do not import each other."""
