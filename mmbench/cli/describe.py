"""``mmbench describe``: all about one task, model or component. Imports no torch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from mmbench.spec import ModelSpec, RangeSpec, TaskSpec


@click.command("describe")
@click.argument("name")
@option("-t", "--task", default=None, help="The model as it is on this task.")
@option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Draw a model's wiring on the task into this folder.",
)
@option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Of a task: draw items of its test split into this folder, and write their sounds.",
)
@_options.data
@_options.as_json
@_options.common
def command(
    name: str,
    task: str | None,
    figures: Path | None,
    save: Path | None,
    data: Path | None,
    as_json: bool,
) -> None:
    """Describe a task, a model or a component by name, or a TOML or a .py file by path.

    \b
    mmbench describe captioning
    mmbench describe captioning --save pictures
    mmbench describe hybrid
    mmbench describe hybrid -t sentiment --figures pictures
    """  # noqa: D301
    from mmbench import catalog, registry
    from mmbench.spec import read_toml

    if name.endswith(".py"):
        held = registry.include(Path(name))
        is_model = ("fusion", Path(name).stem) in held or Path(name).with_suffix(".toml").exists()
        if not is_model:
            _components(held, as_json)
            return
    is_task = name in catalog.task_names()
    if name.endswith(".toml"):
        is_task = "dataset" in read_toml(Path(name))
    given = [key for key, value in (("--task", task), ("--figures", figures)) if value]
    is_model = not is_task and (name.endswith((".toml", ".py")) or _is_model(name))
    if given and not is_model:
        raise UsageError(f"{given[0]}: is for models, and {name!r} is none")
    if figures is not None and task is None:
        raise UsageError("--figures: the wiring depends on the task: name one, e.g. -t sentiment")
    if save is not None and not is_task:
        raise UsageError(f"--save: draws items of a task, and {name!r} is none")
    if is_task:
        found_task = catalog.task(name)
        saved = _save(found_task, save, data) if save is not None else {}
        if as_json:
            _options.print_json(_builtins(found_task) | saved)
            return
        _task(found_task, name, saved)
        return
    if is_model:
        on = catalog.task(task) if task is not None else None
        model = catalog.model(name, (), on)
        drawn = _draw(model, on, figures) if on is not None and figures is not None else None
        if as_json:
            more = {"figure": str(drawn)} if drawn is not None else {}
            _options.print_json(_builtins(model) | more)
            return
        _model(model, on)
        if drawn is not None:
            click.echo(f"figure      {drawn}")
        click.echo(f"next: mmbench run -t {task or 'TASK'} -m {name}")
        return
    kinds = [kind for kind in registry.KINDS if name in registry.names(kind)]
    if not kinds:
        known = catalog.task_names() + catalog.model_names()
        known += [name for kind in registry.KINDS for name in registry.names(kind)]
        raise UnknownNameError("task, model or component", name, known, "'mmbench list' shows them")
    _components([(kind, name) for kind in kinds], as_json)


def _components(held: list[tuple[str, str]], as_json: bool) -> None:
    """Describe components: (kind, name) pairs."""
    found = [(kind, name, _text(kind, name)) for kind, name in held]
    if as_json:
        _options.print_json([{"kind": k, "name": n, "text": text} for k, n, text in found])
        return
    click.echo("\n\n".join(f"{kind} {name}\n\n{text}" for kind, name, text in found))


def _is_model(name: str) -> bool:
    from mmbench import catalog

    if name in catalog.model_names():
        return True
    tasks = map(catalog.task, catalog.task_names())
    return any(name in catalog.model_names(task) for task in tasks)


def _text(kind: str, name: str) -> str:
    import ast
    import inspect

    from mmbench import registry

    if kind == "metric":
        metric = registry.load(kind, name)
        direction = "higher is better" if metric.higher_is_better else "lower is better"
        doc = inspect.getdoc(metric.stats) or metric.summary
        options = ", ".join(f"{key}={value}" for key, value in metric.options.items())
        return (
            f"{doc}\n\nscores outputs of the kind {metric.kind}; {direction}; bounds "
            f"{metric.bounds}\noptions (defaults): {options or 'none'}\n"
            f"signature: {metric.signature}"
        )
    if registry.digest(kind, name):
        return inspect.getdoc(registry.load(kind, name)) or ""
    tree = ast.parse(registry.source(kind, name).read_text(encoding="utf-8"))
    docs = [ast.get_docstring(tree)]
    docs += [
        ast.get_docstring(node)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    if kind == "dataset":
        docs += _parameters(sys.modules[registry.load(kind, name).__module__])
    return "\n\n".join(doc for doc in docs if doc)


def _parameters(module: Any) -> list[str]:
    """Return what a task may set under ``[dataset.params]``, with what stands inside of it."""
    import inspect

    import msgspec

    told: dict[type[Any], str] = {}
    waiting = [getattr(module, "Params", None)]
    while waiting:
        kind = waiting.pop(0)
        waiting += getattr(kind, "__args__", ())
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in told:
            fields = msgspec.structs.fields(kind)
            values = [f"    {item.encode_name} = {_default(item)}" for item in fields]
            doc = inspect.getdoc(kind) or ""
            told[kind] = "\n".join([f"{kind.__name__}: {doc}", "", *values])
            waiting += [item.type for item in fields]
    return ["[dataset.params]", *told.values()] if told else []


def _default(item: Any) -> str:
    import msgspec

    made = item.default
    if item.default_factory is not msgspec.NODEFAULT:
        made = item.default_factory()
    if made is msgspec.NODEFAULT:
        return "(needed)"
    return f"{type(made).__name__}(...)" if isinstance(made, msgspec.Struct) else repr(made)


def _builtins(spec: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(spec)


def _save(task: TaskSpec, folder: Path, data: Path | None) -> dict[str, Any]:
    """Draw items of a task; return the files."""
    from mmbench.report import contact

    sheet, sounds = contact.save(task, folder, data)
    return {"sheet": str(sheet), "sounds": [str(path) for path in sounds]}


def _task(task: TaskSpec, named: str, saved: dict[str, Any]) -> None:
    click.echo(f"{task.name}@{task.version}: {task.summary}")
    click.echo(f"dataset     {task.dataset.name} {task.dataset.version}, seed {task.dataset.seed}")
    for name, value in task.dataset.params.items():
        click.echo(f"            {name} = {value}")
    for name, modality in task.modalities.items():
        of = ", of the gallery" if modality.role == "gallery" else ""
        click.echo(f"modality    {name}: {modality.kind} {list(modality.shape)}{of}")
    for name, output in task.outputs.items():
        classes = f" ({', '.join(output.classes)})" if output.classes else ""
        also = f", scored with {', '.join(output.metrics)}" if output.metrics else ""
        click.echo(f"output      {name}: {output.kind}{classes}{also}")
    click.echo("splits      " + ", ".join(f"{name} {n:,}" for name, n in task.splits.items()))
    click.echo(
        f"metrics     {task.metrics.main} ranks; also {', '.join(task.metrics.also) or 'none'}"
    )
    for name, budget in task.budgets.items():
        mark = " (default)" if name == task.default_budget else ""
        click.echo(
            f"budget      {name}{mark}: {budget.items:,} training items, {budget.steps:,} steps"
        )
    _levels(task)
    source = task.source
    for key in ("paper", "url", "licence", "cluster"):
        if getattr(source, key):
            click.echo(f"{key:<12}{getattr(source, key)}")
    for row in source.published:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in row.scores.items())
        click.echo(f"published   {row.model}: {scores} ({row.source})")
    if saved:
        click.echo(f"picture     {saved['sheet']}")
        sounds = saved["sounds"]
        if sounds:
            click.echo(f"sounds      {len(sounds)} beside it, the first {sounds[0]}")
    click.echo(f"next: mmbench run -t {named} -m MODEL")


def _levels(task: TaskSpec) -> None:
    """Print what is possible: one table, then the proven bounds, a line a metric."""
    from mmbench import catalog

    if not task.levels:
        lender = catalog.borrowed(task.name)
        if lender is not None:
            click.echo(
                f"\nlevels      none: those in the TOML are of {lender!r}, whose data are others; "
                f"'python -m mmbench.levels {catalog.task_where(task.name)}' writes this task's"
            )
        return
    click.echo("\nwhat is possible (the oracle's scores on the test split):")
    names = list(next(iter(task.levels.values())).alone)
    heads = ["floor", *(f"{name} only" for name in names), "ceiling"]
    late = any(lv.late is not None or lv.late_reference is not None for lv in task.levels.values())
    heads += ["best late"] if late else []
    first = max(len(metric) for metric in (*task.levels, "metric"))
    click.echo(f"  {'metric':<{first}}" + "".join(f"{head:>{len(head) + 2}}" for head in heads))
    for metric, level in task.levels.items():
        values = [level.floor, *(level.alone.get(name) for name in names), level.ceiling]
        if late:
            values.append(level.late if level.late is not None else level.late_reference)
        cells = zip(heads, values, strict=True)
        told = "".join(f"{'' if v is None else f'{v:.3f}':>{len(h) + 2}}" for h, v in cells)
        click.echo(f"  {metric:<{first}}{told}".rstrip())
    proven = {m: dict(level.bound) for m, level in task.levels.items()}
    for metric, level in task.levels.items():
        if level.late is not None:
            proven[metric]["late fusion"] = level.late
    if any(proven.values()):
        click.echo("\nproven bounds (a score beyond one by more than 4 standard errors is a leak):")
    else:
        click.echo("no bound is proven here: a model may pass these references by a little")
    for metric, bounds in proven.items():
        if bounds:
            click.echo(
                f"  {metric:<{first}}  " + ", ".join(f"{k} {v:.3f}" for k, v in bounds.items())
            )


def _width(model: ModelSpec, task: TaskSpec | None) -> str:
    if not model.matched:
        return str(model.width)
    if task is None:
        return f"{model.width}; what a task's number of parameters asks for, where it names one"
    if task.parameters:
        return f"the one with which there are nearest to {task.parameters:,} parameters"
    return str(model.width)


def _model(model: ModelSpec, task: TaskSpec | None) -> None:
    click.echo(f"{model.name}: {model.summary}")
    click.echo(f"family      {model.family}")
    if model.paper:
        click.echo(f"paper       {model.paper}")
    heard = (
        "all of the task's" if model.modalities is None else ", ".join(model.modalities) or "none"
    )
    click.echo(f"modalities  {heard}")
    click.echo(f"width       {_width(model, task)}")
    for part, table in (("encoder", model.encoders), ("head", model.heads)):
        for kind, component in table.items():
            click.echo(f"{part:<12}{kind}: {_component(component)}")
    click.echo(f"fusion      {_component(model.fusion)}")
    click.echo(f"combiner    {_component(model.combiner)}")
    for kind, component in model.combiners.items():
        click.echo(f"{'combiner':<12}{kind}: {_component(component)}")
    recipe = model.recipe
    click.echo(
        f"recipe      batch {recipe.batch_size}, patience {recipe.patience or 'none'}, "
        f"{recipe.decoding.beams} beams"
    )
    for stage in recipe.stages:
        for objective in stage.objectives:
            o = objective.optimizer
            click.echo(
                f"stage       {stage.name}: {objective.name} on {', '.join(objective.parameters)}, "
                f"{stage.share:.0%} of the steps, "
                f"lr {o.lr:g} {o.schedule}, decay {o.weight_decay:g}"
            )
    for key, wanted in model.search.items():
        click.echo(f"{'search':<12}{key}: {_range(wanted)}")
    if model.tuning is not None:
        how = model.tuning
        click.echo(f"tuned       {how.effort}: validation {how.metric} {how.score:.3f}")


def _range(wanted: RangeSpec) -> str:
    """Say what a tuned value is drawn from."""
    if wanted.choices:
        return "one of " + ", ".join(map(str, wanted.choices))
    times = "times " if wanted.scale else ""
    return f"{times}{wanted.low:g} to {wanted.high:g}{' (log)' * wanted.log}"


def _draw(model: ModelSpec, task: TaskSpec, folder: Path) -> Path:
    """Draw the wiring of a model on a task."""
    from mmbench.report.wiring import save
    from mmbench.run import sized
    from mmbench.wiring import trace

    return save(folder, trace(sized(model, task), task))


def _component(component: Any) -> str:
    params = ", ".join(f"{key}={value}" for key, value in component.params.items())
    return f"{component.name}({params})" if params else component.name
