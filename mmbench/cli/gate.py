"""``mmbench gate``: pass or fail for CI. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mmbench.cli import _options
from mmbench.cli._options import option
from mmbench.errors import NotComparableError, UsageError

if TYPE_CHECKING:
    from mmbench.gate.history import Watched
    from mmbench.gate.verdicts import Outcome

FILE = click.Path(path_type=Path)


@click.command("gate")
@option("--reference", required=True, help="Results folder, record, model, or predictions.")
@option("--candidate", default=None, help="The same of what is new; of --history the last one.")
@option("--policy", type=FILE, default=None, help="TOML of margins and tiers; see below.")
@option("-t", "--task", "tasks", multiple=True, help="Only these tasks; of files: theirs.")
@option("-m", "--model", "models", multiple=True, help="Only these models of the reference.")
@option("--metric", "--metrics", "metrics", multiple=True, help="Without a policy: these.")
@option("--margin", default=None, help="Without a policy: 0.02, or 2% of the reference.")
@option("--split", default="test", show_default=True, help="Without a policy: which test split.")
@option("--references", type=FILE, default=None, help="What is right, for files without a task.")
@option("--column", "roles", multiple=True, help="Of files: ROLE=NAME, see 'mmbench score'.")
@option("--cluster", default=None, help="Of files: column of the unit that items share.")
@option(
    "--on-inconclusive",
    type=click.Choice(["fail", "warn", "pass"]),
    default="fail",
    show_default=True,
    help="What a critical verdict does that cannot be reached: exit 3, a warning, nothing.",
)
@option("--history", type=FILE, default=None, help="Folder of what each commit scored.")
@option("--update", is_flag=True, help="Make the candidate the reference, whatever the verdict.")
@option("--message", default="", help="Why; written down beside the reference.")
@option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "junit", "json"]),
    default="text",
    show_default=True,
)
@option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write there too.")
@option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML there.")
@option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write Markdown there.")
@option("--json-out", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON there.")
@_options.allow_missing
@_options.data
@_options.results
@_options.as_json
@_options.common
def command(
    reference: str,
    candidate: str | None,
    policy: Path | None,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    metrics: tuple[str, ...],
    margin: str | None,
    split: str,
    references: Path | None,
    roles: tuple[str, ...],
    cluster: str | None,
    on_inconclusive: str,
    history: Path | None,
    update: bool,
    message: str,
    form: str,
    out: Path | None,
    junit: Path | None,
    markdown: Path | None,
    json_out: Path | None,
    allow_missing: bool,
    data: Path | None,
    results: Path,
    as_json: bool,
) -> int:
    """Hold a candidate against a frozen reference: not worse by more than a margin?

    \b
    mmbench gate --reference results/reference --candidate results --policy gates.toml
    mmbench gate --reference captioning/early --candidate captioning/hybrid
    mmbench gate --reference ref.jsonl --candidate new.jsonl -t captioning --margin 0.02
    mmbench gate --reference R --candidate C --update --message "the new encoder"

    \b
    A policy:
        alpha = 0.05              # one-sided
        seeds = [3, 5, 8]         # looks that are planned; none: one look
        [[gates]]
        task = "captioning"       # model =, split =
        metric = "emitter_f1"
        margin = 0.02             # or "2%" of the reference's score
        tier = "critical"         # or supporting, advisory

    Exit codes: 0 passed; 1 regressed (critical or supporting); 3 a critical one inconclusive; 4 a
    critical one missing, or not comparable.
    """  # noqa: D301
    from mmbench.gate import policy as policies
    from mmbench.gate import promotion, sides
    from mmbench.gate.flow import hold
    from mmbench.gate.history import entries

    named = [_options.metric_name(name) for name in _options.split_names(metrics)]
    if policy is not None and margin is not None:
        raise UsageError("--margin: the policy has margins of its own: give one of both")
    of_files = sides.is_file(reference)
    if policy is not None and named:
        raise UsageError("--metric: the policy says which metrics: give one of both")
    asked = policies.read(policy) if policy else policies.asked(named, margin, split)
    for given, name in (
        (references, "--references"),
        (roles, "--column"),
        (cluster, "--cluster"),
        (allow_missing, "--allow-missing"),
    ):
        if given and not of_files:
            raise UsageError(f"{name}: goes with files of predictions only")
    how = sides.Files(
        tasks=_options.split_names(tasks),
        models=_options.split_names(models),
        metrics=list(dict.fromkeys(gate.metric for gate in asked.gates if gate.metric)),
        own=any(not gate.metric for gate in asked.gates),
        split=split,
        references=references,
        columns=_options.roles(roles),
        clusters=cluster,
        data=data,
        allow_missing=allow_missing,
    )
    if message and not update:
        raise UsageError("--message: goes with --update")
    commits = entries(history) if history is not None else []
    if update:
        promotion.check(Path(reference), candidate or str([*commits, ""][-1]), message)
    held = hold(reference, candidate, asked, how, results, commits, on_inconclusive)
    for problem in dict.fromkeys(held.problems):
        click.echo(f"warning: {problem}", err=True)
    form = "json" if as_json else form
    files = ((form, out), ("junit", junit), ("markdown", markdown), ("json", json_out))
    code = _tell(held.outcome, held.watched, form, [(kind, path) for kind, path in files if path])
    if update:
        if not of_files and not any(pair.candidates for pair in held.pairs):
            raise NotComparableError(
                f"--update: nothing of {held.candidate} can take the place of anything in "
                f"{reference}"
            )
        made = promotion.promote(Path(reference), held.candidate, held.pairs, held.outcome, message)
        click.echo(f"promoted: {len(made.promoted)} in place of {len(made.replaced)}: {message}")
        return 0
    return code


def _tell(
    outcome: Outcome,
    watched: Sequence[Watched],
    form: str,
    files: Sequence[tuple[str, Path]],
) -> int:
    """Print and write; return the exit code."""
    import json

    from mmbench.report import gate as report

    writers = {
        "text": lambda: report.text(outcome, watched),
        "markdown": lambda: report.markdown(outcome, watched),
        "junit": lambda: report.junit(outcome),
        "json": lambda: json.dumps(report.to_dict(outcome, watched), indent=1),
    }
    content = writers[form]()
    for name, path in files:
        told = writers[name]()
        _options.write_text(path, told if told.endswith("\n") else f"{told}\n")
    click.echo(content.rstrip("\n"))
    _on_github(outcome, report.markdown(outcome, watched))
    if outcome.exit_code:
        click.echo(f"error: {report.summary(outcome, watched)}", err=True)
    elif outcome.on_inconclusive == "warn" and outcome.of("inconclusive", "critical"):
        click.echo(f"warning: {report.summary(outcome, watched)}", err=True)
    return outcome.exit_code


def _on_github(outcome: Outcome, summary: str) -> None:
    """Add the verdict to the page of a GitHub workflow, where there is one."""
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page:
        with Path(page).open("a", encoding="utf-8") as file:
            file.write(f"{summary}\n")
