"""Several models of one architecture as one: parameters [S, ...], a batch [S, B, ...].

A model's own code runs once for all S of them, under torch's `vmap`: what it does to a parameter or
to a batch is done to S of each. Nothing in encoders, fusions, heads or objectives knows of it.

torch's own batching rules would do, but for two things. They are slow for the layers that a model
is made of, and their sums run in another order than those of one model, so that the last digits
differ; and training carries last digits far. The rules in this file do better for both. With them,
on a CPU, losses and gradients have the bits that each model has by itself. Operations that cannot
be done together in those bits (a convolution, a recurrent layer) are done one model after the
other, in the midst of what is done together. So are random draws, each from its model's own stream.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from mmbench.models.contract import Objective
from mmbench.models.layers import real_places
from mmbench.models.model import Model
from mmbench.types import GALLERY, QUERY, Batch


class NotTogetherError(Exception):
    """What a model does cannot be done for several at once; the message says what."""


def supported() -> str:
    """Say what this torch lacks for models to be stacked; nothing if it has all."""
    names = (
        "_add_batch_dim",
        "_set_vmap_fallback_warning_enabled",
        "_unwrap_batched",
        "_vmap_decrement_nesting",
        "_vmap_increment_nesting",
        "is_batchedtensor",
        "pop_dynamic_layer_stack",
        "push_dynamic_layer_stack",
    )
    functorch = getattr(torch._C, "_functorch", None)
    lacking = [name for name in names if not hasattr(functorch, name)]
    return f"torch {torch.__version__} has no {lacking[0]}" if lacking else ""


class Stack:
    """S models as one.

    Args:
        models: On one device, of one architecture. They are copied, and not changed.
        streams: For each the state of torch's random generator that it draws from.

    Attributes:
        parameters: Name -> [S, ...]; those that are trained are leaves that take gradients.
        buffers: Name -> [S, ...].
    """

    def __init__(self, models: Sequence[Model], streams: Sequence[Stream]) -> None:
        self.size = len(models)
        self.streams = list(streams)
        self.template = copy.deepcopy(models[0]).train()
        # What its fusion returns is looked at where a model runs by itself.
        self.template._fit = {QUERY, GALLERY}
        tables = [dict(model.named_parameters()) for model in models]
        self.parameters = {
            name: torch.stack([table[name].detach() for table in tables]).requires_grad_(
                parameter.requires_grad
            )
            for name, parameter in tables[0].items()
        }
        held = [dict(model.named_buffers()) for model in models]
        self.buffers = {name: torch.stack([table[name] for table in held]) for name in held[0]}
        self._slots = list(_slots(self.template))
        self._recurrent = [m for m in self.template.modules() if isinstance(m, nn.RNNBase)]
        #: Class of an objective -> whether its losses take more than what modules are given here.
        self._listens: dict[type[Objective], bool] = {}
        self._rules: _Rules | None = None
        for module in self.template.modules():
            if type(module) in _MODULES:
                module.forward = partial(self._through, module, _MODULES[type(module)])

    def losses(self, objective: Objective, batch: Batch, own: Sequence[Objective] = ()) -> Tensor:
        """Return the S losses of S batches.

        Args:
            objective: The loss; one object for all.
            batch: Tensors [S, B, ...]; its size is B.
            own: For each model the objective whose tensors count for it, where they differ.

        Raises:
            NotTogetherError: Something of it cannot be done for several models at once.
        """
        if self._listens.get(type(objective), True):
            losses, self._listens[type(objective)] = self._losses(objective, batch, own, True)
            return losses
        states = [stream.state for stream in self.streams]
        try:
            return self._losses(objective, batch, own, False)[0]
        except RuntimeError:  # it does today what it did not do before, such as a random draw
            for stream, state in zip(self.streams, states, strict=True):
                stream.state = state
            self._listens[type(objective)] = True
            return self.losses(objective, batch, own)

    def _losses(
        self, objective: Objective, batch: Batch, own: Sequence[Objective], listen: bool
    ) -> tuple[Tensor, bool]:
        """Return the losses, and whether functions were called that have to be listened for.

        Listening costs two microseconds for each of some hundred operations. A model whose layers
        are modules, and which draws nothing, is as well off without.
        """
        functorch = _functorch()
        level = functorch._vmap_increment_nesting(self.size, "error")
        before = dict(vars(objective))
        rules = self._rules = _Rules(level, self.streams, listen)
        functorch._set_vmap_fallback_warning_enabled(False)  # slow here is no concern of the user
        try:
            self._enter(rules)
            vars(objective).update(_of_objectives(rules, own))
            with rules if listen else nullcontext():
                loss: Tensor = objective.loss(self.template, rules.batch(batch))
            return rules.whole(loss), rules.heard
        finally:
            vars(objective).clear()
            vars(objective).update(before)
            functorch._set_vmap_fallback_warning_enabled(True)
            functorch._vmap_decrement_nesting()

    def _enter(self, rules: _Rules) -> None:
        """Let the template's modules hold the S parameters of each."""
        every = {**self.parameters, **self.buffers}
        inside = {name: rules.enter(value) for name, value in every.items()}
        for table, key, name in self._slots:
            table[key] = inside[name]
        for module in self._recurrent:  # they keep a list of their own
            module._flat_weights = [getattr(module, n) for n in module._flat_weights_names]

    def _through(self, module: nn.Module, call: _Call, x: Tensor) -> Any:
        """Do what a module does, by the rule for its function."""
        rules = self._rules
        assert rules is not None
        if not rules.listening:
            return call(rules, module, x)
        with torch._C.DisableTorchFunction():  # nobody needs to hear what is done by rule
            return call(rules, module, x)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the models; optimisers keep knowing the parameters."""
        self.size = len(rows)
        self.streams = [self.streams[row] for row in rows]
        for value in (*self.parameters.values(), *self.buffers.values()):
            value.grad = None
            value.data = value.data[list(rows)].contiguous()

    def unstack(self, at: int, model: Model) -> None:
        """Write the parameters and buffers of model number `at` into a model."""
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.parameters[name][at])
            for name, buffer in model.named_buffers():
                buffer.copy_(self.buffers[name][at])


class Stream:
    """A random stream for what is drawn inside of a model: the state of torch's own generator.

    Args:
        seed: What torch's generator is seeded with.
        device: Where draws are made.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.default_generator
        if device.type == "cuda":
            self.generator = torch.cuda.default_generators[device.index or 0]
        own = torch.Generator(device=self.generator.device)
        self.state = own.manual_seed(seed).get_state()

    @contextmanager
    def drawn_from(self) -> Iterator[None]:
        """Let torch's own generator continue this stream, and be as before afterwards."""
        before = self.generator.get_state()
        self.generator.set_state(self.state)
        try:
            yield
        finally:
            self.state = self.generator.get_state()
            self.generator.set_state(before)


