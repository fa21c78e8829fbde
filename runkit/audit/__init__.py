"""A document and the archive's manifests -> claims and verdicts. Reads no file and writes none."""
