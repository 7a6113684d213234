"""``mmbench report --out DIR``: records as a static site that opens from disk and asks nobody.

A page for all boards, and one for each task, model and run. The same records give the same bytes.
`contents` says what there is, `builders` what stands on each page, `pages` writes them; `figures`
and `media` draw, `place` puts the folder where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mmbench
from mmbench.report.site import builders, contents, place, rows
from mmbench.report.site.contents import Contents, Table, model_page, task_page
from mmbench.report.site.items import Source
from mmbench.report.site.media import Media
from mmbench.report.site.pages import Pages
from mmbench.store import Stored

#: Items on a page, unless asked otherwise.
ITEMS = 8

#: Is told how many pages are done, how many there will be, and which comes next.
Watch = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Made:
    """What was written.

    Attributes:
        pages: How many pages.
        size: Bytes of all files.
        first: Bytes of the first page.
        problems: What was left out, a line each.
        licences: Task -> licence of the items of the user's own data that it shows.
    """

    pages: int
    size: int
    first: int
    problems: tuple[str, ...]
    licences: Mapping[str, str]


def build(
    records: Iterable[Stored],
    problems: Iterable[str],
    results: Path,
    out: Path,
    data: Path | None = None,
    items: int = ITEMS,
    watch: Watch | None = None,
) -> Made:
    """Write a site.

    Args:
        records: As `mmbench.store.scan` returns them.
        problems: What it could not read; the site says so too.
        results: Their folder.
        out: Where the site goes.
        data: Folder of the user's data.
        items: Items on the page of a run or a task; 0: none.
        watch: Is told how far it is.

    Raises:
        UsageError: `out` holds something else.
        StoreError: `out` cannot be written.
    """
    place.check(out)
    found = contents.gather(records, problems, results)
    with place.writing(out) as top:
        pages = Pages(top)
        pages.assets()
        source = Source(data, Media(top), items)
        told = _write(pages, found, source, results, watch or _unwatched)
        first = (top / "index.html").stat().st_size
        size = sum(path.stat().st_size for path in top.rglob("*") if path.is_file())
    return Made(pages.count, size, first, told, source.licences)


def _unwatched(done: int, total: int, what: str) -> None:
    """See nothing."""


def _write(
    pages: Pages, found: Contents, source: Source, results: Path, watch: Watch
) -> tuple[str, ...]:
    """Write all pages: runs, then tasks, which show what runs said, then what lists both."""
    tables = (*found.tables, *found.others)
    keys = _keys(tables)
    of_tasks = builders.by_name(found.runs, "task")
    of_models = builders.by_name(found.runs, "model")
    told = list(found.problems)
    done, total = 0, len(found.runs) + len(of_tasks) + len(of_models) + 4

    def put(page: str, template: str, content: dict[str, object]) -> None:
        nonlocal done
        pages.write(page, template, content | {"version": mmbench.__version__})
        done += 1
        watch(done, total, page)

    siblings: dict[tuple[str, ...], list[contents.Run]] = {}
    for run in found.runs:
        siblings.setdefault(_kin(run), []).append(run)
    for run in found.runs:
        others = [other for other in siblings[_kin(run)] if other is not run]
        put(run.page, "run.html", builders.run(run, others, source.of_run(run)))
    boards: dict[str, list[Table]] = {}
    for table in tables:
        boards.setdefault(table.name, []).append(table)
    for name, runs in of_tasks.items():
        own = boards.get(name, [])
        models = list(dict.fromkeys(run.record.model for t in own for m in t.members for run in m))
        fingerprint = runs[-1].record.data.get("fingerprint", "")
        gallery = source.of_task(runs[-1].task, fingerprint, models) if source.count else None
        page = builders.task(name, runs, own, keys, gallery, told)
        put(task_page(name), "task.html", page)
    places = _places(tables, keys)
    for name, runs in of_models.items():
        page = builders.model(name, runs, places.get(name, []))
        put(model_page(name), "model.html", page)
    told = list(dict.fromkeys(told))
    # Where the folder lies is nobody's business but the keeper's.
    shown = [line.replace(f"{results}/", "") for line in told]
    put("tasks.html", "tasks.html", builders.tasks(found))
    put("models.html", "models.html", builders.models(found))
    put("runs.html", "runs.html", {"runs": found.runs, "problems": shown})
    put("index.html", "index.html", builders.index(found, keys, shown))
    return tuple(told)


def _kin(run: contents.Run) -> tuple[str, ...]:
    r = run.record
    return (r.task, r.task_digest, r.budget, r.model, r.model_digest)


def _keys(tables: Iterable[Table]) -> dict[int, str]:
    """Return what tells each board apart on its task's page, by the board's own identity."""
    counts: dict[str, int] = {}
    keys = {}
    for table in tables:
        counts[table.name] = counts.get(table.name, 0) + 1
        keys[id(table)] = f"board-{counts[table.name]}"
    return keys


def _places(
    tables: Iterable[Table], keys: dict[int, str]
) -> dict[str, list[tuple[rows.Sheet, rows.Line, int]]]:
    """Return model -> the boards that it is on, its row there, and how many are ranked."""
    found: dict[str, list[tuple[rows.Sheet, rows.Line, int]]] = {}
    for table in tables:
        sheet = rows.sheet(table, keys[id(table)])
        ranked = sum(1 for line in sheet.lines if not line.external)
        for line, runs in zip(sheet.lines, table.members, strict=True):
            for name in dict.fromkeys(run.record.model for run in runs):
                found.setdefault(name, []).append((sheet, line, ranked))
    return found
