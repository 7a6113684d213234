"""Objectives, one file each: a batch -> a loss."""
