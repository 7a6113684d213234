"""The columns of a board: what each is called and how its cells are written, in every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from mmbench.errors import UnknownNameError
from mmbench.report.escapes import MOST, plain
from mmbench.scoring import Score
from mmbench.trust import SELF_REPORTED

if TYPE_CHECKING:
    from mmbench.leaderboard import Board, Row

#: Characters of a full headroom bar.
BAR = 20
#: What a cell says that was asked for where no record tells.
UNKNOWN = "unknown"


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
        group: What it can be asked for by, beside its name; columns of a group come together.
    """

    name: str
    header: str
    cell: Callable[[Row], str]
    value: Callable[[Row], object]
    number: bool = True
    short: str = ""
    brief: Callable[[Row], str] | None = None
    usual: str | None = None
    group: str = ""


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


def brevity(value: float | None) -> str:
    """Write a short time: in milliseconds below a second, so that a column has one unit.

    >>> brevity(0.00035), brevity(0.04567), brevity(2.5), brevity(None)
    ('0.35 ms', '45.7 ms', '2.50 s', '')
    """
    if value is None:
        return ""
    return f"{1000 * value:.3g} ms" if value < 0.9995 else f"{value:,.2f} s"


def pace(value: float | None) -> str:
    """Write items a second.

    >>> pace(3310.8), pace(4.26), pace(None)
    ('3,311 items/s', '4.3 items/s', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f} items/s" if value >= 10 else f"{value:.1f} items/s"


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
        group="trials",
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
        group="flops",
    ),
    Column(
        "train_seconds",
        "train",
        lambda row: "" if row.train_seconds is None else f"{row.train_seconds:.0f} s",
        lambda row: _plainly(row.train_seconds, ".1f"),
        short="train",
        group="train",
    ),
    Column(
        "peak_host_bytes",
        "host memory",
        lambda row: amount(row.peak_host_bytes, "iB", 1024),
        lambda row: _plainly(row.peak_host_bytes, ".0f"),
        group="memory",
    ),
    Column(
        "peak_device_bytes",
        "device memory",
        lambda row: amount(row.peak_device_bytes, "iB", 1024),
        lambda row: _plainly(row.peak_device_bytes, ".0f"),
        short="memory",
        usual="",
        group="memory",
    ),
    Column(
        "device", "device", lambda row: plain(row.device, MOST), lambda row: row.device, False
    ),
    Column("trust", "trust", lambda row: row.trust, lambda row: row.trust, False, "trust",
           usual=SELF_REPORTED),
)  # fmt: skip


#: What is measured of single runs, and shown where it is asked for. All but these are on any board.
MEASURED = (
    Column(
        "latency_p50_seconds",
        "latency p50",
        lambda row: brevity(row.latency_p50_seconds),
        lambda row: _plainly(row.latency_p50_seconds, ".6g"),
        group="latency",
    ),
    Column(
        "latency_p95_seconds",
        "latency p95",
        lambda row: brevity(row.latency_p95_seconds),
        lambda row: _plainly(row.latency_p95_seconds, ".6g"),
        group="latency",
    ),
    Column(
        "items_per_second",
        "throughput",
        lambda row: pace(row.items_per_second),
        lambda row: _plainly(row.items_per_second, ".6g"),
        group="throughput",
    ),
    Column(
        "energy_joules",
        "energy",
        lambda row: amount(row.energy_joules, "J"),
        lambda row: _plainly(row.energy_joules, ".6g"),
        group="energy",
    ),
)
#: What nobody may know of a model, although it has one.
_COSTS = ("parameters", "flops_per_item", "train_seconds", "peak_host_bytes")


def choose(names: Sequence[str]) -> list[Column]:
    """Return the columns that are asked for, in that order.

    Args:
        names: Of columns or of groups of them; ``all``: every one there is.

    Raises:
        UnknownNameError: There is no such column.
    """
    there = [*FACTS, *MEASURED]
    known = {name for column in there for name in (column.name, column.group) if name}
    found: dict[str, Column] = {}
    for name in names:
        own = [c for c in there if name in ("all", c.name, c.group)]
        if not own:
            raise UnknownNameError("column", name, [*known, "all"])
        found |= {column.name: column for column in own}
    return list(found.values())


def known(column: Column, row: Row) -> str:
    """Write a cell for people; where no record tells what a model cost, that this is unknown."""
    told = column.cell(row)
    asked = column in MEASURED or column.name in _COSTS
    return UNKNOWN if not told and asked and not row.external else told


def whole(board: Board, chosen: Sequence[Column] = ()) -> list[Column]:
    """Return the columns of a board: all that are on any, or the chosen ones beside the scores."""
    shown = [replace(c, cell=partial(known, c)) for c in chosen if _says(c, board.rows)]
    return [RANK, MODEL, _main(board), *(_also(name) for name in board.also), *(shown or FACTS)]


def brief(
    board: Board, width: int, chosen: Sequence[Column] = ()
) -> list[tuple[str, Callable[[Row], str]]]:
    """Return headers and writers of what a terminal of some width shows.

    What all models have alike is no column; of those that are further to the right as many as fit.
    What is chosen is shown, whatever its width, unless there is none of it: on a CPU no device
    memory.
    """
    score: list[tuple[str, Callable[[Row], str]]] = [
        (board.metric, lambda row: "-" if row.value is None else number(row.value)),
        ("95% interval", lambda row: span(row.main) if row.main is not None else "published"),
    ]
    if chosen:
        there = [c for c in chosen if _says(c, board.rows)]
        own = [(c.header, c.brief or partial(known, c)) for c in there]
        return [(RANK.short, RANK.cell), (MODEL.short, MODEL.cell), *score, *own]
    shown = [c for c in (RANK, MODEL, *FACTS) if c.short and _differs(c, board.rows)]
    pairs = {c.name: (c.short, c.brief or c.cell) for c in shown}
    # What says least to whoever compares goes first.
    for name in ("peak_device_bytes", "flops_per_item"):
        if _width([*pairs.values(), *score], board.rows) > width:
            pairs.pop(name, None)
    first = [pairs.pop("rank"), pairs.pop("model")]
    return [*first, *score, *pairs.values()]


def _says(column: Column, rows: Sequence[Row]) -> bool:
    return any(known(column, row) for row in rows)


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
