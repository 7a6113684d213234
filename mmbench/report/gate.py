"""What a gate says: for a terminal, for a pull request, for CI (JUnit), for machines (JSON)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from mmbench.report.columns import number
from mmbench.report.escapes import markdown as escape
from mmbench.report.escapes import plain
from mmbench.report.evaluation import aligned
from mmbench.sealed import finite

if TYPE_CHECKING:
    from mmbench.gate.history import Watched
    from mmbench.gate.verdicts import Outcome, Verdict

#: The version of what `to_dict` returns; raised whenever a key changes its meaning.
SCHEMA = 1
_SIGNS = {"passed": "✅", "regressed": "❌", "inconclusive": "❔", "missing": "⚠️"}
#: Characters of a reason or of a name in a table.
_LONG = 300


def text(outcome: Outcome, watched: Sequence[Watched] = ()) -> str:
    """Lay a verdict out for a terminal: a line each, reasons below."""
    rows = [_row(v) for v in outcome.verdicts]
    lines = aligned([["", "what", "tier", "change", "credible", "margin"], *rows])
    for v in outcome.verdicts:
        if v.status != "passed":
            lines.append(f"{v.status} {_what(v)}: {_flat(v.reason)}")
            if v.worst:
                lines.append(f"  worst: {' '.join(_flat(w, 60) for w in v.worst)}")
    lines += dict.fromkeys(v.scope for v in outcome.verdicts if v.scope)
    lines += [_flat(b.told) for b in outcome.bits]
    lines += [_watched(one) for one in watched]
    lines += [f"note: {_flat(note)}" for note in outcome.notes]
    lines.append(summary(outcome, watched))
    return "\n".join(lines)


def summary(outcome: Outcome, watched: Sequence[Watched] = ()) -> str:
    """Say in one line what became of it."""
    parts = []
    for status in ("regressed", "missing", "inconclusive"):
        for tier in ("critical", "supporting", "advisory"):
            if count := len(outcome.of(status, tier)):
                parts.append(f"{count} {tier} {status}")
    if count := len(outcome.of("passed")):
        parts.append(f"{count} passed")
    alarms = sum(bool(one.alarm) for one in watched)
    parts += [f"{alarms} alarm{'s' * (alarms != 1)} in the history (experimental)"] * bool(alarms)
    return ", ".join(parts) or "nothing was asked"


def markdown(outcome: Outcome, watched: Sequence[Watched] = ()) -> str:
    """Lay a verdict out as Markdown, for a pull request."""
    head = "passed" if outcome.exit_code == 0 else "not passed"
    lines = [f"### mmbench gate: {head}", "", f"{escape(summary(outcome, watched))}.", ""]
    header = ["", "what", "tier", "reference", "candidate", "change", "credible", "margin", "why"]
    lines += [_cells(header), "|" + "---|" * len(header)]
    for v in outcome.verdicts:
        cells = _row(v)
        what = escape(cells[1])
        values = ["" if x != x else number(x) for x in (v.reference, v.candidate)]
        why = escape(_flat(v.reason))
        lines.append(
            _cells([f"{_SIGNS[v.status]} {v.status}", what, v.tier, *values, *cells[3:], why])
        )
    worst = [v for v in outcome.verdicts if v.worst]
    if worst:
        lines += ["", "<details><summary>Items that lost most</summary>", ""]
        lines += [
            f"- {escape(_what(v))}: {', '.join(escape(_flat(w, 60)) for w in v.worst)}"
            for v in worst
        ]
        lines += ["", "</details>"]
    told = [*dict.fromkeys(v.scope for v in outcome.verdicts if v.scope)]
    told += [b.told for b in outcome.bits] + [_watched(one) for one in watched]
    told += list(outcome.notes)
    lines += ["", *(f"- {escape(_flat(line))}" for line in told)]
    return "\n".join(lines).rstrip() + "\n"


def junit(outcome: Outcome) -> str:
    """Return JUnit XML, a test case each: a regression is a failure, what is missing an error.

    What is undecided is a failure if the gate fails for it, and else skipped.
    """
    suite = ElementTree.Element("testsuite", name="mmbench gate", tests=str(len(outcome.verdicts)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for v in outcome.verdicts:
        case = ElementTree.SubElement(
            suite, "testcase", classname=_xml(f"{v.task}.{v.model}"),
            name=_xml(f"{v.metric} on {v.split} against {v.against} ({v.tier})"),
        )  # fmt: skip
        kind = _kind(v, outcome)
        if kind:
            counts[kind] += 1
            told = ElementTree.SubElement(
                case, kind, message=_xml(f"{v.status}: {_flat(v.reason)}")
            )
            told.text = _xml(
                " ".join(_row(v)) + (f" worst: {' '.join(v.worst)}" if v.worst else "")
            )
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(_flat(v.reason))
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        + ElementTree.tostring(root, encoding="unicode")
        + "\n"
    )


def _kind(v: Verdict, outcome: Outcome) -> str:
    if v.status == "passed":
        return ""
    if v.status == "regressed":
        return "failure" if v.tier != "advisory" else "skipped"
    if v.status == "missing":
        return "error" if v.tier == "critical" else "skipped"
    fails = v.tier == "critical" and outcome.on_inconclusive == "fail"
    return "failure" if fails else "skipped"


def to_dict(outcome: Outcome, watched: Sequence[Watched] = ()) -> dict[str, Any]:
    """Return everything, for machines; a number that is none is null."""
    return {
        "schema": SCHEMA,
        "passed": outcome.exit_code == 0,
        "exit_code": outcome.exit_code,
        "summary": summary(outcome, watched),
        **finite(asdict(outcome)),
        "history": finite([asdict(one) for one in watched]),
    }


def _what(v: Verdict) -> str:
    where = "/".join(_flat(part, 80) for part in (v.task, v.model) if part)
    if v.candidate_model not in ("", v.model):
        where = f"{where} -> {_flat(v.candidate_model, 80)}"
    split = "" if v.split == "test" else f" on {v.split}"
    against = "" if v.against == "reference" else f" against the {v.against}"
    return _flat(f"{where} {v.metric}{split}{against}")


def _row(v: Verdict) -> list[str]:
    told = [v.status.upper(), _what(v), v.tier]
    if v.change != v.change:
        return [*told, "", "", ""]
    span = "" if v.low != v.low else f"[{_signed(v.low)}, {_signed(v.high)}]"
    margin = f"{number(v.margin)} ({v.share})" if v.share else number(v.margin)
    return [*told, _signed(v.change), span, margin]


def _signed(value: float) -> str:
    told = f"{value:+.3f}"
    return "0.000" if told in ("+0.000", "-0.000") else told


def _watched(one: Watched) -> str:
    where = "/".join(part for part in (one.task, one.model) if part)
    what = f"{where} {one.metric} over {len(one.commits)} commits against the {one.against}"
    left = f"; left out: {'; '.join(one.left_out)}" if one.left_out else ""
    if one.alarm:
        return _flat(f"history (experimental): alarm at {one.alarm}: {what}{left}")
    top = max(one.evidence)
    return _flat(
        f"history (experimental): no alarm: {what}; evidence {top:.1f} of {one.threshold:.1f}{left}"
    )


def _flat(said: str, most: int = _LONG) -> str:
    """Return a text in one line of a bounded length, without control characters."""
    return plain(said, most)


def _xml(said: str) -> str:
    """Return a text without what XML cannot hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", said)


def _cells(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"
