"""The trained part between the two frozen models; its modules take plain numbers, never a config object."""

from runkit.engine.bridge.adapter import Adapter
from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.bridge.linear import LinearBridge
from runkit.engine.bridge.resampler import Resampler

__all__ = ["Adapter", "Bridge", "DiTBridge", "Dimensions", "LinearBridge", "Resampler", "SourceAlign"]

Bridge = DiTBridge | Resampler | LinearBridge | Adapter
"""An adapter adds to the question's embeddings, the others fill slots before the text. A DiT bridge starts
from noise and takes steps; the others are one forward pass of the source's states."""
