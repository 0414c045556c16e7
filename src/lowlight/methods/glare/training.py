"""GLARE's training."""

from lowlight.training.stage import Stage

stages: dict[str, type[Stage]] = {}
