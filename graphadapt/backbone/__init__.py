"""Message-passing networks that turn molecules into graph embeddings."""

__all__: list[str] = []
