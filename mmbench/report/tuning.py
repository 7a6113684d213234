"""What tuning found, and what fewer trials would have found: a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbench.report import canvas, colours
from mmbench.report.columns import number

if TYPE_CHECKING:
    from mmbench.tune import Study

#: The file of a task's figure.
FIGURE = "tuning.png"


def table(studies: Sequence[Study]) -> str:
    """Lay out one line per model: best trial and the expected best of fewer trials."""
    counts = _counts(max(len(study.trials) for study in studies))
    header = ["model", "trials", "failed", f"best {studies[0].metric}"]
    header += [f"E[best of {n}]" for n in counts]
    rows = [header]
    for study in studies:
        best = study.best
        curve = study.expected_best
        told = number(best.score) if best is not None and best.score is not None else ""
        cells = [study.model, str(len(study.trials)), str(study.failed), told]
        rows.append([*cells, *(number(curve[n - 1]) if n <= len(curve) else "" for n in counts)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(header))]
    first = studies[0]
    lines = [f"{first.task} | validation | {first.metric} | {first.budget}"]
    lines += ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    return "\n".join(lines)


def _counts(trials: int) -> list[int]:
    """Return 1, 4, 16, ... and the last."""
    found = [4**k for k in range(8) if 4**k < trials]
    return [*found, trials]


def save(folder: Path, studies: Sequence[Study]) -> Path:
    """Draw a task's studies; return the figure's path.

    Raises:
        StoreError: The folder cannot be written.
    """
    return canvas.save(folder, FIGURE, canvas.png(lambda: figure(studies)))


def figure(studies: Sequence[Study]) -> Any:
    """Draw the best score to expect against the number of trials, a line per model.

    Where trials depend on one another there is no such expectation, and the line is the best so
    far. On the right, each trial is a point.
    """
    from matplotlib.figure import Figure

    first = studies[0]
    drawn = Figure(figsize=(9.6, 4.6), dpi=canvas.DPI, facecolor="white", layout="constrained")
    drawn.suptitle(
        f"{first.task}, budget {first.budget}: what tuning finds", fontsize=12, weight="bold",
        family=canvas.FONT,
    )  # fmt: skip
    left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, study in enumerate(studies):
        colour = f"C{place % 10}"
        curve = study.expected_best or _so_far(study)
        left.plot(range(1, len(curve) + 1), curve, "-o", ms=3, color=colour, label=study.model)
        done = [t.score for t in study.trials if t.score is not None]
        right.plot([place] * len(done), done, "o", ms=4, alpha=0.6, color=colour)
        right.annotate(
            f"{study.failed} failed" if study.failed else "", (place, 0.0),
            xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
            ha="center", fontsize=7, color=colours.WRONG,
        )  # fmt: skip
    if first.floor is not None:
        for axes in (left, right):
            axes.axhline(first.floor, color=colours.INK, lw=1, ls=(0, (5, 3)))
        left.annotate(
            f"floor {first.floor:.3f}", (1.0, first.floor), xycoords=("axes fraction", "data"),
            xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=8, color=colours.FAINT,
        )  # fmt: skip
    random = all(study.expected_best for study in studies)
    left.set_xlabel("trials")
    left.set_ylabel(f"{'expected best' if random else 'best so far:'} validation {first.metric}")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.legend(fontsize=8, frameon=False)
    right.set_xticks(range(len(studies)), [s.model for s in studies], rotation=30, ha="right")
    right.set_xlim(-0.6, len(studies) - 0.4)
    right.tick_params(axis="x", labelsize=8)
    right.set_title("each trial", fontsize=9, family=canvas.FONT)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=colours.TRACK, linewidth=0.8)
        axes.set_axisbelow(True)
    return drawn


def _so_far(study: Study) -> list[float]:
    pick = max if study.higher_is_better else min
    return [pick(study.scores[: k + 1]) for k in range(len(study.scores))]
