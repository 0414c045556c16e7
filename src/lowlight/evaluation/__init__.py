"""Honest measurement: metrics, each with its exact variant in its name."""
