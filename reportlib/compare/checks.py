"""Refuse captures that cannot be set side by side, before anything is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from reportlib.compare import origins
from reportlib.environments.fit import misfits
from reportlib.environments.spec import EnvironmentSpec, load_spec, spec_names
from reportlib.errors import ComparisonError
from reportlib.store import Capture
from reportlib.study import Arm, Study


def missing_arms(study: Study, captures: Mapping[str, Capture]) -> list[str]:
    """Return the names of the study's arms that have no capture, in the study's order."""
    return [arm.name for arm in study.arms() if arm.name not in captures]


def environment_files(study: Study, root: Path | None) -> dict[str, EnvironmentSpec]:
    """Return what the environment files in the folder `root` ask for: of the study's environments that have one."""
    if root is None:
        return {}
    return {name: load_spec(name, root) for name in study.environments if name in spec_names(root)}


def check(
    study: Study,
    captures: Mapping[str, Capture],
    specs: Mapping[str, EnvironmentSpec] | None = None,
    *,
    verify: bool = False,
) -> None:
    """Check that the captures are of their environments, and of one collection, checkpoint, device and set of settings.

    Parameters
    ----------
    study : Study
        What the captures claim to be of.
    captures : mapping of str to Capture
        By arm name. What a capture does not say is not held against it.
    specs : mapping of str to EnvironmentSpec, optional
        By environment: what its file asks for.
    verify : bool
        Also read every artifact and compare it with its hash.

    Raises
    ------
    ComparisonError
        Naming the two captures, or the capture and the setting, that do not belong together.
    """
    arms = [arm for arm in study.arms() if arm.name in captures]
    for arm in arms:
        _check_settings(study, arm, captures[arm.name])
    _check_environments(study, [(arm, captures[arm.name]) for arm in arms], specs or {})
    for name in ("collection", "checkpoint"):
        _check_input(name, ((arm.name, captures[arm.name]) for arm in arms))
    if verify:
        for arm in arms:
            for artifact in captures[arm.name].damaged():
                raise ComparisonError(
                    f"artifact {artifact!r} in the capture of {arm.name} is damaged: "
                    "its bytes do not have the hash of the manifest",
                    "remove that capture and run its arm again",
                )


def input_hash(capture: Capture, name: str) -> str | None:
    """Return the sha256 of the collection or checkpoint that a capture read, if it says."""
    given = capture.provenance.get("inputs", {}).get(name)
    if isinstance(given, Mapping):
        given = given.get("sha256")
    return None if given is None else str(given)


def _check_input(name: str, captures: Iterable[tuple[str, Capture]]) -> None:
    known = [(arm, input_hash(capture, name)) for arm, capture in captures]
    known = [(arm, sha256) for arm, sha256 in known if sha256 is not None]
    for arm, sha256 in known[1:]:
        first, expected = known[0]
        if sha256 != expected:
            raise ComparisonError(
                f"the captures of {first} and {arm} are of different {name}s "
                f"(sha256 {str(expected)[:12]} and {str(sha256)[:12]})",
                f"run both arms with the same {name}",
            )


def _check_environments(
    study: Study, captures: Iterable[tuple[Arm, Capture]], specs: Mapping[str, EnvironmentSpec]
) -> None:
    """Hold what each capture ran on against its environment's file, its environment's other arms, and the others."""
    firsts: dict[str, tuple[Arm, Capture]] = {}
    for arm, capture in captures:
        first = firsts.setdefault(arm.environment, (arm, capture))
        again = f"run {arm.name} again, in the kernel {arm.environment}"
        spec = specs.get(arm.environment)
        if spec is not None and (wrong := _misfits(spec, capture)):
            raise ComparisonError(
                f"the capture of {arm.name} is not of what {spec.path.name} asks for: {'; '.join(wrong)}",
                f"{again}; if the file has changed since, run `reportlib env create {arm.environment}` first",
            )
        here, there = _held(capture), _held(first[1])
        unlike = [f"{n} {here[n]} and {there[n]}" for n in here if here[n] != there.get(n, here[n])]
        if unlike:
            raise ComparisonError(
                f"the captures of {arm.name} and {first[0].name} are of two environments: {'; '.join(unlike[:5])}",
                f"run both again, in the kernel {arm.environment}",
            )
    for (a, left), (b, right) in combinations(firsts.values(), 2):
        if origins.same_environment(left, right):
            raise ComparisonError(
                f"{a.environment} and {b.environment} are one environment under two names: the same Python, torch and"
                " packages, to the byte",
                f"run the arms of each again, in the kernel of its own name, or leave one out of {study.path.name}",
            )


def _misfits(spec: EnvironmentSpec, capture: Capture) -> list[str]:
    """Return what is not as the file pins it: of the packages as installed, and of the torch that was imported."""
    python, imported = capture.provenance.get("python"), capture.provenance.get("torch", {}).get("version")
    return misfits(spec, python, origins.versions(capture)) or misfits(spec, None, {"torch": imported})


def _held(capture: Capture) -> dict[str, Any]:
    """Return what tells one environment from another: version by package, Python's, and the imported torch's."""
    known = capture.provenance
    told = {"python": known.get("python"), "imported torch": known.get("torch", {}).get("version")}
    return {name: version for name, version in {**origins.versions(capture), **told}.items() if version is not None}


def _check_settings(study: Study, arm: Arm, capture: Capture) -> None:
    wanted: dict[str, Any] = {
        "environment": arm.environment,
        "precision": arm.precision,
        "device": study.device,
        "passages": arm.passages,
        "threads": study.threads,
        "donor": arm.donor,
        "control": arm.control,
        "searching": arm.searching,
        **asdict(study.colbert),
    }
    said = {**capture.arm, **capture.arm.get("colbert", {})}
    for name, value in wanted.items():
        if name in said and said[name] != value:
            raise ComparisonError(
                f"the capture of {arm.name} has {name} = {said[name]!r}; the study says {value!r}",
                f"run {arm.name} again, or change {study.path.name}",
            )
    swap = said.get("swap", "")
    points = tuple(swap.split("+")) if isinstance(swap, str) and swap else tuple(swap)
    if "swap" in said and points != arm.swap:
        raise ComparisonError(
            f"the capture of {arm.name} replaces {points or 'nothing'}, not {arm.swap or 'nothing'}",
            f"run {arm.name} again",
        )
