"""What things are called in a reader's words: environments, precisions, operations, and a collection's judgements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name

from reportlib.shape import SearchJudging

#: Packages that torch's own metadata brings: they change with it.
_BROUGHT = re.compile(r"torch|triton|nvidia-.*|cmake|lit|pytorch-triton.*")

_WORD = re.compile(r"[A-Za-z]\w*")


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
        The version in each environment, None where it is not there: what the study sets otherwise in each, then
        ``transformers``, whose code BERT is, then ``Python``, then the other packages that an environment file pins,
        sorted. What those bring follows from them.
        Where no file is known, packages that all environments have stand for them.
    """
    held = [{canonicalize_name(n): v for n, v in (e["packages"] or {}).items()} for e in environments]
    pins = [e["pins"] for e in environments if e.get("pins") is not None]
    names = set().union(*pins) if pins else set.intersection(*(set(packages) for packages in held))
    given = [e.get("settings") or {} for e in environments]
    settings = {name: tuple(own.get(name) for own in given) for own in given for name in own}
    values = {**settings, "Python": tuple(e["python"] for e in environments)}
    values |= {name: tuple(packages.get(name) for packages in held) for name in names if not brought_by_torch(name)}
    unlike = {name: known for name, known in values.items() if len(set(known)) > 1}
    order = (*settings, "transformers", "Python")
    return {n: unlike[n] for n in sorted(unlike, key=lambda n: (order.index(n) if n in order else len(order), n))}


def subject(environments: Sequence[Mapping[str, Any]]) -> str:
    """Return by whose versions environments are told apart: ``PyTorch``, or a package's where all have one PyTorch."""
    torch = {e["torch"].get("version") for e in environments}
    if len(torch) == 1 and None not in torch and len(environments) > 1:
        for package, held in beyond_torch(environments).items():
            if len(set(held) - {None}) == len(environments):
                return package
    return "PyTorch"


def step(environments: Sequence[Mapping[str, Any]]) -> str:
    """Return what goes from one environment to the other: an ``upgrade``, or a ``change`` where a setting is varied."""
    settings = set().union(*(e.get("settings") or {} for e in environments))
    return "change" if subject(environments) in settings else "upgrade"