def _slots(model: nn.Module) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield where each parameter and each buffer is held: a table, a key in it, its name."""
    names = {id(value): name for name, value in model.named_parameters()}
    names.update({id(value): name for name, value in model.named_buffers()})
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for key, value in table.items():
                if value is not None:
                    yield table, key, names[id(value)]


def _of_objectives(rules: _Rules, own: Sequence[Objective]) -> dict[str, Any]:
    """Return the attributes in which the models' objectives differ from one another: tensors."""
    found = {}
    for name in vars(own[0]) if own else ():
        values = [getattr(one, name) for one in own]
        if all(isinstance(value, Tensor) for value in values):
            found[name] = rules.enter(torch.stack(values))
        elif any(isinstance(value, Tensor) for value in values):
            raise NotTogetherError(
                f"the objectives of some models know {name!r}, others do not yet"
            )
    return found


def _functorch() -> Any:
    return torch._C._functorch


# --- what is done to S tensors where a model does it to one ---------------------------------------


class _Rules(TorchFunctionMode):
    """Replaces operations on batched tensors by ones that are faster, or have one model's bits.

    Args:
        level: That of the `vmap` around it.
        streams: One for each model.
        listening: Whether it hears of every operation; else modules ask for theirs.

    Attributes:
        heard: Whether a function was called that has to be done by its rule.
    """

    def __init__(self, level: int, streams: Sequence[Stream], listening: bool) -> None:
        super().__init__()
        self.level = level
        self.streams = streams
        self.size = len(streams)
        self.listening = listening
        self.heard = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        rule = RULES.get(func)
        if rule is None:
            return func(*args, **(kwargs or {}))
        # These two come out right without their rules, only later.
        self.heard |= func is not F.nll_loss and not (func is F.layer_norm and len(args) == 2)
        return rule(self, func, args, kwargs or {})

    # --- in and out of the batch ---

    def enter(self, x: Tensor) -> Tensor:
        """Let S tensors [S, ...] be seen as one of them [...]."""
        return _functorch()._add_batch_dim(x, 0, self.level)  # type: ignore[no-any-return]

    def leave(self, x: Tensor) -> Tensor | None:
        """Return the S tensors [S, ...] that are seen as `x`; None where all have one."""
        whole, axis = _functorch()._unwrap_batched(x, self.level)
        if axis is None:
            return None
        return whole if axis == 0 else whole.movedim(axis, 0)  # type: ignore[no-any-return]

    def whole(self, x: Tensor) -> Tensor:
        """Return S tensors [S, ...], the same one S times where all have one."""
        found = self.leave(x)
        return x.expand(self.size, *x.shape) if found is None else found

    def batch(self, batch: Batch) -> Batch:
        """Let a batch of tensors [S, B, ...] be seen as one of the S."""
        tables = (batch.inputs, batch.lengths, batch.present, batch.targets)
        seen = ({name: self.enter(x) for name, x in table.items()} for table in tables)
        return Batch(batch.size, *seen)

    def batched(self, x: Any) -> bool:
        """Whether it is S tensors that are seen as one."""
        return isinstance(x, Tensor) and _functorch().is_batchedtensor(x)


