"""Columns on disk, readers, splits, and which molecules make a batch."""

__all__: list[str] = []
