"""Models: encoders, fusion, heads and combiners, put together from specs by `build`.

A plug-in derives from one of the contracts::

    from mmbench.models import Branch, Fused, Fusion, Stream
"""

from mmbench.models.contract import Combined, Combiner, Encoder, Fusion, Head, HeadOut, Objective
from mmbench.types import Batch, Branch, Fused, Links, Stream

__all__ = [
    "Batch",
    "Branch",
    "Combined",
    "Combiner",
    "Encoder",
    "Fused",
    "Fusion",
    "Head",
    "HeadOut",
    "Links",
    "Objective",
    "Stream",
]
