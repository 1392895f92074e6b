"""A launcher from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from j2v_dagster.launchers.base import Launcher
from j2v_dagster.launchers.torchrun import TorchrunLauncher


def build_launcher(config: Launcher | str | Mapping[str, Any] | None) -> Launcher:
    """A launcher from plain values: None or ``"torchrun"``, or a mapping of ``kind`` and the launcher's options.

    Raises:
        ValueError: an unknown kind.
        TypeError: an unknown option.
    """
    if config is None or config == "torchrun":
        return TorchrunLauncher()
    if isinstance(config, Mapping):
        options = dict(config)
        if options.pop("kind", None) == "torchrun":
            return TorchrunLauncher(**options)
    elif not isinstance(config, str):
        return config
    raise ValueError(f"launcher {config!r}: expected 'torchrun', a mapping with kind: torchrun, or a Launcher")
