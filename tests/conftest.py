"""What all tests may stand on: an mmbench that no test leaves changed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmbench import catalog, registry


@pytest.fixture
def own_components(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test include files of its own; afterwards nobody knows them any more."""
    monkeypatch.setattr(registry, "_included", {})
    monkeypatch.setattr(registry, "_included_files", {})
    monkeypatch.setattr(catalog, "_included", [])
    catalog._shelf.cache_clear()
    yield
    catalog._shelf.cache_clear()
