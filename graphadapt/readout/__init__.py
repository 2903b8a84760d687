"""From embeddings to one answer a task."""

__all__: list[str] = []
