"""Formats of files, one file each: ``read(path) -> Table``."""
