"""Where records lie in a results folder: ``TASK/MODEL/RUN/record.json``."""

from __future__ import annotations

import os
from pathlib import Path

from mmbench.admission import line

#: The file that makes a folder one of a record.
RECORD = "record.json"


def record_folders(results: Path) -> tuple[list[Path], list[str]]:
    """Return the folders that hold, or should hold, a record, and what could not be looked into.

    They are sorted by name; hidden ones are none. Links are followed three folders down, so one
    that leads in a circle does no harm.
    """
    places, problems = [str(results)], list[str]()
    for _ in range(3):
        places = [inside for place in places for inside in _folders_in(place, problems)]
    # Not `exists`, which is silent about a link that leads nowhere.
    found = [place for place in places if os.path.lexists(f"{place}{os.sep}{RECORD}")]
    return [Path(place) for place in found], problems


def _folders_in(place: str, problems: list[str]) -> list[str]:
    found = []
    try:
        with os.scandir(place) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                try:
                    if entry.name[0] != "." and entry.is_dir():
                        found.append(entry.path)
                except OSError as error:
                    problems.append(f"{line(entry.path)}: cannot be read: {error.strerror}")
    except FileNotFoundError:
        pass
    except OSError as error:
        problems.append(f"{line(place)}: cannot be read: {error.strerror}")
    return found


def results_around(folder: Path) -> Path:
    """Return the results folder that a folder is, or whose task or model it holds the records of.

    The folder itself where there are no records either way.
    """
    whole = folder.resolve()
    for root in (whole, *whole.parents[:2]):
        found, _ = record_folders(root)
        if any(whole in place.parents for place in found):
            return folder if root == whole else root
    return folder
