"""How good trained models are: parts of the benchmarks that train and score."""

__all__: list[str] = []
