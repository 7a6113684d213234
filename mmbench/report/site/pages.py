"""Templates become files: everything is escaped, and no page asks for anything but its own site."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mmbench.report.site.names import clean, short

#: The only style sheet and the only script.
ASSETS = ("site.css", "site.js")
#: What a page may do. Nothing but the site's own files, and no script or style inside of pages.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


class Pages:
    """Writes the pages of a site.

    Attributes:
        top: The site's folder.
        count: Pages written.
    """

    def __init__(self, top: Path) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.top = top
        self.count = 0
        self._environment = Environment(
            loader=PackageLoader("mmbench.report.site"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_fit,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters["short"] = short
        self._environment.globals["policy"] = POLICY

    def assets(self) -> None:
        """Write the style sheet and the script."""
        source = resources.files("mmbench.report.site") / "assets"
        for name in ASSETS:
            (self.top / name).write_bytes((source / name).read_bytes())

    def write(self, page: str, template: str, content: Mapping[str, Any]) -> None:
        """Fill a template.

        Args:
            page: The page, from the site's top.
            template: Its template.
            content: What stands in it.
        """
        path = self.top / page
        root = "../" * page.count("/")
        text = self._environment.get_template(template).render(root=root, here=page, **content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        self.count += 1


def _fit(value: Any) -> Any:
    """Return what a page can hold; what is mark-up already stays as it is."""
    from markupsafe import Markup

    if value is None:
        return ""
    return value if isinstance(value, Markup) else clean(str(value))


def markup(text: str) -> Any:
    """Mark what `mmbench.report.site.svg` made as mark-up."""
    from markupsafe import Markup

    return Markup(text)
