"""What the commands that train share: settings by name, exit codes, memory that runs out."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from graphadapt.errors import ConfigError

__all__ = ["INTERRUPTED", "memory_in_one_line", "parse_settings"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``["trainer.epochs=3", "features.blocks=['counts']"]`` to names and values.

    A value that is not TOML is taken as text.

    Raises:
        ConfigError: for a pair without an equals sign.

    Example:
        >>> parse_settings(["trainer.epochs=3", "data.store=my-store"])
        {'trainer.epochs': 3, 'data.store': 'my-store'}
    """
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"setting {pair!r} has no value; write it as section.name=value")
        try:
            settings[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            settings[name.strip()] = text
    return settings


@contextmanager
def memory_in_one_line(settings: str) -> Iterator[None]:
    """Turn torch's failed allocation, a plain RuntimeError on a CPU, into advice.

    Args:
        settings: names of those to lower.
    """
    try:
        yield
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise ConfigError(
            f"out of memory ({str(error).splitlines()[0]}); lower {settings}, and go on with "
            "--resume where training had begun"
        ) from error
