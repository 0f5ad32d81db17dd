"""Devices to compile for: presets, this machine, or any x86-64 target of TVM."""
from __future__ import annotations

import difflib
import os
from typing import Any

from ..support.errors import TenfoldError
from .registry import presets
from .target import Target

__all__ = ["Target", "detect_host", "presets", "resolve"]


def resolve(spec: str | os.PathLike[str] | Target | dict[str, Any] | None = None) -> Target:
    """The target that `spec` means.

    Parameters
    ----------
    spec : str, path, Target, dict or None
        A preset's name, ``host`` (also None): this machine, a file like the presets' (``NAME.toml``), or a TVM target in dict form or as
        JSON.

    Raises
    ------
    TenfoldError
        If there is no such target; the message lists the names there are. If LLVM can't compile for it.
    """
    if isinstance(spec, Target):
        return spec
    if spec is None or spec == "host":
        return detect_host()
    if isinstance(spec, dict):
        from .json_target import from_dict

        return from_dict(spec)
    if not isinstance(spec, str | os.PathLike):
        raise TenfoldError(f"a target is a name, a dict, a file or a Target, not a {type(spec).__name__}")
    spec = os.fsdecode(spec)
    if spec.lstrip().startswith(("{", "[")):
        from .json_target import from_json

        return from_json(spec)
    if spec.lower().endswith(".toml"):
        from .toml_target import from_toml

        return from_toml(spec)
    names = {preset.name: preset for preset in presets()}
    if spec in names:
        return names[spec]
    near = difflib.get_close_matches(spec, names, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise TenfoldError(f"unknown target {spec!r}{hint}: it is one of host, {', '.join(names)}, a file NAME.toml, or a TVM target as JSON")


def detect_host() -> Target:
    """Describe this machine as a target; see `targets.host.detect_host` (imports TVM)."""
    from .host import detect_host as detect

    return detect()
