"""A launcher from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from j2v_dagster.launchers.base import Launcher
from json2vec.storage.kinds import Kinds

LAUNCHERS = Kinds("launcher", Launcher, {"torchrun": "j2v_dagster.launchers.torchrun:TorchrunLauncher"})
"""Every kind of launcher that comes with this package: one line each."""


def build_launcher(config: Launcher | str | Mapping[str, Any] | None) -> Launcher:
    """A launcher from plain values.

    Args:
        config: None for ``torchrun``; a kind, which is a word of `LAUNCHERS` or ``module:Class``; a mapping of ``kind``
            and the options of that class; or a launcher, which is returned as it is.

    Raises:
        json2vec.storage.kinds.KindError: no such kind, a class that is no launcher, or an option it does not take.
        ValueError: options that cannot be meant, by the class's own rules.
    """
    if config is None or isinstance(config, str):
        config = {"kind": "torchrun" if config is None else config}
    if not isinstance(config, Mapping):
        return LAUNCHERS.check(config)
    options = dict(config)
    return LAUNCHERS.build(options.pop("kind", None), options)
