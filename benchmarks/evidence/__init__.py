"""How figures are timed, saved, shown, fitted and held against what was asked."""

__all__: list[str] = []
