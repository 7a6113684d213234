"""Encoders, one file each: a modality's arrays -> a `Stream` of tokens."""
