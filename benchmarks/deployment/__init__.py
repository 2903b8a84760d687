"""How fast and how right bundles answer: parts of the export and serving benchmarks."""

__all__: list[str] = []
