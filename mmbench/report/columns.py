"""The columns of a board: what each is called and how its cells are written, in every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.report.escapes import MOST, plain
from mmbench.scoring import Score
from mmbench.trust import SELF_REPORTED

if TYPE_CHECKING:
    from mmbench.leaderboard import Board, Row

#: Characters of a full headroom bar.
BAR = 20


@dataclass(frozen=True)
class Column:
    """What a board says of each model.

    Attributes:
        name: In CSV.
        header: In tables.
        cell: Writes it for people; empty where nothing is known.
        value: Writes it for machines.
        number: Whether it is set to the right.
        short: Its header in a terminal; empty where that does not show it.
        brief: Writes it for a terminal; None: as `cell`.
        usual: What a terminal needs no column for, where all models have it; None: it always
            shows the column.
    """

    name: str
    header: str
    cell: Callable[[Row], str]
    value: Callable[[Row], object]
    number: bool = True
    short: str = ""
    brief: Callable[[Row], str] | None = None
    usual: str | None = None


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


def bar(share: float | None) -> str:
    """Draw a share of the headroom, cut off at its ends: ``|#####.....|``."""
    if share is None:
        return ""
    full = round(BAR * min(1.0, max(0.0, share)))
    return f"|{'#' * full}{'.' * (BAR - full)}|"


def amount(value: float | None, unit: str, step: float = 1000.0) -> str:
    """Write a large amount with the prefix that fits.

    >>> amount(1.5e9, "FLOP"), amount(901623808, "iB", 1024), amount(None, "B")
    ('1.5 GFLOP', '860 MiB', '')
    """
    if value is None:
        return ""
    prefixes = ["", "k" if step == 1000 else "K", "M", "G", "T", "P", "E"]
    while abs(value) >= step and len(prefixes) > 1:
        value /= step
        prefixes.pop(0)
    few = f"{value:.1f}" if abs(value) < 10 and prefixes[0] else f"{value:.0f}"
    return f"{few} {prefixes[0]}{unit if prefixes[0] else unit.removeprefix('i')}".rstrip()


def _plainly(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


RANK = Column("rank", "rank", rank, rank, short="rank")
MODEL = Column(
    "model", "model", lambda row: plain(row.model, MOST), lambda row: row.model, False, "model"
)
#: What is told of a model beside its scores.
FACTS = (
    Column(
        "headroom",
        "headroom",
        lambda row: _plainly(row.headroom, ".0%").replace("-0%", "0%"),
        lambda row: _plainly(row.headroom, ".6g"),
        short="headroom",
        brief=lambda row: bar(row.headroom),
        usual="",
    ),
    Column(
        "seeds",
        "seeds",
        lambda row: str(row.seeds) if row.seeds else "published",
        lambda row: row.seeds or "",
        short="seeds",
        brief=lambda row: str(row.seeds or ""),
    ),
    Column(
        "tuning_trials",
        "trials",
        lambda row: _plainly(row.trials, ","),
        lambda row: _plainly(row.trials, "d"),
        short="tuned",
        usual="",
    ),
    Column(
        "parameters",
        "parameters",
        lambda row: _plainly(row.parameters, ","),
        lambda row: _plainly(row.parameters, "d"),
        short="params",
    ),
    Column(
        "flops_per_item",
        "FLOPs per item",
        lambda row: amount(row.flops_per_item, ""),
        lambda row: _plainly(row.flops_per_item, ".6g"),
        short="FLOPs",
        usual="",
    ),
    Column(
        "train_seconds",
        "train",
        lambda row: "" if row.train_seconds is None else f"{row.train_seconds:.0f} s",
        lambda row: _plainly(row.train_seconds, ".1f"),
        short="train",
    ),
    Column(
        "peak_host_bytes",
        "host memory",
        lambda row: amount(row.peak_host_bytes, "iB", 1024),
        lambda row: _plainly(row.peak_host_bytes, ".0f"),
    ),
    Column(
        "peak_device_bytes",
        "device memory",
        lambda row: amount(row.peak_device_bytes, "iB", 1024),
        lambda row: _plainly(row.peak_device_bytes, ".0f"),
        short="memory",
        usual="",
    ),
    Column(
        "device", "device", lambda row: plain(row.device, MOST), lambda row: row.device, False
    ),
    Column("trust", "trust", lambda row: row.trust, lambda row: row.trust, False, "trust",
           usual=SELF_REPORTED),
)  # fmt: skip


def whole(board: Board) -> list[Column]:
    """Return all columns of a board."""
    return [RANK, MODEL, _main(board), *(_also(name) for name in board.also), *FACTS]


def brief(board: Board, width: int) -> list[tuple[str, Callable[[Row], str]]]:
    """Return headers and writers of what a terminal of some width shows.

    What all models have alike is no column; of those that are further to the right as many as fit.
    """
    shown = [c for c in (RANK, MODEL, *FACTS) if c.short and _differs(c, board.rows)]
    pairs = {c.name: (c.short, c.brief or c.cell) for c in shown}
    score: list[tuple[str, Callable[[Row], str]]] = [
        (board.metric, lambda row: "-" if row.value is None else number(row.value)),
        ("95% interval", lambda row: span(row.main) if row.main is not None else "published"),
    ]
    # What says least to whoever compares goes first.
    for name in ("peak_device_bytes", "flops_per_item"):
        if _width([*pairs.values(), *score], board.rows) > width:
            pairs.pop(name, None)
    first = [pairs.pop("rank"), pairs.pop("model")]
    return [*first, *score, *pairs.values()]


def _differs(column: Column, rows: Sequence[Row]) -> bool:
    if column.usual is None:
        return True
    return any(column.cell(row) not in ("", column.usual) for row in rows)


def _width(columns: Sequence[tuple[str, Callable[[Row], str]]], rows: Sequence[Row]) -> int:
    return sum(2 + max([len(h), *(len(write(row)) for row in rows)]) for h, write in columns) - 2


def _main(board: Board) -> Column:
    def cell(row: Row) -> str:
        value = "" if row.value is None else number(row.value)
        return f"{value} {span(row.main) if row.main is not None else ''}".strip()

    return Column("value", plain(board.metric, MOST), cell, lambda row: row.value)


def _also(name: str) -> Column:
    def cell(row: Row) -> str:
        got = row.also.get(name)  # a missing one stays empty
        if got is None:
            return ""
        return number(got.value if isinstance(got, Score) else got)

    return Column(name, plain(name, MOST), cell, cell)
