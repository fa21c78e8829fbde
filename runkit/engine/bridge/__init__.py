"""The trained part between the two frozen models; its modules take plain numbers, never a config object."""

from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.bridge.linear import LinearBridge
from runkit.engine.bridge.resampler import Resampler

__all__ = ["Bridge", "DiTBridge", "LinearBridge", "Resampler", "SourceAlign"]

Bridge = DiTBridge | Resampler | LinearBridge
"""A DiT bridge starts from noise and takes steps; the others are one forward pass of the source's states."""
