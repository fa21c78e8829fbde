"""What was tried against runkit and went through once: one test a way, each failing on the version before."""
