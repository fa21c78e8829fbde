"""Sources of facts about a run, one producer each; what a source is stands in :mod:`runkit.ingest.source`."""
