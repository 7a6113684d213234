"""Builds a model from its spec and a task's signature, refusing pairs that make no sense."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec
from torch import nn

from mmbench import catalog, registry
from mmbench.errors import IncompatibleError, SpecError, nearest
from mmbench.models.clock import check_clock
from mmbench.models.contract import Additive, Combiner, Encoder, Fusion, Head, Objective
from mmbench.models.model import PRIOR, Model
from mmbench.models.sides import fewest, pair_names
from mmbench.spec import ComponentSpec, ModelSpec, ObjectiveSpec, heard_of
from mmbench.strict import explain
from mmbench.types import GALLERY, QUERY, Signature


def build(spec: ModelSpec, signature: Signature) -> Model:
    """Build a model. Initialisation draws from torch's current random state.

    Raises:
        IncompatibleError: The model and the task do not fit; the message says what would.
        SpecError: A component is given an argument that it does not take, or the task has a name
            that torch has no place for.
    """
    _check_names(signature)
    modalities = used_modalities(spec, signature)
    for output in signature.outputs.values():
        why = catalog.why_not(spec.heads, spec.fusion.name, output.kind, len(modalities) < 2)
        if why:
            mark = " " if why.startswith("has ") else ": "
            raise IncompatibleError(f"model {spec.name!r}{mark}{why}")
    encoders = {name: _encoder(name, spec, signature) for name in modalities}
    fusion, gallery = _fusions(spec, signature, modalities)
    heads: dict[str, list[Head]] = {}
    combiners: dict[str, Combiner] = {}
    branches = list(fusion.branches)
    if gallery is not None:
        branches = pair_names(branches, gallery.branches)
    for name, output in signature.outputs.items():
        what = _for_kind(spec.heads, "head", output.kind, spec.name)
        head = registry.load("head", what.name)
        if head.kind != output.kind:
            raise IncompatibleError(
                f"model {spec.name!r}: heads.{output.kind}: the head {what.name!r} serves outputs "
                f"of the kind {head.kind!r}, not {output.kind!r}; 'mmbench list heads' shows all"
            )
        count = 1 if head.shared else len(branches)
        where = f"{spec.name}: heads.{output.kind}"
        check_clock(output.clock, list(encoders) or [PRIOR], spec.name, name)
        heads[name] = [
            construct("head", what, where, output=output, width=spec.width) for _ in range(count)
        ]
        heads[name][0].check(fusion)
        combiners[name] = _combiner(spec, name, output.kind, branches)
    clocks = {head.clock for group in heads.values() for head in group}
    if len(clocks) > 1:
        raise IncompatibleError(
            f"model {spec.name!r}: its heads need different time axes "
            f"({', '.join(sorted(clocks))}), and a fusion gives one: use heads of one axis"
        )
    return Model(signature, encoders, fusion, heads, combiners, spec.width, gallery)


def _check_names(signature: Signature) -> None:
    """Refuse names that a table of torch modules cannot hold, such as its own methods'."""
    for table, names in (("modalities", signature.modalities), ("outputs", signature.outputs)):
        for name in names:
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise SpecError(
                    f"{table}.{name}: torch has no place for a part of that name: choose another, "
                    f"such as {name.replace('.', '_') or 'text'}{'' if '.' in name else '_1'}"
                )


def used_modalities(spec: ModelSpec, signature: Signature) -> list[str]:
    """Return the modalities that the model looks at on this task, in the task's order.

    Raises:
        IncompatibleError: It names one that the task lacks.
    """
    for name in spec.modalities or ():
        if name not in signature.modalities:
            raise IncompatibleError(
                f"model {spec.name!r} looks at the modality {name!r}, which this task lacks: "
                f"it has {', '.join(signature.modalities)}"
            )
    queries = signature.of_role(QUERY)
    heard = heard_of(signature.modalities, spec.modalities)
    if spec.modalities and not set(queries) & set(heard):
        raise IncompatibleError(
            f"model {spec.name!r} looks at nothing of a query, only at the gallery: what it finds "
            f"would not depend on what is looked for: run {queries[0]}_only, or constant as a floor"
        )
    return [name for name in signature.modalities if name in heard]


def objective(spec: ObjectiveSpec, where: str) -> Objective:
    """Build an objective from its spec."""
    component = ComponentSpec(name=spec.name, params=spec.params)
    return construct("objective", component, where)  # type: ignore[no-any-return]


