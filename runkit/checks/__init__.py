"""Rules over manifests, outcomes and what was seen on the disk: values in, findings out, no file in sight."""
