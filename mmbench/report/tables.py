"""Boards as text, Markdown and CSV. The same board gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmbench.scoring import Score

if TYPE_CHECKING:
    from mmbench.leaderboard import Board, Row

#: Characters of a full headroom bar.
BAR = 20


def text(boards: Sequence[Board]) -> str:
    """Lay boards out for a terminal."""
    return "\n\n".join(_text(board) for board in boards)


def markdown(boards: Sequence[Board]) -> str:
    """Lay boards out as Markdown tables."""
    return "\n\n".join(_markdown(board) for board in boards) + "\n"


def overview(boards: Sequence[Board]) -> str:
    """Lay boards out as one Markdown table: a row per model, a column per board.

    Models stand in the order of their mean headroom over the boards (of their mean score, where a
    board has no floor and ceiling), those that miss a board behind. What the oracles reach stands
    above and below.
    """
    there = [row for board in boards for row in board.rows if row.value is not None]
    names = list(dict.fromkeys(row.model for row in there))
    cells = {name: [_of(board, name) for board in boards] for name in names}

    def order(name: str) -> tuple[int, float]:
        told = [row for row in cells[name] if row is not None]
        share = [(row.value or 0.0) if row.headroom is None else row.headroom for row in told]
        return (len(boards) - len(told), -sum(share) / len(share))

    many = len({board.metric for board in boards}) > 1 or len({b.split for b in boards}) > 1
    heads = [
        f"{b.task.partition('@')[0]}{f', {b.metric} on {b.split}' if many else ''}" for b in boards
    ]
    lines = ["| | " + " | ".join(map(escape, heads)) + " |", "|---" * (len(boards) + 1) + "|"]
    lines.append(_marks("all modalities (oracle)", [b.ceiling for b in boards]))
    for name in sorted(names, key=order):
        told = [_overview_cell(row) for row in cells[name]]
        lines.append(f"| {escape(name)} | " + " | ".join(told) + " |")
    best = [_best_alone(board) for board in boards]
    lines.append(_marks("best single modality (oracle)", best))
    lines.append(_marks("floor", [b.floor for b in boards]))
    shown = [line for line in lines if line]
    first = boards[0]
    about = f"{first.metric} on {first.split}, budget {first.budget}; " if not many else ""
    notes = [f"{about}{first.scope}."] if first.scope else []
    notes += dict.fromkeys(board.tuning for board in boards if board.tuning)
    notes += [f"not ranked: {line}" for board in boards for line in board.listed]
    return "\n".join([*shown, "", *map(escape, notes)]).rstrip() + "\n"


def _of(board: Board, name: str) -> Row | None:
    return next((row for row in board.rows if row.model == name and row.value is not None), None)


def _overview_cell(row: Row | None) -> str:
    if row is None or row.value is None:
        return ""
    interval = f" {span(row.main)}" if row.main is not None and not row.main.reason else ""
    return f"{number(row.value)}{interval}"


def _best_alone(board: Board) -> float | None:
    if not board.alone:
        return None
    return max(board.alone.values()) if board.higher_is_better else min(board.alone.values())


def _marks(name: str, values: Sequence[float | None]) -> str:
    """Write what an oracle reaches on each board; nothing where it is known of none."""
    if all(value is None for value in values):
        return ""
    told = ["" if value is None else f"*{number(value)}*" for value in values]
    return f"| *{name}* | " + " | ".join(told) + " |"


def comma_separated(boards: Sequence[Board]) -> str:
    """Lay boards out as one CSV table, a row per model and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["task", "budget", "split", "model", "rank_low", "rank_high", "metric", "value", "low",
         "high", "se", "seeds", "items", "headroom", "parameters", "train_seconds", "device",
         "signature", "source"]
    )  # fmt: skip
    for board in boards:
        for row in board.rows:
            scores: dict[str, Score | float | None] = {
                board.metric: row.main or row.value,
                **row.also,
            }
            for name, got in scores.items():
                if got is None:
                    continue
                writer.writerow(_csv_row(board, row, name, got))
    return out.getvalue()


def bar(share: float | None) -> str:
    """Draw a share of the headroom, cut off at its ends: ``|#####.....|``."""
    if share is None:
        return ""
    full = round(BAR * min(1.0, max(0.0, share)))
    return f"|{'#' * full}{'.' * (BAR - full)}|"


def number(value: float) -> str:
    """Write a score with three decimals.

    >>> number(0.12345)
    '0.123'
    """
    return f"{value:.3f}"


def span(got: Score) -> str:
    """Write an interval: ``[0.1, 0.2]``; nothing where there is none."""
    return "" if got.reason else f"[{number(got.low)}, {number(got.high)}]"


def rank(row: Row) -> str:
    """Write a range of places: ``1-2``; ``-`` for a published row."""
    if row.rank is None:
        return "-"
    first, last = row.rank
    return str(first) if first == last else f"{first}-{last}"