#: What a constructor that is given what it cannot take may raise; torch's own layers assert.
_REFUSALS = (
    ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


def construct(kind: str, spec: ComponentSpec, where: str, **given: Any) -> Any:
    """Call a component's class; a parameter that it does not take is refused by name."""
    component = registry.load(kind, spec.name)
    place = registry.included_file(kind, spec.name)
    if place is not None:
        _check_own(component, f"{place}: the {kind} {spec.name!r}", given)
    taken = [name for name in inspect.signature(component).parameters if name not in given]
    for name in spec.params:
        if name not in taken:
            near = nearest(name, taken)
            offer = f"did you mean {near!r}? " if near else ""
            raise SpecError(
                f"{where}.params: unknown key {name!r} for the {kind} {spec.name!r}: {offer}"
                f"it takes {', '.join(taken) or 'none'}"
            )
    params = {name: _typed(component, name, spec.params[name], where) for name in spec.params}
    try:
        return component(**given, **params)
    except _REFUSALS as error:
        why = str(error).partition("\n")[0]
        raise SpecError(
            f"{where}: the {kind} {spec.name!r} refuses its arguments: {why}"
        ) from error


def _check_own(component: type[Any], where: str, given: Mapping[str, Any]) -> None:
    """Refuse a class of the user's that lacks what every one of its kind has."""
    lacking = sorted(getattr(component, "__abstractmethods__", ()))
    if lacking:
        raise SpecError(
            f"{where} lacks {', '.join(lacking)}, which every {component.component} has: "
            f"define {'it' if len(lacking) == 1 else 'them'} in the class"
        )
    parameters = inspect.signature(component).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    deaf = [name for name in given if name not in parameters]
    if deaf:
        raise SpecError(
            f"{where}: its __init__ does not take {', '.join(deaf)}: expected "
            f"__init__(self, {', '.join(given)}, ...)"
        )


def _typed(component: type[Any], name: str, value: Any, where: str) -> Any:
    """Hold a parameter against its annotation, where it is one that a TOML can answer to."""
    try:
        hint = get_type_hints(component.__init__, include_extras=True)[name]
        return msgspec.convert(value, hint)
    except msgspec.ValidationError as error:
        raise SpecError(f"{where}.params.{explain(error, hint, name)}, got {value!r}") from None
    except (KeyError, NameError, TypeError):  # not annotated, or not in TOML's own types
        return value


def _encoder(name: str, spec: ModelSpec, signature: Signature) -> Encoder:
    modality = signature.modalities[name]
    what = _for_kind(spec.encoders, "encoder", modality.kind, spec.name)
    encoder = registry.load("encoder", what.name)
    if modality.kind not in encoder.kinds:
        raise IncompatibleError(
            f"{spec.name}: encoders.{modality.kind}: the encoder {what.name!r} reads "
            f"{', '.join(encoder.kinds)}, not {modality.kind}"
        )
    where = f"{spec.name}: encoders.{modality.kind}"
    return construct("encoder", what, where, modality=modality, width=spec.width)  # type: ignore[no-any-return]


def _fusions(
    spec: ModelSpec, signature: Signature, modalities: list[str]
) -> tuple[Fusion, Fusion | None]:
    """Build the fusion; for retrieval one of the query's side and one of the gallery's.

    A side that has too few modalities for the fusion, and nothing to fuse, has a tower of its own.
    """
    if not signature.of_role(GALLERY):
        return _fusion(spec, signature, modalities), None
    needed = fewest(registry.load("fusion", spec.fusion.name))
    sides = [[n for n in modalities if n in signature.of_role(r)] for r in (QUERY, GALLERY)]
    if not any(len(side or [PRIOR]) >= needed for side in sides):
        told = [" and ".join(side) or "nothing" for side in sides]
        raise IncompatibleError(
            f"model {spec.name!r}: the fusion {spec.fusion.name!r} merges modalities of one side, "
            f"at least {needed}, and here a query has {told[0]} and an entry of the gallery "
            f"{told[1]}: the two meet in the score only, which is late fusion: run late"
        )
    taken = inspect.signature(registry.load("fusion", _ALONE)).parameters
    params = {name: value for name, value in spec.fusion.params.items() if name in taken}
    alone = msgspec.structs.replace(spec, fusion=ComponentSpec(_ALONE, params))
    query, gallery = (
        _fusion(spec if len(side) >= needed else alone, signature, side) for side in sides
    )
    return query, gallery


#: With one modality, this fusion is that modality's branch and nothing else.
_ALONE = "late"


def _fusion(spec: ModelSpec, signature: Signature, modalities: list[str]) -> Fusion:
    fusion = registry.load("fusion", spec.fusion.name)
    # A model that looks at nothing has one stream all the same: its learned token.
    if len(modalities or [PRIOR]) < fusion.at_least:
        raise IncompatibleError(
            f"model {spec.name!r}: the fusion {spec.fusion.name!r} needs at least "
            f"{fusion.at_least} modalities and has {len(modalities)} "
            f"({', '.join(modalities) or 'none'}): models for one are called "
            f"{modalities[0] if modalities else 'text'}_only"
        )
    names = modalities or [PRIOR]
    where = f"{spec.name}: fusion"
    given: dict[str, Any] = {"modalities": names, "width": spec.width}
    if "inputs" in inspect.signature(fusion).parameters:  # one that reconstructs what was read
        given["inputs"] = {n: signature.modalities[n] for n in modalities}
    return construct("fusion", spec.fusion, where, **given)  # type: ignore[no-any-return]


def _combiner(spec: ModelSpec, name: str, kind: str, branches: list[str]) -> Combiner:
    what = spec.combiner_of(kind)
    known: tuple[str, ...] = registry.load("combiner", what.name).kinds
    if kind not in known:
        raise IncompatibleError(
            f"model {spec.name!r}: the combiner {what.name!r} merges {', '.join(known)}, but the "
            f"output {name!r} is of the kind {kind!r}: name another in [combiners.{kind}]"
        )
    where = f"{spec.name}: combiner"
    made = construct("combiner", what, where, branches=branches, width=spec.width)
    if kind == "match" and not isinstance(made, Additive):
        raise IncompatibleError(
            f"model {spec.name!r}: the combiner {what.name!r} does not add scores up with weights "
            f"of its own (mmbench.models.contract.Additive), which retrieval needs: name "
            f"score_sum in [combiners.match]"
        )
    return made  # type: ignore[no-any-return]


def _for_kind(
    table: Mapping[str, ComponentSpec], part: str, kind: str, model: str
) -> ComponentSpec:
    if kind not in table:
        own = f", or --include a file whose encoder says usual_for = ({kind!r},)"
        raise IncompatibleError(
            f"model {model!r} has no {part} for {kind!r}: its {part}s are for "
            f"{', '.join(table) or 'nothing'}; add [{part}s.{kind}] to its TOML"
            f"{own if part == 'encoder' else ''}"
        )
    return table[kind]
