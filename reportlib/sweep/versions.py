"""Which versions of PyTorch a sweep goes over, and between which two of them something changes."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

from packaging.version import Version

from reportlib.environments.further import full_version
from reportlib.environments.spec import PLATFORM, find_uv
from reportlib.errors import EnvironmentFileError, ReportlibError, StudyError
from reportlib.store import canonical_json, digest
from reportlib.study import Study
from reportlib.sweep.captures import artifact_names
from reportlib.sweep.probes import Progress, Station, read, sweep

NEWEST = "newest"
#: The index is asked for one version after the other, from the newest down; PyTorch has had fewer than this.
_MOST = 300


def releases(lowest: str, highest: str = NEWEST, python: str = "3.11", *, candidates: bool = False) -> list[str]:
    """Return the releases of torch that the package index has a wheel of, from the older to the newer.

    uv lists no versions, but says the highest that fits a bound: asked again below each answer, it tells all.

    Parameters
    ----------
    lowest, highest : str
        Versions, both included; `highest` may be `NEWEST`.
    python : str
        Minor version of Python that the wheels are for.
    candidates : bool
        Also release candidates and nightly builds, where the index, or one named in ``UV_INDEX``, has them.

    Raises
    ------
    EnvironmentFileError
        When the index cannot be asked, has neither end, or the ends are in the wrong order.
    """
    bottom = Version(full_version(lowest))
    bound = "torch" if highest == NEWEST else f"torch<={full_version(highest)}"
    found: list[str] = []
    for _ in range(_MOST):
        version = _highest(bound, python, candidates)
        if version is None or version < bottom:
            break
        found.append(version.public)
        # Less than a release would leave out its candidates.
        bound = f"torch<={version.public},!={version.public}" if candidates else f"torch<{version.public}"
    if not found:
        raise EnvironmentFileError(
            f"the package index has no torch from {lowest} to {highest} for Python {python}",
            "give the older version first; name a mirror of the index in UV_DEFAULT_INDEX",
        )
    return found[::-1]


def _highest(bound: str, python: str, candidates: bool) -> Version | None:
    command = [find_uv(), "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate", "--quiet",
               "--only-binary", "torch", "--python-version", python, "--python-platform", PLATFORM,
               "--index-strategy", "unsafe-best-match",  # else one in UV_INDEX would hide all others
               "--prerelease", "allow" if candidates else "if-necessary-or-explicit"]  # fmt: skip
    done = subprocess.run(command, input=bound, capture_output=True, text=True, check=False)
    _, _, version = done.stdout.strip().partition("==")
    return Version(version.split()[0]) if done.returncode == 0 and version else None


@dataclass(frozen=True)
class Wish:
    """What a sweep is asked to go over.

    Attributes
    ----------
    versions : tuple of str
        One by one, in any order.
    lowest, highest : str
        Ends of a range of releases; empty for none.
    """

    versions: tuple[str, ...] = ()
    lowest: str = ""
    highest: str = ""

    @classmethod
    def read(cls, path: Path) -> Wish:
        """Read a ``sweep.toml``: ``versions``, or ``from`` and ``to``, or all three."""
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise StudyError(f"{path} cannot be read: {error}", "write versions = ['2.0.1', '2.1.0']") from error
        if unknown := sorted(set(content) - {"versions", "from", "to"}):
            raise StudyError(f"{path}: {unknown[0]} is not a key", "use versions, from and to")
        versions = content.get("versions", [])
        if not isinstance(versions, list) or not all(isinstance(version, str) for version in versions):
            raise StudyError(f"{path}: versions must be a list of strings", "write versions = ['2.0.1', '2.1.0']")
        return cls(tuple(versions), str(content.get("from", "")), str(content.get("to", "")))

    def resolve(self) -> list[str]:
        """Return the versions from the older to the newer, each once."""
        found = {full_version(version) for version in self.versions}
        if self.lowest:
            found |= set(map(full_version, releases(self.lowest, self.highest or NEWEST)))
        if len(found) < 2:
            raise StudyError("a sweep goes over two versions of torch or more", "give versions, or --from and --to")
        return ordered(found)


def ordered(versions: Sequence[str] | set[str]) -> list[str]:
    """Return versions from the older to the newer."""
    return sorted(versions, key=Version)


# Where between two versions something changes, with as few installations as that takes.


@dataclass
class Bisection:
    """What a bisection found.

    Attributes
    ----------
    changes : list of tuple
        Each older and newer version between which there is a change, and the versions between them that could not be
        measured: the change may be at any of these.
    unseen : list of tuple
        Ends with equal bytes, and how many versions between them were not looked at.
    installed : list of str
        Versions that had to be installed, in that order.
    """

    changes: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    unseen: list[tuple[str, str, int]] = field(default_factory=list)
    installed: list[str] = field(default_factory=list)


def bisect(versions: Sequence[str], observe: Callable[[str], str | None], is_free: Callable[[str], bool]) -> Bisection:
    """Find all change points between the first version and the last.

    A range whose ends differ is halved until they are neighbours. One whose ends are equal is not looked into: a change
    and its reverse inside it go unseen, and it is said which ranges these are.

    Parameters
    ----------
    versions : sequence of str
        From the older to the newer; two or more.
    observe : callable
        Returns what a version has, to be compared, or None where it cannot be measured.
    is_free : callable
        Whether a version was measured before, so that looking at it installs nothing: all of these are looked at.

    Raises
    ------
    StudyError
        When the first or the last cannot be measured.
    """
    search = _Search(observe, is_free)
    for end in (versions[0], versions[-1]):
        if search.look(end) is None:
            raise StudyError(f"torch {end} cannot be measured", "give another end; the line above says why")
    free = [version for version in versions[1:-1] if is_free(version) and search.look(version) is not None]
    for start, stop in pairwise([versions[0], *free, versions[-1]]):
        search.halve(versions[versions.index(start) : versions.index(stop) + 1])
    return search.found


class _Search:
    """A bisection on its way."""

    def __init__(self, observe: Callable[[str], str | None], is_free: Callable[[str], bool]) -> None:
        self.observe, self.is_free = observe, is_free
        self.found = Bisection()
        self.known: dict[str, str | None] = {}

    def look(self, version: str) -> str | None:
        """Return what a version has, looked up once."""
        if version not in self.known:
            if not self.is_free(version):
                self.found.installed.append(version)
            self.known[version] = self.observe(version)
        return self.known[version]

    def halve(self, inside: Sequence[str]) -> None:
        """Add the changes between the first and the last; of those between, the middle one that can be measured."""
        first, *between, last = inside
        if self.look(first) == self.look(last):
            if between:
                self.found.unseen.append((first, last, len(between)))
            return
        middle = (len(between) - 1) / 2
        for index in sorted(range(len(between)), key=lambda index: abs(index - middle)):
            if self.look(between[index]) is not None:
                self.halve(inside[: index + 2])
                self.halve(inside[index + 1 :])
                return
        self.found.changes.append((first, last, tuple(between)))


def bisect_at(station: Station, versions: Sequence[str], of: str, progress: Progress) -> Bisection:
    """Bisect what is measured at a station.

    Parameters
    ----------
    station : Station
        Where versions are installed and measured.
    versions : sequence of str
        From the older to the newer.
    of : str
        As `observed` takes it.
    progress : callable
        Gets a line each time something moves on.

    Raises
    ------
    StudyError
        When `of` names nothing, or an end cannot be measured.
    """
    looked: dict[str, str] = {}  # and what each computes

    def observe(version: str) -> str | None:
        *before, outcome = sweep([version], station, progress, list(looked))
        if outcome.why or outcome.uncaptured:
            return None
        looked[version] = outcome.signature
        alike = [one for one in before if looked.get(one.version) == looked[version] and one.captures]
        return observed({**outcome.measured(), "artifacts": (*alike, outcome)[0].artifacts()}, of)

    def is_free(version: str) -> bool:
        try:
            site = station.prepare(version)
        except ReportlibError:
            return False
        return site.is_measured and (station.captured(site) != {} or site.signature in looked.values())

    return bisect(versions, observe, is_free)


def among_candidates(station: Station, found: Bisection, of: str, progress: Progress) -> Bisection:
    """Bisect again between the releases of each change, now among candidates and nightly builds too.

    A change keeps its two releases where the index has nothing between them.
    """
    finer = Bisection(unseen=list(found.unseen), installed=list(found.installed))
    for older, newer, skipped in found.changes:
        try:
            listed = releases(older, newer, candidates=True)
        except EnvironmentFileError:
            listed = []
        inside = [version for version in listed if Version(older) < Version(version) < Version(newer)]
        progress(f"between torch {older} and {newer}: {len(inside) - len(skipped)} candidates and nightly builds")
        if len(inside) == len(skipped):
            finer.changes.append((older, newer, skipped))
            continue
        closer = bisect_at(station, [older, *inside, newer], of, progress)
        finer.changes += closer.changes
        finer.unseen += closer.unseen
        finer.installed += closer.installed
    return finer


def require_known(of: str, study: Study | None) -> None:
    """Raise `StudyError` where `of` names nothing that is measured, or that a study's captures hold."""
    if of in ("layers", "embs"):
        return
    if names := artifact_names(of):
        if study is not None and not study.search.k and all(name.endswith("/rankings") for name in names):
            raise StudyError(f"{study.path} does not search, so there are no rankings", "give another with --study")
        return
    probes = [probe["id"] for probe in read()]
    if any(of in (name, name.split()[0]) or fnmatchcase(name, of) for name in probes) or _LAYER.match(of):
        return
    raise _unknown(of, probes)


#: What may be the name of a layer, or a pattern of some.
_LAYER = re.compile(r"(float32|autocast|\*)/.")


def _unknown(of: str, probes: Iterable[str]) -> StudyError:
    operations = sorted({name.split()[0] for name in probes})
    return StudyError(f"{of!r} is no probe", f"use layers, embs, an artifact (ivf), or one of {', '.join(operations)}")


def observed(content: Mapping[str, Any], of: str) -> str:
    """Return a hash of what is bisected: ``layers``, ``embs``, an artifact, an operation, or a pattern of names.

    ``embs`` are what BERT and the projection give for each text, in float32 and under autocast; an artifact is one of
    whole captures, in each precision that was captured.
    """
    entries = {**content["probes"], **content["layers"], **content["artifacts"]}
    if of in ("layers", "embs"):
        chosen = [name for name in content["layers"] if of == "layers" or name.endswith("/output")]
    elif wanted := artifact_names(of):
        chosen = [name for name in content["artifacts"] if name in wanted]
    else:
        chosen = [name for name in entries if of in (name, name.split()[0]) or fnmatchcase(name, of)]
    if not chosen:
        raise _unknown(of, content["probes"])
    return digest(canonical_json([[name, entries[name].get("digest")] for name in chosen]).encode())
