"""The site in Debian's Chromium: what needs a script, what needs none, and what must never run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import add, change, found, let_in

from mmbench.cli import run_cli

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = (
    "<script>window.broken=1</script>",
    '"><img src=x onerror="window.broken=1">',
    "javascript:window.broken=1",
    "../../outside",
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: .ci/run does")


class Browser:
    """A fresh Chromium, and all that its pages asked for and complained about."""

    def __init__(self, playwright: Any, profile: Path, **options: Any) -> None:
        self.context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=ARGUMENTS, **options
        )
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: Path) -> Any:
        self.page.goto(path.resolve().as_uri())
        return self.page

    def check(self, site: Path) -> None:
        """Nothing but the site's files was asked for, and nothing went wrong."""
        home = site.resolve().as_uri()
        assert self.requests
        assert [url for url in self.requests if not url.startswith(home)] == []
        assert self.complaints == []


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Browser]]:
    playwright = pytest.importorskip("playwright.sync_api")
    opened: list[Browser] = []
    with playwright.sync_playwright() as driver:

        def start(**options: Any) -> Browser:
            opened.append(Browser(driver, tmp_path_factory.mktemp("profile"), **options))
            return opened[-1]

        yield start
        for each in opened:
            each.context.close()


@pytest.fixture(scope="module")
def site(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of real runs, and of some whose names would do harm; tests only read it."""
    folder = tmp_path_factory.mktemp("browsed")
    shutil.copytree(made, folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        let_in(patch)
        rows = np.random.default_rng(0).uniform(size=24)
        for number, name in enumerate(HOSTILE):
            add(f"m{number}", rows, identity=f"{number}b" + "1" * 62)
            change(found(f"m{number}"), model=name, summary=name, family=name)
        assert run_cli(["report", "--out", "site", "--items", "2", "-q"]) == 0
    return folder / "site"


def until(page: Any, holds: str) -> None:
    """Wait for something to hold; playwright's own way is what the pages' policy forbids."""
    for _ in range(200):
        if page.evaluate(holds):
            return
        page.wait_for_timeout(25)
    raise AssertionError(holds)


def order(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "section.card table tbody tr:not([hidden]) > th", "all => all.map(th => th.textContent)"
    )
    return found


def cells(page: Any, column: int) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f"section.card table tbody tr > :nth-child({column})", "all => all.map(c => c.textContent)"
    )
    return found


def test_boards_are_sorted_by_click_and_by_keyboard(
    site: Path, browser: Callable[..., Browser]
) -> None:
    chromium = browser()
    page = chromium.open(site / "index.html")
    heading = page.locator("th", has_text="rouge_l").first
    button = heading.get_by_role("button")
    before = order(page)
    button.click()
    assert heading.get_attribute("aria-sort") == "descending"
    values = [float(text) for text in cells(page, 3)]
    assert values == sorted(values, reverse=True)
    page.keyboard.press("Enter")  # the button has the focus
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in cells(page, 3)] == sorted(values)
    assert page.locator("th[aria-sort]").count() == 1
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("th", has_text="95 % interval").get_attribute("aria-sort") == "descending"
    model = page.locator("th", has_text="model").first
    model.get_by_role("button").click()
    by_letters = "names => names.sort((a, b) => a.toLowerCase().localeCompare(b.toLowerCase()))"
    assert order(page) == page.evaluate(by_letters, before)
    assert page.locator("#said").text_content() == "sorted by model, ascending"
    chromium.check(site)


def test_boards_are_filtered(site: Path, browser: Callable[..., Browser]) -> None:
    chromium = browser()
    page = chromium.open(site / "index.html")
    total = len(order(page))
    assert page.locator("#count").text_content() == f"{total} of {total} rows"
    page.get_by_label("any words").fill("image_only")
    assert order(page) == ["image_only"]
    assert page.locator("#count").text_content() == f"1 of {total} rows"
    page.get_by_role("button", name="Show all").click()
    until(page, f"document.getElementById('count').textContent === '{total} of {total} rows'")
    page.get_by_label("model", exact=True).select_option("concat")
    assert order(page) == ["concat"]
    page.get_by_label("task", exact=True).select_option("mini")
    page.get_by_label("budget", exact=True).select_option("brief")
    assert order(page) == ["concat"]
    page.get_by_label("any words").fill("no such thing")
    assert order(page) == []
    assert page.locator("section[data-task]:visible").count() == 0
    chromium.check(site)


def test_every_page_opens_and_every_link_leads_somewhere(
    site: Path, browser: Callable[..., Browser]
) -> None:
    chromium = browser()
    todo, seen = [(site / "index.html").resolve().as_uri()], set[str]()
    while todo:
        address = todo.pop()
        if address in seen:
            continue
        seen.add(address)
        chromium.page.goto(address)
        title = chromium.page.title()
        assert title.endswith("mmbench"), address
        assert chromium.page.evaluate("window.broken") is None, address
        links = chromium.page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        todo += [link.partition("#")[0] for link in links]
    pages = {path.resolve().as_uri() for path in site.rglob("*.html")}
    assert seen == pages
    chromium.check(site)


def test_hostile_names_are_words(site: Path, browser: Callable[..., Browser]) -> None:
    chromium = browser()
    page = chromium.open(site / "models.html")
    for name in HOSTILE:
        assert page.get_by_role("link", name=name, exact=True).count() == 1
    assert page.locator("img").count() == 0
    page.get_by_role("link", name=HOSTILE[0], exact=True).click()
    assert page.get_by_role("heading", level=1).text_content() == HOSTILE[0]
    assert page.evaluate("window.broken") is None
    chromium.check(site)


def test_no_page_is_wider_than_a_phone(site: Path, browser: Callable[..., Browser]) -> None:
    chromium = browser(viewport={"width": 390, "height": 844}, has_touch=True)
    kinds = ["index.html", "tasks.html", "models.html", "runs.html", "tasks/mini.html"]
    kinds += [str(next((site / kind).glob(name)).relative_to(site)) for kind, name in (
        ("models", "late.html"), ("models", "img-*.html"), ("runs", "mini-late-*.html"),
    )]  # fmt: skip
    for name in kinds:
        page = chromium.open(site / name)
        page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
    chromium.check(site)


def luminance(page: Any) -> float:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.strip("rgb()").split(",")) / 3


def test_it_is_dark_where_dark_is_wanted(site: Path, browser: Callable[..., Browser]) -> None:
    chromium = browser(color_scheme="dark")
    page = chromium.open(site / "tasks" / "mini.html")
    assert luminance(page) < 60
    text = page.locator("svg.figure text").first
    assert text.evaluate("e => getComputedStyle(e).fill") != "rgb(0, 0, 0)"
    page.get_by_role("button", name="Light colours").click()
    assert luminance(page) > 200
    page.goto((site / "index.html").resolve().as_uri())  # kept from page to page
    assert luminance(page) > 200
    page.get_by_role("button", name="Dark colours").click()
    assert luminance(page) < 60
    chromium.check(site)


def test_without_scripts_everything_but_sorting_is_there(
    site: Path, browser: Callable[..., Browser]
) -> None:
    chromium = browser(java_script_enabled=False)
    page = chromium.open(site / "index.html")
    assert page.get_by_role("link", name="late", exact=True).first.is_visible()
    assert page.locator("form.filters").is_hidden()
    assert page.locator("button:visible").count() == 0
    page.get_by_role("link", name="late", exact=True).first.click()
    assert page.get_by_role("heading", level=1).text_content() == "late"
    chromium.check(site)


def test_the_keyboard_gets_past_the_navigation(site: Path, browser: Callable[..., Browser]) -> None:
    chromium = browser()
    page = chromium.open(site / "index.html")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    assert skip.evaluate("e => e === document.activeElement && e.getBoundingClientRect().left >= 0")
    outline = skip.evaluate("e => getComputedStyle(e).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    chromium.check(site)


def test_pictures_load_sounds_play_and_commands_are_copied(
    site: Path, browser: Callable[..., Browser]
) -> None:
    chromium = browser(permissions=["clipboard-read", "clipboard-write"])
    page = chromium.open(next((site / "runs").glob("mini-late-brief-s0-*.html")))
    page.eval_on_selector_all("img", "all => all.forEach(i => i.loading = 'eager')")
    until(page, "[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.locator("img").count() == 6
    page.eval_on_selector_all("audio", "all => all.forEach(a => { a.preload = 'metadata'; })")
    until(page, "[...document.querySelectorAll('audio')].every(a => a.duration > 1)")
    button = page.get_by_role("button", name="Copy")
    button.click()
    until(page, "document.querySelector('.copy').textContent === 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("mmbench run -t ")
    assert copied == page.locator(".command code").text_content()
    chromium.check(site)
