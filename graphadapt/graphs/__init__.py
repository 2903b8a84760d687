"""Batches of molecular graphs and the kernels that pass messages over them."""

__all__: list[str] = []
