"""``python -m graphadapt``, which is also what ``torchrun -m`` starts."""

from graphadapt.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main(prog_name="graphadapt")
