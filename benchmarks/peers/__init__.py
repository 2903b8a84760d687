"""Other libraries training the network that graphadapt trains, each in its own idiom."""

__all__: list[str] = []