class _Outside:
    """Where whole tensors are computed with, unseen by `vmap`: a ``with`` of few microseconds."""

    def __enter__(self) -> None:
        self.layer = _functorch().pop_dynamic_layer_stack()

    def __exit__(self, *_: object) -> None:
        _functorch().push_dynamic_layer_stack(self.layer)


Rule = Callable[["_Rules", Callable[..., Any], Sequence[Any], Mapping[str, Any]], Any]
RULES: dict[Callable[..., Any], Rule] = {}


def _rule(*functions: Callable[..., Any]) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(functions, rule))
        return rule

    return register


def _one_by_one(
    rules: _Rules,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    draws: bool = False,
) -> Any:
    """Call a function for one model after the other; its results are stacked."""
    leaves, layout = tree_flatten((tuple(args), dict(kwargs)))
    own: dict[int, Any] = {}
    for leaf in leaves:  # one that is given twice is one, and some functions look whether it is
        if id(leaf) not in own:
            own[id(leaf)] = rules.leave(leaf) if isinstance(leaf, Tensor) else None
    with _Outside():
        split = {key: None if x is None else x.unbind() for key, x in own.items()}
        of = [split[id(leaf)] or [leaf] * rules.size for leaf in leaves]
        results = []
        for at, stream in enumerate(rules.streams):
            ins, named = tree_unflatten([x[at] for x in of], layout)
            if draws:
                with stream.drawn_from():
                    results.append(func(*ins, **named))
            else:
                results.append(func(*ins, **named))
        parts = [tree_flatten(result) for result in results]
        shape = parts[0][1]
        stacked = [
            torch.stack(values) if isinstance(values[0], Tensor) else values[0]
            for values in zip(*(leaves for leaves, _ in parts), strict=True)
        ]
    inside = [rules.enter(x) if isinstance(x, Tensor) else x for x in stacked]
    return tree_unflatten(inside, shape)


