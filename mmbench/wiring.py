"""What meets what in a model, found by asking the model itself.

A model is built as its spec and a task say, and made-up items are sent through it. Which parts
depend on which is read off the gradients, so that the picture of a fusion is that of its code: one
that claims to be late and mixes modalities is caught in the act. Parts are the encoders, what is
called directly inside the fusion (layers of normalisation and activation left out), the branches
and what merges their decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from mmbench.run import import_torch, promised
from mmbench.spec import ModelSpec, TaskSpec
from mmbench.types import Batch, Signature

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mmbench.models.model import Model

#: Items that are sent through.
ITEMS = 3


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        name: What the code calls it, ``towers.text``.
        kind: Its class, or what it is.
        stage: ``input``, ``encoder``, ``fusion``, ``branch`` or ``decision``.
        sees: The modalities that it depends on.
        times: How often it is called for one batch.
        training: Whether it plays a part in training only.
    """

    name: str
    kind: str
    stage: str
    sees: tuple[str, ...]
    times: int = 1
    training: bool = False


@dataclass(frozen=True)
class Wiring:
    """The parts of a model in order, and which feeds which (indices into `parts`)."""

    model: str
    summary: str
    family: str
    paper: str
    modalities: tuple[str, ...]
    parts: tuple[Part, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass
class _Node:
    name: str
    module: nn.Module
    encoder: bool
    outputs: list[Tensor]
    calls: int = 0


def trace(spec: ModelSpec, task: TaskSpec) -> Wiring:
    """Return the wiring of a model on a task.

    Args:
        spec: The model as it is on the task, its width chosen.
        task: Names modalities, outputs and their shapes; its data are not touched.

    Raises:
        IncompatibleError: Model and task do not fit.
        MissingExtraError: There is no torch.
    """
    torch = import_torch()
    from mmbench.models.build import build
    from mmbench.models.extent import made_up

    signature = promised(task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(spec, signature)
        batch = made_up(signature, ITEMS)
        decides = {node.name for node in _run(model.eval(), batch)[0]}
        nodes, branches = _run(model.train(), batch)
        reach = _reach(nodes, branches)
    heard = list(model.encoders)
    parts = [Part(name, _shape(task, name), "input", (name,)) for name in heard]
    first = len(parts)
    edges = [(heard.index(n.name), first + k) for k, n in enumerate(nodes) if n.encoder]
    behind = {k: node.name for k, node in enumerate(nodes) if node.encoder}
    for k, found in enumerate(reach):
        named = {behind[a] for a in (*found, k) if a in behind}
        sees = tuple(name for name in heard if name in named)
        if k < len(nodes):
            parts.append(_part(nodes[k], sees, nodes[k].name not in decides))
        else:
            parts.append(Part(branches[k - len(nodes)][0], _heads(model), "branch", sees))
        around = {a for b in found for a in reach[b]}
        edges += [(first + a, first + k) for a in sorted(found - around)]
    ends = range(first + len(nodes), first + len(reach))
    together = tuple(m for m in heard if any(m in parts[end].sees for end in ends))
    for output in model.heads:
        edges += [(end, len(parts)) for end in ends]
        merged = _merged(spec, signature, output, len(branches))
        parts.append(Part(output, merged, "decision", together))
    return Wiring(
        spec.name, spec.summary, spec.family, spec.paper, tuple(heard), tuple(parts), tuple(edges)
    )


def _part(node: _Node, sees: tuple[str, ...], training: bool) -> Part:
    name = node.name if not node.encoder else f"encoders.{node.name}"
    stage = "encoder" if node.encoder else "fusion"
    return Part(name, type(node.module).__name__, stage, sees, node.calls, training)


def _run(model: Model, batch: Batch) -> tuple[list[_Node], list[tuple[str, list[Tensor]]]]:
    """Send items through; return the parts with what they gave, and the branches."""
    from torch.utils.hooks import RemovableHandle

    seen: dict[int, _Node] = {}
    handles: list[RemovableHandle] = []
    order: list[_Node] = []

    def watch(name: str, module: nn.Module, encoder: bool) -> None:
        node = seen.setdefault(id(module), _Node(name, module, encoder, []))

        def note(_: nn.Module, __: Any, output: Any) -> None:
            if not node.calls:
                order.append(node)
            node.calls += 1
            node.outputs += [t for t in _tensors(output) if t.requires_grad]

        handles.append(module.register_forward_hook(note))

    for name, encoder in model.encoders.items():
        watch(name, encoder, True)
    for before, fusion in _fusions(model):
        for name, module in fusion.named_modules():
            if name and id(module) not in seen:
                watch(before + name, module, False)
    try:
        branches = model.fuse(batch).branches
    finally:
        for handle in handles:
            handle.remove()
    chosen = {id(node.module) for node in _parts(model, seen)}
    sides = [(b, *([b.partner] if b.partner is not None else [])) for b in branches]
    given = [(own[0].name, [t for b in own for t in (b.seq, b.pooled)]) for own in sides]
    return [node for node in order if id(node.module) in chosen and node.outputs], given


def _fusions(model: Model) -> list[tuple[str, nn.Module]]:
    """Return the fusion, for retrieval that of each side, with what stands before its parts."""
    gallery = [] if model.gallery is None else [("gallery.", model.gallery)]
    return [("", model.fusion), *gallery]


def _parts(model: Model, seen: Mapping[int, _Node]) -> Iterator[_Node]:
    """Yield encoders and the outermost called parts of the fusion."""
    for encoder in model.encoders.values():
        yield seen[id(encoder)]
    pending = [part for _, fusion in _fusions(model) for part in fusion.children()]
    while pending:
        module = pending.pop(0)
        node = seen.get(id(module))
        if node is None or _plain(module):
            continue
        if node.calls:
            yield node
        else:
            pending += list(module.children())


def _plain(module: nn.Module) -> bool:
    """Whether a part is not worth a place in a picture."""
    from torch import nn

    weightless = not any(True for _ in module.parameters())
    return weightless or isinstance(module, nn.LayerNorm | nn.Embedding)


def _tensors(content: Any) -> Iterator[Tensor]:
    import torch

    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _tensors(value)
    elif is_dataclass(content):
        for field in fields(content):
            yield from _tensors(getattr(content, field.name))


def _reach(nodes: Sequence[_Node], branches: Sequence[tuple[str, list[Tensor]]]) -> list[set[int]]:
    """Return for each part, then for each branch, the parts before it that it depends on."""
    import torch

    reach: list[set[int]] = []
    for k, outputs in enumerate([n.outputs for n in nodes] + [given for _, given in branches]):
        before = [(j, t) for j in range(min(k, len(nodes))) for t in nodes[j].outputs]
        total = sum((t.float() * torch.randn(t.shape)).sum() for t in outputs)
        found: set[int] = set()
        if before and isinstance(total, torch.Tensor) and total.requires_grad:
            slopes = torch.autograd.grad(
                total, [t for _, t in before], retain_graph=True, allow_unused=True
            )
            told = zip(before, slopes, strict=True)
            found = {j for (j, _), s in told if s is not None and bool(s.abs().max() > 0)}
        reach.append(found)
    return reach


def _heads(model: Model) -> str:
    names = [type(model.head_of(name, 0)).__name__ for name in model.heads]
    return f"branch; {' and '.join(dict.fromkeys(names)).lower()} head"


def _merged(spec: ModelSpec, signature: Signature, output: str, branches: int) -> str:
    """Say what merges the branches' decisions; of one branch there is nothing to merge."""
    kind = signature.outputs[output].kind
    if branches < 2:
        return kind
    combiner = spec.combiner_of(kind)
    gate = combiner.params.get("gate")
    return f"{kind}: {combiner.name}" + (f", {gate} gate" if gate else "")


def _shape(task: TaskSpec, name: str) -> str:
    modality = task.modalities[name]
    return f"{modality.kind} {' x '.join(str(n) for n in modality.shape)}"
