"""Fusion strategies, one file each: streams -> branches. No file imports another."""
