"""Combiners, one file each: the predictions of several branches -> one."""
