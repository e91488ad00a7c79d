"""What the captures ran on, whether they belong together, and everything in which their environments differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

from reportlib.environments.manage import misfits
from reportlib.environments.spec import EnvironmentSpec, load_spec, spec_names
from reportlib.errors import ComparisonError
from reportlib.store import Capture
from reportlib.study import Arm, CheckpointSpec, CollectionSpec, Study
from reportlib.words.formats import listing
from reportlib.words.terms import beyond_torch

# Where captures come from: platform, environments, and what differs between two of them.
#
# Everything here reads provenance, which older or foreign captures may hold only in part: what is not said is null.

Record = dict[str, Any]

#: What ``torch.__config__`` says of the libraries that torch was built with.
_BUILT_WITH = {
    "oneDNN": re.compile(r"MKL-DNN v?([\d.]+)|oneDNN v?([\d.]+)"),
    "MKL": re.compile(r"oneAPI Math Kernel Library Version ([\w.-]+)"),
    "compiler": re.compile(r"(GCC [\d.]+|clang [\d.]+)", re.IGNORECASE),
    "OpenMP": re.compile(r"OpenMP (\d+)"),
    "CUDA runtime": re.compile(r"CUDA Runtime ([\d.]+)"),
    "cuDNN": re.compile(r"CuDNN ([\d.]+)"),
}
_TORCH = ("version", "git_version", "cuda", "cpu_capability", "config", "parallel")


def environment(
    name: str, capture: Capture, spec: EnvironmentSpec | None = None, varied: Mapping[str, str] | None = None
) -> Record:
    """Return what the report says of one environment, from a capture made in it and from its file, if it has one.

    `varied` are the settings that the study gives to it and not to all.
    """
    known = capture.provenance
    torch = known.get("torch", {})
    libraries = [
        {key: each.get(key) for key in ("name", "version", "sha256", "kind", "size")}
        for each in known.get("libraries", [])
    ]
    return {
        "name": name,
        "python": known.get("python"),
        "torch": {key: torch.get(key) for key in _TORCH},
        "backend": known.get("backend"),
        "packages": versions(capture),
        "pins": None if spec is None else dict(sorted(spec.pins.items())),
        "libraries": libraries,
        "threads": dict(known.get("threads", {})),
        "environment_variables": dict(known.get("environment_variables", {})),
        "seeds": dict(known.get("seeds", {})),
        **({"settings": dict(varied)} if varied else {}),
    }


def versions(capture: Capture) -> dict[str, str | None]:
    """Return the version of each package that was installed where a capture was made."""
    return {name: known.get("version") for name, known in sorted(capture.provenance.get("packages", {}).items())}


def same_environment(a: Capture, b: Capture) -> bool:
    """Whether two captures were made with the same Python, torch and packages, as far as both say what they held."""
    told = all(c.provenance.get("packages") and c.provenance.get("torch") for c in (a, b))
    kinds = {"python", "package", "package build", "torch"}
    return told and not any(each["kind"] in kinds for each in differences(a, b))


def platform(study: Study, captures: Mapping[str, Capture], environments: Sequence[Record]) -> Record:
    """Return the ``platform`` of ``docs/schema.md`` from every capture's provenance."""
    machines = [dict(c.provenance.get("machine", {})) for c in captures.values()]
    first = machines[0] if machines else {}
    keys = ("cpu", "cores", "arch", "os", "gpu", "driver")
    found = {key: first.get(key) for key in keys}
    capability = {e["name"]: e["torch"]["cpu_capability"] for e in environments}
    return {
        **found,
        "isa": list(first.get("isa", [])),
        "device": study.device,
        "threads": environments[0]["threads"] if environments else {},
        "capability": capability,
        "one_machine": len({(m.get("cpu"), m.get("gpu")) for m in machines}) <= 1,
        "sentence": _sentence(found, study.device, sorted(set(map(study.threads_in, study.environments))), capability),
    }


def _sentence(
    machine: Mapping[str, Any], device: str, threads: Sequence[int], capability: Mapping[str, str | None]
) -> str:
    kernels = sorted({each for each in capability.values() if each})
    cpu = machine["cpu"] or "an unknown CPU"
    used = f"{listing(map(str, threads))} thread{'s' * (threads[-1] != 1)}"
    if kernels:
        cpu += f" ({' and '.join(kernels)} kernels)"
    if device == "cuda":
        driver = f" with driver {machine['driver']}" if machine["driver"] else ""
        return f"{machine['gpu'] or 'an unknown GPU'}{driver}; {cpu}, {used}."
    return f"{cpu}, {used}, no GPU used."


