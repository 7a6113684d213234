"""Spells a drafted task as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from mmbench.data._contract import Request
from mmbench.data.manifest import items as _items
from mmbench.data.manifest.params import Params
from mmbench.data.manifest.table import Table
from mmbench.draft._column import Column
from mmbench.errors import DataError, UsageError


def spelled(table: Table, columns: list[Column], params: dict[str, Any], name: str) -> str:
    """Return the TOML of a task.

    Args:
        table: The manifest, whose rows are counted as its dataset will sort them.
        columns: What they were taken for.
        params: ``[dataset.params]``.
        name: The task's.

    Raises:
        DataError: Splits cannot be drawn so.
        UsageError: They can, and leave a split fewer than two items.
    """
    taken: set[str] = set()
    modalities = {_name(c.name, taken): c for c in columns if c.role == "modality"}
    outputs = {_name(c.name, taken): c for c in columns if c.role == "output"}
    sizes = _sizes(table, params)
    main = next(iter(outputs))
    metric, also = _metrics(outputs[main])
    val = sizes["val"]
    summary = f"{main} from {', '.join(modalities)}"
    lines = [
        f"# The task of {json.dumps(table.file.name)}, as its columns look: change what is wrong.",
        "#",
        f"#   mmbench data check ./{name}.toml",
        f"#   mmbench run -t ./{name}.toml -m late,concat,logistic,majority --budget smoke",
        "",
        "schema = 1",
        f"name = {_value(name)}",
        "version = 1  # raise it when the data change: tables show name@version",
        f"summary = {_value(summary)}",
        "",
        "[dataset]",
        'name = "manifest"',
        "version = 1",
        "seed = 0  # draws splits, where no column names them",
        "",
        "[dataset.params]",
        *(f"{key} = {_value(value)}" for key, value in params.items()),
        "",
        "# Where each modality stands, and what may be done to it: nothing else is.",
        "[dataset.params.modalities]",
        *(f"{key} = {_value(_keys(key, c))}" for key, c in modalities.items()),
        "",
        "[dataset.params.targets]",
        *(f"{key} = {_value(_keys(key, c))}" for key, c in outputs.items()),
        "",
        "[modalities]  # the shape of one item; of what has a length of its own, the longest",
    ]
    for key, c in modalities.items():
        lines.append(f"{key} = {_value({'kind': c.kind, 'shape': list(c.shape)})}")
    lines += ["", "[outputs]"]
    for key, c in outputs.items():
        told: dict[str, Any] = {"kind": c.kind}
        if c.classes:
            told["classes"] = list(c.classes)
        if len(outputs) > 1 and key == main:
            told["main"] = True
        if key != main:
            told["metrics"] = [_metrics(c)[0], *_metrics(c)[1]]
        lines.append(f"{key} = {_value(told)}")
    lines += ["", "[splits]  # checked against what is loaded"]
    lines += [f"{key} = {sizes[key]}" for key in ("train", "val", "test")]
    lines += ["", "[metrics]", f"main = {_value(metric)}", f"also = {_value(list(also))}", ""]
    lines.append("[budgets]")
    train = sizes["train"]
    for budget, items, steps, times in (
        ("smoke", min(train, 256), 16, 1),
        ("small", train, 300, 6),
        ("full", train, 2000, 20),
    ):
        limits = {"items": items, "steps": steps, "validations": times, "validation_items": val}
        lines.append(f"{budget} = {_value(limits)}")
    lines += ["", "[source]", 'licence = ""  # of the data: boards and sites show it', ""]
    return "\n".join(lines)


def _keys(name: str, column: Column) -> dict[str, Any]:
    keys = dict(column.keys)
    if "column" not in keys and column.name != name:
        keys["column"] = column.name
    return keys


def _name(column: str, taken: set[str]) -> str:
    """Return a name that a modality or an output can have, and none has yet."""
    plain = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_") or "column"
    found = next(n for k in count(1) if (n := plain if k == 1 else f"{plain}_{k}") not in taken)
    taken.add(found)
    return found


def _sizes(table: Table, params: dict[str, Any]) -> dict[str, int]:
    """Count the items of each split, as the dataset itself will sort them."""
    given = {k: v for k, v in params.items() if k not in ("groups", "cluster")}
    splits = {"train": 2, "val": 2, "test": 2}
    request = Request("draft", 1, 0, given, splits, None)
    arranged = _items.arrange(table, request, _as_params(given))
    sizes = {name: len(rows) for name, rows in arranged.splits.items()}
    few = [name for name, count in sizes.items() if count < 2]
    if few:
        raise UsageError(
            f"{table.file}: {len(table)} rows leave {sizes[few[0]]} for the split {few[0]}: a task "
            f"needs two items and more in each"
        )
    return sizes


def _as_params(given: Mapping[str, Any]) -> Params:
    import msgspec

    try:
        return msgspec.convert(given, Params)
    except msgspec.ValidationError as error:
        raise DataError(str(error)) from None


def _metrics(column: Column) -> tuple[str, tuple[str, ...]]:
    if column.kind == "label":
        return "accuracy", ("macro_f1", "balanced_accuracy", "nll")
    if column.kind == "multilabel":
        return "multilabel_macro_f1", ("multilabel_micro_f1",)
    if column.kind == "scalar":
        return "mae", ("rmse", "pearson")
    if "transcript" in column.name.lower():
        return "wer", ("cer",)
    if "caption" in column.name.lower():
        return "cider_d", ("bleu4", "rouge_l")
    if "translation" in column.name.lower():
        return "sacrebleu", ("chrf",)
    return "rouge_l", ("bleu4", "chrf")


def _value(value: Any) -> str:
    """Spell a value as TOML; tables on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    # What JSON escapes, TOML reads; but for what lies beyond 16 bits, which stays as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
