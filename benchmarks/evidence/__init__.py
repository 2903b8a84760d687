"""How figures are timed, saved, shown and held against what was asked; for every benchmark."""

__all__: list[str] = []
