"""Figures of matplotlib as parts of a page: small, the same every time, and told in words too.

A page allows no inline style, so what matplotlib writes as style becomes attributes, and the
style sheet turns the few colours of `mmbench.report.colours` into those of a dark page.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as Xml

from mmbench.report import canvas
from mmbench.report.site.names import clean

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_URL = re.compile(r"url\(#(.+?)\)")


def drawn(make: Callable[[], Any], key: str, title: str, told: str) -> str:
    """Draw a figure and return it as an ``<svg>`` that stands in a page.

    Args:
        make: Makes the matplotlib figure.
        key: Tells the figures of one page apart; letters, digits and ``-``.
        title: What it shows, in a few words.
        told: What can be seen in it, for those who do not see it.
    """
    with warnings.catch_warnings():
        # Where names are so many or so long that a layout fails, the figure is there without it.
        warnings.simplefilter("ignore")
        text = canvas.svg(make, key)
    # Signs that no XML may hold can come from a name that a figure shows.
    return _inline(Xml.fromstring(clean(text)), key, title, told)


def _inline(root: Xml.Element, key: str, title: str, told: str) -> str:
    for child in list(root):
        style = child.find(f"{_SVG}style") is not None
        if child.tag == f"{_SVG}metadata" or (child.tag == f"{_SVG}defs" and style):
            root.remove(child)
    used = _references(root)
    for element in root.iter():
        _plain(element, used, key)
    box = root.get("viewBox", "0 0 600 400")
    root.attrib.clear()
    root.attrib.update({"class": "figure", "viewBox": box, "role": "img"})
    root.set("aria-labelledby", f"{key}-title {key}-told")
    for place, (name, text) in enumerate((("title", title), ("desc", told))):
        element = Xml.Element(f"{_SVG}{name}", {"id": f"{key}-{'told' if place else 'title'}"})
        element.text = clean(text)
        root.insert(place, element)
    Xml.register_namespace("", _SVG[1:-1])
    return Xml.tostring(root, encoding="unicode")


def _references(root: Xml.Element) -> set[str]:
    """Return the ids that other elements name."""
    used = set()
    for element in root.iter():
        used.add(element.get(_LINK, "").removeprefix("#"))
        for value in element.attrib.values():
            used.update(_URL.findall(value))
    return used


def _plain(element: Xml.Element, used: set[str], key: str) -> None:
    """Turn style into attributes, shorten numbers, and keep ids apart from other figures'."""
    if element.get("id") in used:
        element.set("id", f"{key}-{element.get('id')}")
    else:
        element.attrib.pop("id", None)
    for declaration in element.attrib.pop("style", "").split("; "):
        name, _, value = declaration.partition(": ")
        # The font of all texts is the style sheet's.
        if value and name != "font-family":
            element.set(name, value)
    if link := element.attrib.pop(_LINK, ""):
        element.set("href", f"#{key}-{link.removeprefix('#')}")
    for name, value in element.attrib.items():
        value = _URL.sub(rf"url(#{key}-\1)", value)
        if name in ("d", "x", "y", "points"):
            value = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", " ".join(value.split()))
        element.set(name, value)
    for part in ("text", "tail"):
        if not (getattr(element, part) or "").strip():
            setattr(element, part, None)
