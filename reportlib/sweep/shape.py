"""``sweep.json`` as types, and what the posts say of the same versions."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from reportlib.shape import Count, Size, Text

SCHEMA_VERSION: Literal[1] = 1


class Measured(TypedDict):
    """A version, in the order of versions; ``packages`` are those that its environment file pins."""

    version: Text
    build: str
    python: str
    cpu_capability: str | None
    why: str
    packages: dict[str, str]


class Row(TypedDict):
    """A probe or a layer over the measured versions.

    ``classes`` has a number for each measured version: equal numbers are equal bytes, and 0 is the oldest one's. None
    is a version that has no such operation. ``errors`` is by class: greatest and root mean square distance to float64.
    """

    id: Text
    name: Text
    dtypes: list[str]
    shapes: list[list[Count]]
    inside: list[str]
    classes: list[Count | None]
    errors: list[tuple[Size | None, Size | None]]
    same_inputs: bool
    repeats: bool
    failed: dict[str, str]


class Upstream(TypedDict):
    """A known change of PyTorch that fits a break."""

    url: str
    title: str
    text: str
    status: str


class Break(TypedDict):
    """Where a row's bytes change from one measured version to the next.

    ``different`` of ``sampled`` elements of the first output that differs, evenly spaced, differ, by ``max_abs`` at
    most; None where the shapes do.
    """

    row: Text
    older: Text
    newer: Text
    max_abs: Size | None
    different: Count | None
    sampled: Count
    closer: Literal["older", "newer", "equal"] | None
    upstream: Upstream | None


class Precision(TypedDict):
    """One table of the atlas."""

    precision: Literal["float32", "autocast"]
    operations: list[Row]
    layers: list[Row]
    breaks: list[Break]


class Pair(TypedDict):
    """Two consecutive measured versions beside the posts' result for them."""

    older: Text
    newer: Text
    operations: dict[str, Count]
    layers: dict[str, Count]
    posts: Literal["same", "different"] | None


class Post(TypedDict):
    """A break of the posts, in their own numbers."""

    older: Text
    newer: Text
    source: str
    text: str


class Platform(TypedDict):
    """What ran it."""

    cpu: str
    instruction_sets: list[str]
    threads: Count


class Sweep(TypedDict):
    """A sweep's result, from which its page is drawn; ``inputs`` are sha256 of what BERT read."""

    schema_version: Literal[1]
    inputs: dict[str, str]
    platform: Platform
    versions: list[Measured]
    beyond_torch: dict[str, list[str | None]]
    compared: Count
    precisions: list[Precision]
    pairs: list[Pair]
    posts: list[Post]


#: The posts' sweep: 18 consecutive pairs of 19 versions between these two, on an L4 GPU under float16 autocast. Three
#: pairs differ, in these numbers of 10 final artifacts (A2) and of 12 with the pipeline's (H1); in the other 15 all are
#: equal. The summary (I1) has the same three.
POSTS_FROM, POSTS_TO = "1.13.1", "2.8.0"
POSTS: tuple[Post, ...] = (
    {"older": "2.0.1", "newer": "2.1.0", "source": "A2, H1, I1",
     "text": "shapes 9/10 and values 0/10 of the final artifacts; 0/12 close by default, 2/12 by bnb"},
    {"older": "2.4.1", "newer": "2.5.0", "source": "A2, H1, I1",
     "text": "shapes 9/10 and values 0/10 of the final artifacts; 0/12 close by default, 2/12 by bnb"},
    {"older": "2.7.1", "newer": "2.8.0", "source": "A2, H1, I1",
     "text": "shapes 10/10 and values 6/10 of the final artifacts; 8/12 close by default, 9/12 by bnb"},
)  # fmt: skip
