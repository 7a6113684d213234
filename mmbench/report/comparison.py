"""Comparisons as text, Markdown, LaTeX and JSON. The same comparison gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mmbench.report.columns import number
from mmbench.report.escapes import markdown as escape
from mmbench.report.escapes import tex
from mmbench.report.evaluation import aligned
from mmbench.sealed import finite

if TYPE_CHECKING:
    from mmbench.compare import Comparison, Difference, Flip

#: The version of what `to_dict` returns; raised whenever a key changes its meaning.
SCHEMA = 1
#: Characters of a text beside a flip.
_SHOWN = 100

_HEADER = ["metric", "first", "second", "difference", "95% interval", "Holm p", "effect"]


def text(found: Sequence[Comparison]) -> str:
    """Lay comparisons out for a terminal."""
    return "\n\n".join("\n".join(_text(one)) for one in found)


def markdown(found: Sequence[Comparison]) -> str:
    """Lay comparisons out as Markdown tables."""
    return "\n\n".join("\n".join(_markdown(one)) for one in found) + "\n"


def latex(found: Sequence[Comparison]) -> str:
    """Lay comparisons out as one table for booktabs, and one for each column of groups."""
    several = len(found) > 1
    lines = [
        f"% {_comment(_plain_title(one))}; {one.scope}; p-values: Holm-corrected, paired over items"
        for one in found
    ]
    names = (found[0].first, found[0].second)
    rows = [
        [tex(one.task.partition("@")[0])] * several + _cells_of(d)
        for one in found
        for d in one.differences
    ]
    lines += _tabular(["Task"] * several, names, rows)
    for one in found:
        for column, groups in one.by.items():
            task = f"{one.task.partition('@')[0]}, " if several else ""
            lines += ["", f"% {_comment(f'{task}by {column}')}"]
            rows = [
                [tex(group), f"{own[0].first.n:,}", *_cells_of(d)]
                for group, own in groups.items()
                for d in own
            ]
            lines += _tabular([tex(column.capitalize()), "$n$"], names, rows)
    return "\n".join(lines) + "\n"


def _tabular(
    before: Sequence[str], names: tuple[str, str], rows: Sequence[Sequence[str]]
) -> list[str]:
    """Lay out one table; `before` heads the columns before the metric."""
    columns = "".join("r" if name == "$n$" else "l" for name in before)
    head = [*before, "Metric", *map(tex, names), r"$\Delta$", r"95\,\% CI", "$p$"]
    lines = [rf"\begin{{tabular}}{{{columns}lrrrrr}}", r"\toprule"]
    lines += [" & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _cells_of(d: Difference) -> list[str]:
    return [
        tex(d.metric) + ("" if d.higher_is_better else r" $\downarrow$"),
        number(d.first.value),
        number(d.second.value),
        f"${_signed(d.value)}$",
        "" if d.reason else f"$[{_signed(d.low)}, {_signed(d.high)}]$",
        "" if d.reason else f"${_p(d.adjusted)}$",
    ]


def _comment(text: str) -> str:
    """Write a text as a comment of LaTeX, which ends where its line does."""
    return " ".join(text.split())


def to_dict(found: Sequence[Comparison]) -> dict[str, Any]:
    """Return everything, for machines; a number that is none is null."""
    plain = finite([_content(one) for one in found])
    return {"schema": SCHEMA, "comparisons": plain}


def _content(one: Comparison) -> dict[str, Any]:
    content = asdict(replace(one, answers=None))  # the data of a task are not for copying
    del content["answers"]
    return content


def verdict(one: Comparison) -> str:
    """Say in one sentence what became of the main metric."""
    d = one.differences[0]
    if d.reason:
        return f"nothing can be told: {d.reason}"
    if d.verdict == "no difference found" and d.detectable != d.detectable:
        return f"no difference on {d.metric}: no seed and no item tells the two apart"
    if d.verdict == "no difference found":
        return (
            f"no difference found on {d.metric}: these seeds and items would find one of "
            f"{number(d.detectable)} in four of five cases"
        )
    return f"{one.first} is {d.verdict} than {one.second} on {d.metric}"


def _plain_title(one: Comparison) -> str:
    parts = [one.task, one.split, one.budget]
    return " | ".join(part for part in parts if part)


def _text(one: Comparison) -> list[str]:
    lines = [f"{one.first} - {one.second} | {_plain_title(one)}"]
    lines += aligned(_table(one.differences, one))
    lines += _notes(one)
    for column, groups in one.by.items():
        lines += ["", f"by {column}:"]
        table: list[list[str]] = []
        for group, own in groups.items():
            rows = _table(own, one)
            table = table or [["group", "n", *rows[0]]]
            table += [[group, f"{own[0].first.n:,}" if own else "", *row] for row in rows[1:]]
        lines += aligned(table) if table else []
    lines += _flips(one)
    return lines


def _table(differences: Sequence[Difference], one: Comparison) -> list[list[str]]:
    header = [*_HEADER, "could detect", ""]
    header[1:3] = [one.first, one.second]
    return [header, *(_row(d) for d in differences)]


def _row(d: Difference) -> list[str]:
    name = d.metric if d.higher_is_better else f"{d.metric} (lower is better)"
    cells = [name, number(d.first.value), number(d.second.value), _signed(d.value)]
    if d.reason:
        return [*cells, "", "", "", "", d.reason]
    told = d.verdict == "no difference found" and d.detectable == d.detectable
    beside = number(d.detectable) if told else ""
    effect = "" if d.effect != d.effect else f"{d.effect:+.2f}"
    interval = f"[{_signed(d.low)}, {_signed(d.high)}]"
    return [*cells, interval, _p(d.adjusted), effect, beside, d.verdict]


def _notes(one: Comparison) -> list[str]:
    return [
        f"{one.scope}; paired over items; each interval by itself, p with Holm over the main "
        f"metrics, and over the others",
        f"verdict: {verdict(one)}" + (f" ({one.tuning})" if one.tuning else ""),
    ]


def _flips(one: Comparison) -> list[str]:
    if not one.flips:
        return []
    lines = ["", f"items that changed most ({one.main}, {one.first} - {one.second}):"]
    for flip in one.flips:
        lines.append(f"  {_signed(flip.change)}  {flip.id}")
        for name, said in ((one.first, flip.first), (one.second, flip.second)):
            if said:
                lines.append(f"      {name}: {_short(said)}")
        lines += [f"      {name}: {_short(words)}" for name, words in flip.texts.items() if words]
        if flip.right:
            lines.append(f"      right: {_short(' / '.join(flip.right))}")
    return lines


def _markdown(one: Comparison) -> list[str]:
    lines = [f"### {escape(f'{one.first} - {one.second}')}: {escape(_plain_title(one))}", ""]
    rows = [[escape(cell) for cell in row] for row in _table(one.differences, one)]
    lines += [_cells(rows[0]), "|" + "---|" * len(rows[0]), *map(_cells, rows[1:])]
    lines += ["", *(f"{escape(note)}." for note in _notes(one))]
    for column, groups in one.by.items():
        lines += ["", f"By {escape(column)}:", ""]
        head = ["group", "n", *rows[0]]
        lines += [_cells(head), "|" + "---|" * len(head)]
        for group, own in groups.items():
            for row in _table(own, one)[1:]:
                count = f"{own[0].first.n:,}"
                lines.append(_cells([escape(group), count, *map(escape, row)]))
    if one.flips:
        lines += ["", "Items that changed most:", ""]
        if one.sheet:
            lines += [
                f"![{escape(f'Items that changed most: {verdict(one)}')}]({_url(one.sheet)})",
                "",
            ]
        lines += [_markdown_flip(one, flip) for flip in one.flips]
    return lines


def _markdown_flip(one: Comparison, flip: Flip) -> str:
    told = [(one.first, flip.first), (one.second, flip.second), *flip.texts.items()]
    told.append(("right", " / ".join(flip.right)))
    parts = [f"{escape(name)}: {escape(_short(said))}" for name, said in told if said]
    told_of = f": {'; '.join(parts)}" if parts else ""
    return f"- {_signed(flip.change)} {escape(flip.id)}{told_of}"


def _url(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"


def _signed(value: float) -> str:
    """Write a difference with its sign; one that rounds to nothing has none.

    >>> _signed(0.0123), _signed(-0.0001)
    ('+0.012', '0.000')
    """
    told = f"{value:+.3f}"
    return "0.000" if told in ("+0.000", "-0.000") else told


def _p(value: float) -> str:
    """Write a p-value.

    >>> _p(0.0123), _p(0.00001)
    ('0.012', '<0.001')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _short(said: str) -> str:
    flat = " ".join(said.split())
    return flat if len(flat) <= _SHOWN else f"{flat[: _SHOWN - 1]}…"
