"""How large a model is and how much it computes, found with items that are made up."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmbench.models.model import Model
from mmbench.models.operations import Operations
from mmbench.text import SPECIALS
from mmbench.types import Batch, Signature

#: Parameters of a model that nothing is sent through, since that would take long.
LARGEST = 20_000_000
#: Outputs whose heads compute much more than they have numbers to say.
_SPOKEN = ("text", "image")


@dataclass(frozen=True)
class Extent:
    """How large a model is.

    Attributes:
        parameters: Those that are trained.
        calls: How often encoders and fusion compute something in a forward pass, however small.
        elements: The numbers that they write for an item.
        spoken: Parameters of heads that say texts or paint pictures, once for each branch.
    """

    parameters: int
    calls: int = 0
    elements: float = 0.0
    spoken: int = 0


def extent(model: Model, signature: Signature | None) -> Extent:
    """Look at a model, and send items through it that lack nothing.

    Whatever breaks there is left to the run itself, which says it better; then only the parameters
    are known.

    Args:
        model: On the CPU; its random numbers are torch's, for the caller to keep.
        signature: What it was built for; None: nothing is sent through it, and only the parameters
            are known.
    """
    size = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if signature is None or size > LARGEST:
        return Extent(size)
    batch = made_up(signature, 1)
    counter = Operations()
    training = model.training
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one item is too little for several, which would wait for one another
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            branches = len(model.eval().fuse(batch).branches)
    except Exception:
        return Extent(size)
    finally:
        model.train(training)
        torch.set_num_threads(threads)
    said = [name for name, output in signature.outputs.items() if output.kind in _SPOKEN]
    heads = [model.head_of(name, k) for name in said for k in range(branches)]
    spoken = sum(p.numel() for head in heads for p in head.parameters())
    return Extent(size, counter.calls, counter.elements / batch.size, spoken)


def made_up(signature: Signature, size: int) -> Batch:
    """Make up so many items that lack nothing, without targets."""
    inputs = {}
    for name, modality in signature.modalities.items():
        shape = (size, *modality.shape)
        if modality.kind == "text":
            inputs[name] = torch.randint(len(SPECIALS), len(modality.vocabulary), shape)
        elif modality.kind == "image":
            inputs[name] = torch.randint(0, 256, shape, dtype=torch.uint8)
        else:
            inputs[name] = torch.randn(shape)
    present = {name: torch.ones(size, dtype=torch.bool) for name in inputs}
    return Batch(size, inputs, {}, present, {})