def labels(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what to call each environment, by its name.

    ``PyTorch 2.1.0``; ``transformers 4.40.1`` where all have the same PyTorch; ``avx2`` where a setting is varied whose
    values are words; ``PyTorch 2.1.0 with transformers 4.40.1`` where some have the same PyTorch; the environment's own
    name where neither tells it, or where its PyTorch is not known.
    """
    package = subject(environments)
    if package != "PyTorch":
        held = beyond_torch(environments)[package]
        # A value that is a word names a side by itself; a number, or that a variable is not set, does not.
        alone = step(environments) == "change" and all(_WORD.fullmatch(str(value)) for value in held)
        return {e["name"]: str(v) if alone else f"{package} {v}" for e, v in zip(environments, held, strict=True)}
    whole = {e["name"]: str(e["torch"].get("version") or "") for e in environments}
    short = {name: version.partition("+")[0] for name, version in whole.items()}
    named = {}
    for name, version in short.items():
        alike = [e for e in environments if short[e["name"]] == version]
        if not version:
            named[name] = name
        elif len(alike) == 1:
            named[name] = f"PyTorch {version}"
        elif len({whole[e["name"]] for e in alike}) == len(alike):
            named[name] = f"PyTorch {whole[name]}"
        elif difference := _difference(alike, name):
            named[name] = f"PyTorch {version} {difference}"
        else:
            named[name] = name
    return named


def versions(environments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the shortest that tells each environment from the others: ``2.1.0``, or as `labels` where that is not.

    A bare number, as of threads, would be taken for an amount.
    """
    known = f"{subject(environments)} "
    short = {name: label.removeprefix(known) for name, label in labels(environments).items()}
    return labels(environments) if any(map(str.isdecimal, short.values())) else short


def _difference(alike: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return the fewest differences beside torch that tell environments of one torch apart, as one of them has them."""
    place = [e["name"] for e in alike].index(name)
    seen: list[tuple[str | None, ...]] = []
    clauses = []
    for package, versions in beyond_torch(alike).items():
        seen.append(versions)
        clauses.append(f"with {package} {versions[place]}" if versions[place] else f"without {package}")
        if len(set(zip(*seen, strict=True))) == len(alike):
            return " and ".join(clauses).replace("and with ", "and ")
    return ""


def precision(name: str, device: str) -> str:
    """Return a precision with the dtype that it means on this device."""
    if name != "autocast":
        return name
    return "float16 autocast" if device == "cuda" else "bfloat16 autocast"


@dataclass(frozen=True)
class Term:
    """What to call an operation.

    Attributes
    ----------
    short : str
        A noun for a sentence: ``softmax``.
    meaning : str
        What it does, and what it is for in the encoder or in the index.
    """

    short: str
    meaning: str


_MATRIX = "a matrix product: the linear layers and the attention scores are made of these"
#: By name without namespace, leading underscores and a trailing underscore (the in-place form).
_TERMS: Mapping[str, Term] = {
    "gelu": Term("GELU", "the activation function between the two large linear layers of each encoder layer"),
    "softmax": Term("softmax", "turns attention scores into weights that sum to one"),
    "div": Term("division", "divides; in attention, the scores by the square root of the head's width"),
    "mul": Term("multiplication", "multiplies element by element"),
    "add": Term("addition", "adds element by element; also each layer's input to its output"),
    "sub": Term("subtraction", "subtracts element by element"),
    "bmm": Term("batched matrix product", "multiplies many pairs of matrices: the attention scores, and their use"),
    "baddbmm": Term("batched matrix product", "multiplies many pairs of matrices and adds a third"),
    "mm": Term("matrix product", _MATRIX),
    "addmm": Term("linear layer", "a matrix product with a bias added"),
    "linear": Term("linear layer", "a matrix product with a bias added"),
    "matmul": Term("matrix product", _MATRIX),
    "native_layer_norm": Term("layer norm", "brings each token's values to mean 0 and variance 1, then scales them"),
    "scaled_dot_product_attention": Term("attention", "scores, softmax and their use in one operation"),
    "linalg_vector_norm": Term("vector norm", "the length of each embedding, by which it is divided"),
    "norm": Term("vector norm", "the length of each embedding, by which it is divided"),
    "sort": Term("sorting", "puts numbers in order and says where each stood; equal ones have no order of their own"),
    "topk": Term("top-k selection", "picks the largest numbers and says where they stood"),
    "max": Term("maximum", "the largest number, and where it stands"),
    "argmax": Term("maximum", "where the largest number stands"),
    "sum": Term("sum", "adds many numbers up; the order of adding decides how they round"),
    "mean": Term("mean", "adds many numbers up and divides; the order of adding decides how they round"),
    "cumsum": Term("running sum", "adds numbers up one after the other"),
    "tanh": Term("tanh", "the hyperbolic tangent of each value"),
    "exp": Term("exponential", "e to the power of each value"),
    "erf": Term("error function", "the function inside GELU"),
    "sqrt": Term("square root", "the square root of each value"),
    "rsqrt": Term("inverse square root", "one over the square root of each value"),
    "pow": Term("power", "raises each value to a power"),
    "quantile": Term("quantile", "the value below which a share of all values lies"),
    "bucketize": Term("bucketing", "says between which two boundaries each value lies"),
    "to_copy": Term("conversion", "copies values into another dtype, rounding them"),
    "copy": Term("copy", "copies values, into another dtype where that is asked for"),
    "embedding": Term("embedding lookup", "reads one row of a table for each token"),
    "kmeans": Term("k-means", "faiss's clustering of the sample into centroids"),
}  # fmt: skip


def operation_term(cause: Mapping[str, Any]) -> Term:
    """Return what to call a cause's operation; its own name where no words are known for it."""
    own = str(cause["name"]).rpartition("::")[2]
    known = _TERMS.get(own.strip("_"))
    return known or Term(f"`{own}`", "an operation of PyTorch")


def operation_names(causes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the causes' short names in order; operations that share one get their own name beside it.

    ``["GELU", "softmax"]``; ``["softmax in float32", "softmax in bfloat16"]``.
    """
    short = [operation_term(cause).short for cause in causes]
    return [
        f"{name} in {'/'.join(cause['dtypes'])}" if short.count(name) > 1 and cause["dtypes"] else name
        for name, cause in zip(short, causes, strict=True)
    ]


def judging_sentence(judging: SearchJudging) -> str:
    """Say in one sentence which judgements do not count as they were given; nothing where all do.

    Parameters
    ----------
    judging : dict
        As ``source.json`` and ``report.json`` have it.
    """
    unknown = {"query": judging["unknown_queries"], "passage": judging["unknown_passages"]}
    clauses = []
    if sum(unknown.values()):
        names = " and ".join(f"{count:,} with an unknown {what}" for what, count in unknown.items() if count)
        clauses.append(f"{sum(unknown.values()):,} of {judging['read']:,} judgements were left out ({names})")
    if judging["repeated"]:
        clauses.append(f"{judging['repeated']:,} of {judging['read']:,} judgements repeat another and count once")
    if judging["ungraded"]:
        clauses.append("the judgements have no grades, so each counts as grade 1")
    if judging["kept"] and not judging["relevant"]:
        clauses.append(
            f"none of the {judging['kept']:,} judgements has a grade above 0, so no query has a relevant passage: "
            "nothing is searched and nothing scored"
        )
    sentence = "; ".join(clauses)
    return f"{sentence[:1].upper()}{sentence[1:]}." if clauses else ""


def remarks(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a user should know of a prepared collection before searching it.

    Parameters
    ----------
    content : mapping
        Its ``source.json``.
    """
    judging, queries = content["judging"], content["queries"]
    for what, count in (("passages", content["empty_passages"]), ("queries", content["empty_queries"])):
        if count:
            yield f"{count:,} of {content[what]:,} {what} have no text: they are kept as they are."
    if not queries:
        yield "The collection has no queries, so nothing is searched for."
    elif not judging["read"]:
        yield "The collection has no judgements, so that search is compared but not judged."
    if sentence := judging_sentence(judging):
        yield sentence
    if 0 < judging["answered"] < queries:
        yield f"{judging['answered']:,} of {queries:,} queries have a relevant passage: only these are searched for."
    if same := content["queries_that_are_passages"]:
        yield (
            f"{same:,} of {queries:,} queries are a passage too (same id), which search may rank first and score: "
            "ignore_identical_ids = true under [search] leaves it out."
        )
