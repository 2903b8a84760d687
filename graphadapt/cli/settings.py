"""How commands read settings by name, and the exit code after Ctrl-C."""

import tomllib
from collections.abc import Sequence
from typing import Any

from graphadapt.errors import ConfigError

__all__ = ["INTERRUPTED", "parse_settings"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``["trainer.epochs=3", "features.blocks=['counts']"]`` to names and values.

    A value that is not TOML is taken as text, unless it begins like a list or table.

    Raises:
        ConfigError: for a pair without an equals sign, or a list that is not TOML.

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
            if text.lstrip().startswith(("[", "{")):
                raise ConfigError(
                    f"{text} is no TOML value for {name.strip()}; texts in it stand in quotes, and "
                    f'the whole in others for the shell: --set \'{name.strip()}=["a", "b"]\''
                ) from None
            settings[name.strip()] = text
    return settings
