"""What a sample in which nothing changed leaves open: one bound for findings, page, margins and gate."""

from __future__ import annotations


def unseen_share(number: int, confidence: float) -> float:
    """Return the largest share of changes that a sample without one is likely to miss.

    The exact one-sided binomial bound (Clopper and Pearson, "The use of confidence or fiducial limits illustrated in
    the case of the binomial", Biometrika 26, 1934, at a count of zero): with a larger share, at least one of `number`
    would have changed in more than `confidence` of all samples.

    Parameters
    ----------
    number : int
        Queries, or other items, that were looked at; at least one.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    float
        ``1 - (1 - confidence) ** (1 / number)``: about 3 / `number` at 95 %.
    """
    return float(1 - (1 - confidence) ** (1 / number))
