"""What environments and precisions are called, and what tells two environments apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from packaging.utils import canonicalize_name

#: Packages that torch's own metadata brings: they change with it.
_BROUGHT = re.compile(r"torch|triton|nvidia-.*|cmake|lit|pytorch-triton.*")


def brought_by_torch(package: str) -> bool:
    """Whether torch's own metadata brings a package, torch itself included."""
    return _BROUGHT.fullmatch(package) is not None


def beyond_torch(environments: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str | None, ...]]:
    """Return what differs between environments beside torch and what it brings.

    Parameters
    ----------
    environments : sequence of mapping
        Of ``environments`` of ``docs/schema.md``.

    Returns
    -------
    dict of str to tuple of str or None
        The version in each environment, None where it is not there: ``transformers``, whose code BERT is, then
        ``Python``, then the other packages that an environment file pins, sorted. What those bring follows from them.
        Where no file is known, packages that all environments have stand for them.
    """
    held = [{canonicalize_name(n): v for n, v in (e["packages"] or {}).items()} for e in environments]
    pins = [e["pins"] for e in environments if e.get("pins") is not None]
    names = set().union(*pins) if pins else set.intersection(*(set(packages) for packages in held))
    found = {"Python": tuple(e["python"] for e in environments)}
    found |= {name: tuple(packages.get(name) for packages in held) for name in names if not brought_by_torch(name)}
    unlike = {name: known for name, known in found.items() if len(set(known)) > 1}
    order = ("transformers", "Python")
    return {n: unlike[n] for n in sorted(unlike, key=lambda n: (order.index(n) if n in order else len(order), n))}


def labels(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what to call each environment, by its name.

    ``PyTorch 2.1.0``; ``PyTorch 2.1.0 with transformers 4.40.1`` where others have the same PyTorch; the environment's
    own name where neither tells it, or where its PyTorch is not known.
    """
    whole = {e["name"]: str(e["torch"].get("version") or "") for e in environments}
    short = {name: version.partition("+")[0] for name, version in whole.items()}
    found = {}
    for name, version in short.items():
        alike = [e for e in environments if short[e["name"]] == version]
        if not version:
            found[name] = name
        elif len(alike) == 1:
            found[name] = f"PyTorch {version}"
        elif len({whole[e["name"]] for e in alike}) == len(alike):
            found[name] = f"PyTorch {whole[name]}"
        elif told := _told_apart(alike, name):
            found[name] = f"PyTorch {version} {told}"
        else:
            found[name] = name
    return found


def versions(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the shortest that tells each environment from the others: ``2.1.0``, or as `labels` where that is not."""
    return {name: label.removeprefix("PyTorch ") for name, label in labels(environments).items()}


def _told_apart(alike: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the fewest differences beside torch that tell environments of one torch apart, as one of them has them."""
    place = [e["name"] for e in alike].index(name)
    seen: list[tuple[str | None, ...]] = []
    said = []
    for package, versions in beyond_torch(alike).items():
        seen.append(versions)
        said.append(f"with {package} {versions[place]}" if versions[place] else f"without {package}")
        if len(set(zip(*seen, strict=True))) == len(alike):
            return " and ".join(said).replace("and with ", "and ")
    return ""


def sides(environments: Sequence[Mapping[str, Any]], pair: Mapping[str, Any]) -> tuple[str, str]:
    """Return what to call the two environments of a pair."""
    known = labels(environments)
    return known.get(pair["a"], pair["a"]), known.get(pair["b"], pair["b"])


def precision(name: str, device: str) -> str:
    """Return a precision with the dtype that it means on this device."""
    if name != "autocast":
        return name
    return "float16 autocast" if device == "cuda" else "bfloat16 autocast"