def _csv_row(board: Board, row: Row, name: str, got: Score | float) -> list[object]:
    places: list[object] = list(row.rank) if row.rank is not None else ["", ""]
    main = name == board.metric
    tail = [
        f"{row.headroom:.6g}" if main and row.headroom is not None else "",
        row.parameters if row.parameters is not None else "",
        f"{row.train_seconds:.1f}" if row.train_seconds is not None else "",
        row.device,
    ]
    head: list[object] = [board.task, board.budget, board.split, row.model, *places, name]
    if isinstance(got, Score):
        numbers: list[object] = [f"{got.value:.6g}"]
        interval = (got.low, got.high, got.se)
        numbers += ["" if got.reason else f"{x:.6g}" for x in interval]
        return [*head, *numbers, got.seeds, got.n, *tail, got.signature, row.external]
    return [*head, f"{got:.6g}", "", "", "", "", "", *tail, "", row.external]


def _footer(board: Board) -> str:
    """Say what intervals and ranks are about."""
    ranks = "; ranks: all pairs tested, Holm-corrected at 5 %"
    return board.scope + ranks * any(row.main and not row.main.reason for row in board.rows)


def _title(board: Board) -> str:
    return " | ".join([board.task, board.split, board.metric, board.budget])


def _levels(board: Board) -> str:
    if board.floor is None or board.ceiling is None:
        return ""
    return f"floor {number(board.floor)}, ceiling {number(board.ceiling)} (oracles)"


def _text(board: Board) -> str:
    lines = [_title(board)]
    if _levels(board):
        lines.append(_levels(board))
    header = ["rank", "model", board.metric, "95% interval", "headroom", "seeds", "params", "train"]
    rows = []
    for row in board.rows:
        rows.append(
            [
                rank(row),
                row.model,
                "-" if row.value is None else number(row.value),
                span(row.main) if row.main is not None else "published",
                bar(row.headroom),
                str(row.seeds or ""),
                f"{row.parameters:,}" if row.parameters is not None else "",
                f"{row.train_seconds:.0f} s" if row.train_seconds is not None else "",
            ]
        )
    keep = [k for k in range(len(header)) if k != 4 or any(r[4] for r in rows)]
    table = [[r[k] for k in keep] for r in [header, *rows]]
    widths = [max(len(r[k]) for r in table) for k in range(len(keep))]
    lines += ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in table]
    lines += [f"- {_published(board, row)}" for row in board.rows if row.external]
    lines += [f"- {line}" for line in _without(board)]
    if board.scope:
        lines.append(_footer(board))
    if board.tuning:
        lines.append(board.tuning)
    lines += [f"not ranked: {line}" for line in board.listed]
    return "\n".join(lines)


def _without(board: Board) -> list[str]:
    """Say which models have no interval where others have one."""
    told = [(row.model, row.main.reason) for row in board.rows if row.main is not None]
    if all(reason for _, reason in told):
        return list(dict.fromkeys(f"no interval: {why}" for _, why in told if len(told) > 1))
    return [f"{model}: no interval: {reason}" for model, reason in told if reason]


def _published(board: Board, row: Row) -> str:
    """Say where a published row is from, what it reaches, and what sets it apart."""
    scores = {board.metric: row.value, **row.also}
    told = ", ".join(f"{name} {value:g}" for name, value in scores.items() if _plain(value))
    return "; ".join(part for part in (f"{row.model}: {told}", row.external, row.note) if part)


def _plain(value: Score | float | None) -> bool:
    return isinstance(value, float)


def _markdown(board: Board) -> str:
    names = [board.metric, *board.also]
    header = ["rank", "model", *names, "headroom", "seeds", "parameters", "train s", "device"]
    lines = [f"### {_title(board)}", ""]
    if _levels(board):
        lines += [_levels(board), ""]
    lines.append("| " + " | ".join(header) + " |")
    lines.append("|" + "---|" * len(header))
    for row in board.rows:
        value = "" if row.value is None else f"**{number(row.value)}**"
        first = f"{value} {span(row.main) if row.main is not None else ''}".strip()
        cells = [rank(row), escape(row.model), first]
        cells += [_cell(row.also.get(name)) for name in board.also]
        cells += [
            f"{row.headroom:.0%}" if row.headroom is not None else "",
            str(row.seeds) if row.seeds else "published",
            f"{row.parameters:,}" if row.parameters is not None else "",
            f"{row.train_seconds:.0f}" if row.train_seconds is not None else "",
            escape(row.device),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [f"\n{escape(line)}" for line in _without(board)]
    if board.scope:
        lines += ["", f"{_footer(board)}."]
    if board.tuning:
        lines += ["", f"{escape(board.tuning)}."]
    lines += [f"\n{escape(_published(board, row))}" for row in board.rows if row.external]
    if board.listed:
        lines += ["", "Not ranked:", *(f"- {escape(line)}" for line in board.listed)]
    return "\n".join(lines)


def _cell(got: Score | float | None) -> str:
    """Write one further metric; a missing one stays empty."""
    if got is None:
        return ""
    return number(got.value if isinstance(got, Score) else got)


def escape(text: str) -> str:
    """Escape what Markdown would read otherwise, in one line."""
    for sign in ("\\", "|", "<", "`", "*", "[", "]"):
        text = text.replace(sign, "&lt;" if sign == "<" else f"\\{sign}")
    return " ".join(text.split())