def differences(left: Capture, right: Capture) -> list[Record]:
    """Return everything recorded of two environments that is not the same in both."""
    a, b = left.provenance, right.provenance
    torch_a, torch_b = dict(a.get("torch", {})), dict(b.get("torch", {}))
    capability = [{"cpu_capability": torch.pop("cpu_capability", None)} for torch in (torch_a, torch_b)]
    return [
        *_mapping("python", {"python": a.get("python")}, {"python": b.get("python")}),
        *_packages(a.get("packages", {}), b.get("packages", {})),
        *_mapping("torch", _built(torch_a), _built(torch_b)),
        *_mapping("library", _libraries(a), _libraries(b)),
        *_mapping("threads", a.get("threads", {}), b.get("threads", {})),
        *_mapping("capability", *capability),
        *_mapping("environment variable", a.get("environment_variables", {}), b.get("environment_variables", {})),
        *_mapping("seed", a.get("seeds", {}), b.get("seeds", {})),
        *_mapping("machine", a.get("machine", {}), b.get("machine", {})),
    ]


def _mapping(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Record]:
    for name in [*a, *(n for n in b if n not in a)]:
        if a.get(name) != b.get(name):
            yield {"kind": kind, "name": name, "a": _text(a.get(name)), "b": _text(b.get(name))}


def _text(value: Any) -> str | None:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return None if value is None else str(value)


def _packages(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Record]:
    for name in sorted({*a, *b}):
        for kind, key in (("package", "version"), ("package build", "record_sha256")):
            left, right = (side.get(name, {}).get(key) for side in (a, b))
            if left != right:
                yield {"kind": kind, "name": name, "a": left, "b": right}
                break


def _built(torch: Mapping[str, Any]) -> dict[str, Any]:
    """Return torch's own settings, and the libraries named in its build configuration."""
    config = str(torch.get("config") or "")
    found = {k: v for k, v in torch.items() if k not in {"config", "parallel"}}
    for name, pattern in _BUILT_WITH.items():
        match = pattern.search(config)
        if match:
            found[name] = next(group for group in match.groups() if group)
    return found


