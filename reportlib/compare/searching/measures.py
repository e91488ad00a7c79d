"""How good a ranking is, query by query: Recall, MRR, nDCG and Success by `ir_measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import numpy.typing as npt

from reportlib.compare.searching.rounding import rounded
from reportlib.compare.searching.sides import Ranked

#: What the report calls a measure, and the measure.
_MEASURES = (
    ("Recall", ir_measures.R),
    ("MRR", ir_measures.RR),
    ("nDCG", ir_measures.nDCG),
    ("Success", ir_measures.Success),
)


def measure_names(k: int) -> tuple[str, ...]:
    """Return the measures' names in a report, such as ``Recall@10``."""
    return tuple(f"{name}@{k}" for name, _ in _MEASURES)


def measure(ranking: Sequence[Ranked], judgements: Mapping[str, Mapping[int, int]], k: int) -> npt.NDArray[np.float64]:
    """Measure a ranking.

    A passage of grade 1 or more is relevant; nDCG takes the grade as gain and discounts it by log2 of rank + 1, as
    trec_eval does. A passage without a judgement counts as not relevant. What is scored is the order in which the
    passages were returned: their own scores tie, and trec_eval breaks ties by name.

    Parameters
    ----------
    ranking : sequence of Ranked
        Only queries with a relevant passage: the measures mean nothing for others.
    judgements : mapping of str to mapping of int to int
        Grades by passage, by query.
    k : int
        The cutoff.

    Returns
    -------
    numpy.ndarray
        float64 (queries, measures), columns as `measure_names`, each from 0 to 1.
    """
    # Not by their names: the library reads those with parts of `ast` that are deprecated from Python 3.12 on.
    columns = {kind @ k: column for column, (_, kind) in enumerate(_MEASURES)}
    rows = {each.qid: row for row, each in enumerate(ranking)}
    grades = {qid: {str(pid): grade for pid, grade in judgements[qid].items()} for qid in rows}
    # A query that nothing was found for is left out: the library gives it 0.
    run = {e.qid: {str(pid): -float(rank) for rank, pid in enumerate(e.top)} for e in ranking if e.top}
    values = np.zeros((len(rows), len(columns)))
    for found in ir_measures.iter_calc(list(columns), grades, run) if rows else ():
        values[rows[found.query_id], columns[found.measure]] = rounded(found.value)
    return values