@_rule(
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
    F.multi_head_attention_forward,
    F.group_norm,
    torch.gru,
    torch.lstm,
    torch.rnn_tanh,
    torch.rnn_relu,
)
def _in_turn(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Operations that have no rule in torch, a slow one, or one that changes bits."""
    leaves, _ = tree_flatten((tuple(args), dict(kwargs)))
    if not any(rules.batched(leaf) for leaf in leaves):
        return func(*args, **kwargs)
    return _one_by_one(rules, func, args, kwargs)


@_rule(
    F.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    F.gumbel_softmax,
    F.rrelu,
    torch.bernoulli,
    torch.dropout,
    torch.multinomial,
    torch.normal,
    torch.poisson,
    torch.rand,
    torch.rand_like,
    torch.randint,
    torch.randint_like,
    torch.randn,
    torch.randn_like,
    torch.randperm,
    Tensor.bernoulli,
    Tensor.multinomial,
)
def _drawn(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Draws: each model's from its own stream."""
    return _one_by_one(rules, func, args, kwargs, draws=True)


@_rule(
    Tensor.bernoulli_,
    Tensor.cauchy_,
    Tensor.exponential_,
    Tensor.geometric_,
    Tensor.log_normal_,
    Tensor.normal_,
    Tensor.random_,
    Tensor.uniform_,
)
def _drawn_in_place(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Draws that fill a tensor."""
    own = rules.leave(args[0])
    if own is None:
        raise NotTogetherError(f"{func.__name__} fills a tensor that all models share")
    with _Outside():
        for one, stream in zip(own.unbind(), rules.streams, strict=True):
            with stream.drawn_from():
                func(one, *args[1:], **kwargs)
    return args[0]


@_rule(torch.matmul, Tensor.matmul, Tensor.__matmul__)
def _matmul(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Products of a matrix or a vector: batched ones have other gradients in the last digits."""
    one, other = args
    if min(one.dim(), other.dim()) > 2 or not (rules.batched(one) and rules.batched(other)):
        return func(*args, **kwargs)
    others = rules.whole(other)
    if others.dim() == 3 and others.mT.is_contiguous():  # gradients have to lie as it lies itself
        return _one_by_one(rules, lambda a, b: func(a, b.mT), (one, rules.enter(others.mT)), kwargs)
    return _one_by_one(rules, func, args, kwargs)


@_rule(F.linear)
def _linear(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """One batched product for all models."""
    x, weight, bias = _named(args, kwargs, "input", "weight", "bias")
    weights = rules.leave(weight)
    biases = None if bias is None else rules.leave(bias)
    if weights is None or (bias is not None and biases is None):
        return func(x, weight, bias)
    if weights.shape[1] == 1:  # products with a vector, which torch takes otherwise
        return _one_by_one(rules, func, args, kwargs)
    ins = rules.whole(x)
    with _Outside():
        shape = ins.shape
        rows = ins if len(shape) == 3 else ins.reshape(shape[0], -1, shape[-1])
        # As torch has it: of what does not lie in one piece, the bias is added afterwards.
        at_once = len(shape) <= 3 or ins[0].is_contiguous()
        out = _Linear.apply(rows, weights, biases if at_once else None)  # type: ignore[no-untyped-call]
        if len(shape) != 3:
            out = out.view(*shape[:-1], out.shape[-1])
        if biases is not None and not at_once:
            out = out + biases.view(shape[0], *[1] * (len(shape) - 2), -1)
    return rules.enter(out)


class _Linear(torch.autograd.Function):
    """x W^T + b of S models: [S, N, D], [S, E, D], [S, E] -> [S, N, E].

    Its gradients are the products that torch takes for one linear layer; `baddbmm` would take that
    of W transposed, whose last digits differ.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        if bias is None:
            return torch.bmm(x, weight.mT)
        return torch.baddbmm(bias[:, None], x, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            torch.bmm(grad, weight) if for_x else None,
            torch.bmm(grad.mT, x) if for_weight else None,
            grad.sum(dim=1) if ctx.biased and for_bias else None,
        )


@_rule(F.layer_norm)
def _layer_norm(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """One model after the other, in one go."""
    x, shape, weight, bias, eps = _named(
        args, kwargs, "input", "normalized_shape", "weight", "bias", "eps"
    )
    eps = 1e-5 if eps is None else eps
    ins = rules.leave(x)
    if weight is None and bias is None and ins is not None:
        with _Outside():
            found = F.layer_norm(ins, shape, None, None, eps)
        return rules.enter(found)
    weights = None if weight is None else rules.leave(weight)
    biases = None if bias is None else rules.leave(bias)
    if weights is None or biases is None or len(shape) != 1:
        return func(x, shape, weight, bias, eps)
    whole = rules.whole(x)
    with _Outside():
        each = zip(whole.unbind(), weights.unbind(), biases.unbind(), strict=True)
        # All at once they would round otherwise, and their gradients take as long.
        found = torch.stack([torch.layer_norm(one, shape, w, b, eps) for one, w, b in each])
    return rules.enter(found)


@_rule(F.nll_loss)
def _nll_loss(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """One model after the other: for a few numbers an item, and sums in its order."""
    said, target = _named(args, kwargs, "input", "target")
    ins = rules.leave(said)
    if ins is None or len(args) > 2 or "weight" in kwargs:
        return _one_by_one(rules, func, args, kwargs)
    more = {name: value for name, value in kwargs.items() if name not in ("input", "target")}
    with _Outside():
        each = zip(ins.unbind(), rules.whole(target).unbind(), strict=True)
        found = torch.stack([func(x, right, **more) for x, right in each])
    return rules.enter(found)


_Call = Callable[["_Rules", nn.Module, Tensor], Any]
#: What is done for a module that is called with one tensor.
_MODULES: dict[type[nn.Module], _Call] = {
    nn.Linear: lambda rules, m, x: _linear(
        rules, F.linear, (x, m._parameters["weight"], m._parameters["bias"]), {}
    ),
    nn.LayerNorm: lambda rules, m, x: _layer_norm(
        rules,
        F.layer_norm,
        (x, m.normalized_shape, m._parameters["weight"], m._parameters["bias"], m.eps),
        {},
    ),
}


@_rule(F.scaled_dot_product_attention)
def _attention(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Attention of all models' items at once: it knows no parameters."""
    query, key, value, mask, dropout, *more = _named(
        args, kwargs, "query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"
    )
    if dropout:
        return _one_by_one(rules, func, args, kwargs, draws=True)
    causal, scale = bool(more[0]), more[1]
    parts = [rules.whole(x) for x in (query, key, value)]
    bias = None if mask is None else rules.whole(mask)
    with _Outside():
        q, k, v = (x.flatten(0, 1) for x in parts)
        bias = None if bias is None else bias.flatten(0, 1)
        out = F.scaled_dot_product_attention(q, k, v, bias, is_causal=causal, scale=scale)
        out = out.view(rules.size, -1, *out.shape[1:])
    return rules.enter(out)


@_rule(real_places)
def _real_places(
    rules: _Rules, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Places of the real tokens of each model's batch, as many for each as for the longest.

    What is missing is filled up with the last place that is not real, of which nobody hears.
    """
    real = rules.leave(args[0])
    if real is None:
        return func(*args)
    with _Outside():
        count = real.sum(dim=1)
        longest = int(count.max())
        order = (~real).to(torch.uint8).argsort(dim=1, stable=True)  # real ones come first
        here = torch.arange(longest, device=real.device) < count[:, None]
        index = torch.where(here, order[:, :longest], order[:, -1:])
    return rules.enter(index)


def _named(args: Sequence[Any], kwargs: Mapping[str, Any], *names: str) -> list[Any]:
    """Return arguments in the order of their names; None for what is not given."""
    given = dict(zip(names, args, strict=False))
    return [given.get(name, kwargs.get(name)) for name in names]