def _libraries(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return each loaded library by name; copies of one name stand side by side."""
    found: dict[str, list[str]] = {}
    for each in provenance.get("libraries", []):
        known = [each.get("version"), (each.get("sha256") or "")[:12]]
        if not any(known) and each.get("size"):
            known = [f"{each['size']} bytes"]
        found.setdefault(each["name"], []).append(" ".join(k for k in known if k) or "loaded")
    return {name: ", ".join(sorted(copies)) for name, copies in sorted(found.items())}


# Refuse captures that cannot be set side by side, before anything is compared.


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
        if same_environment(left, right) and study.varied(a.environment) == study.varied(b.environment):
            raise ComparisonError(
                f"{a.environment} and {b.environment} are one environment under two names: the same Python, torch and"
                " packages, to the byte",
                f"run the arms of each again, in the kernel of its own name, or leave one out of {study.path.name}",
            )


def _misfits(spec: EnvironmentSpec, capture: Capture) -> list[str]:
    """Return what is not as the file pins it: of the packages as installed, and of the torch that was imported."""
    python, imported = capture.provenance.get("python"), capture.provenance.get("torch", {}).get("version")
    return misfits(spec, python, versions(capture)) or misfits(spec, None, {"torch": imported})


def _held(capture: Capture) -> dict[str, Any]:
    """Return what tells one environment from another: version by package, Python's, and the imported torch's."""
    known = capture.provenance
    told = {"python": known.get("python"), "imported torch": known.get("torch", {}).get("version")}
    return {name: version for name, version in {**versions(capture), **told}.items() if version is not None}


def _check_settings(study: Study, arm: Arm, capture: Capture) -> None:
    wanted: dict[str, Any] = {
        "environment": arm.environment,
        "precision": arm.precision,
        "device": study.device,
        "passages": arm.passages,
        "threads": study.threads_in(arm.environment),
        "donor": arm.donor,
        "control": arm.control,
        "searching": arm.searching,
        **asdict(study.colbert_in(arm.environment)),
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


# What was compared: the study and its inputs, as far as the captures say.

#: What a title names of what differs beside torch before it counts the rest.
_MOST = 4


def describe(study: Study, captures: Mapping[str, Capture], environments: Sequence[Record]) -> Record:
    """Describe a study and its inputs.

    Parameters
    ----------
    study : Study
        What was to be done.
    captures : mapping of str to Capture
        By arm name, at least one.
    environments : sequence of dict
        Of ``docs/schema.md``.

    Returns
    -------
    dict
        ``study`` of ``docs/schema.md``.

    Raises
    ------
    StoreError
        When an artifact cannot be read.
    """
    indexed = {p: _indexed(study, captures, p) for p in study.passages}
    whole = [indexed[p] for p, count in study.passages.items() if count == 0]
    asked = [
        len(capture.value("rankings")["queries"]) for capture in captures.values() if "rankings" in capture.artifacts
    ]
    first = next(iter(captures.values()))
    return {
        "slug": study.slug,
        "title": _title(study, environments),
        "environments": list(study.environments),
        "device": study.device,
        "threads": study.threads,
        "collection": {
            "source": study.collection.source,
            "sentence": _described(first, "collection") or _collection(study.collection),
            "sha256": input_hash(first, "collection"),
            "passages": next((count for count in whole if count is not None), _passages(first)),
            "queries": max(asked, default=None),
        },
        "checkpoint": {
            "source": _without_folders(study.checkpoint.source),
            "sentence": _described(first, "checkpoint") or _checkpoint(study.checkpoint),
            "sha256": input_hash(first, "checkpoint"),
            "dim": _dim(first),
            **_projection(study.checkpoint),
        },
        "colbert": asdict(study.colbert),
        "variables": dict(study.variables),
        "precisions": [{"name": p, "passages": n} for p, n in indexed.items()],
    }


def _title(study: Study, environments: Sequence[Record]) -> str:
    """Return the study's title, and what differs between its environments beside torch if it does not say so."""
    unlike = beyond_torch(environments)
    untold = [
        f"{name} {listing(dict.fromkeys(version or 'none' for version in versions))}"
        for name, versions in unlike.items()
        if name.lower() not in study.title.lower()
    ]
    return f"{study.title}, with {listing(untold, most=_MOST)}" if untold else study.title


def _indexed(study: Study, captures: Mapping[str, Capture], precision: str) -> int | None:
    """Return how many passages were indexed: from `doclens`, which knows what "all" was."""
    for arm in study.arms():
        capture = captures.get(arm.name)
        if capture is not None and arm.precision == precision and capture.group("doclens"):
            return sum(len(capture.value(name)) for name in capture.group("doclens"))
    return study.passages[precision] or None


def _described(capture: Capture, name: str) -> str | None:
    """Return what the capture says of an input, as a sentence; captures made by hand may say nothing."""
    said = capture.provenance.get("descriptions", {}).get(name, {}).get("source")
    return f"{said[:1].upper()}{said[1:].rstrip('.')}." if said else None


def _passages(capture: Capture) -> int | None:
    found = capture.provenance.get("descriptions", {}).get("collection", {}).get("passages")
    return int(found) if found is not None else None


def _dim(capture: Capture) -> int | None:
    lines = [capture.artifacts[n] for n in ("index/centroids", "centroids") if n in capture.artifacts]
    return lines[0].shape[-1] if lines and lines[0].shape else None


def _projection(spec: CheckpointSpec) -> dict[str, str]:
    """Return whether the offline checkpoint's projection is trained; of others nothing is known."""
    if spec.source != CheckpointSpec().source:
        return {}
    return {"projection": "trained" if spec.trained else "untrained"}


def _without_folders(source: str) -> str:
    """Return a hub id as it is, and of a path only the last part: paths are this machine's own."""
    return PurePath(source).name if source.startswith(("/", ".", "~")) else source


def _collection(spec: CollectionSpec) -> str:
    if spec.source == "numpy-docstrings":
        return "Paragraphs of the docstrings of the pinned numpy."
    if spec.source == "huggingface":
        parts = [part for part in (spec.name, spec.config, spec.split) if part]
        return f"The Hugging Face data set {', '.join(parts)}."
    kind = {"beir": "BEIR folder", "tsv": "TSV file"}.get(spec.source, spec.source)
    return f"The {kind} {PurePath(spec.path).name}."


def _checkpoint(spec: CheckpointSpec) -> str:
    if spec.source == CheckpointSpec().source:
        return f"all-MiniLM-L6-v2 with {'a trained' if spec.trained else 'an untrained'} projection."
    return f"{_without_folders(spec.source)}."
