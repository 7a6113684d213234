"""Heads, one file each: a branch -> a prediction."""
