"""Sources of facts, each one kind of file in a run directory (:mod:`runkit.ingest.source`)."""
