"""SMILES to arrays, with NumPy and RDKit only."""

__all__: list[str] = []
