"""Prose out of docstrings: what is kept, what is left out, how it becomes passages and queries."""

import textwrap
from pathlib import Path

import pytest

from reportlib.collections.docstrings import (
    LEAST,
    MOST,
    DocstringSource,
    docstrings,
    is_prose,
    join,
    length,
    read_docstring,
)

DOCSTRING = """
    average(a, axis=None, weights=None, *, keepdims=False)

    Compute the weighted average along the specified axis.

    The result is a *new* array; see :func:`numpy.mean` for the plain one [1]_.

    .. versionadded:: 1.7

    .. deprecated:: 1.20
       This is going away and
       nobody should see it.

    .. note::
       Masked values are ignored by this function entirely.

    Parameters
    ----------
    a : array_like
        Array containing data to be averaged.
    axis : None or int or tuple of ints, optional
        Axis or axes along which to average `a`.  The default,
        ``axis=None``, will average over all of the elements.

        .. versionadded:: 1.7.0
    keepdims : bool

    Returns
    -------
    retval, [sum_of_weights] : array_type or double
        Return the average along the specified axis.

    See Also
    --------
    mean : this one takes no weights but is otherwise equal to it.

    Notes
    -----
    The average is computed as follows::

        avg = sum(a * weights) / sum(weights) over all the elements.

    ======  ==================
    Method  What it does to us.
    ======  ==================

    - First point of the list is here.
    - Second point of the list is there.

    References
    ----------
    .. [1] Somebody, "A book that is cited", 1999.

    Examples
    --------
    This sentence is in the examples section.

    >>> data = np.arange(1, 5)
    """


def paragraphs(text: str) -> tuple[str, ...]:
    return read_docstring(textwrap.dedent(text)).paragraphs


def test_a_whole_docstring() -> None:
    found = read_docstring(DOCSTRING)
    assert found.summary == "Compute the weighted average along the specified axis."
    assert found.paragraphs == (
        "The result is a new array; see numpy.mean for the plain one.",
        "Masked values are ignored by this function entirely.",
        "a: Array containing data to be averaged.",
        ("axis: Axis or axes along which to average a. The default, axis=None, will average over all of the elements."),
        "Return the average along the specified axis.",
        "The average is computed as follows:",
        "First point of the list is here.",
        "Second point of the list is there.",
    )


def test_a_docstring_without_a_summary_has_none() -> None:
    assert read_docstring("").summary == ""
    assert read_docstring("Notes\n-----\nThis is a remark about nothing.").summary == ""


@pytest.mark.parametrize(
    "text",
    [
        "f(x, y)",
        "x = np.arange(10).reshape(2, 5)",
        "one two three four five",  # no end
        "Too short.",
        ">>> print the sum of all the numbers.",
        "a[1:2, ...] b[3, 4] c[5:6, 7] d[8] e[9].",
        "======= ======== ======= ====== =====.",
        "the %(name)s of the thing that is formatted later.",
    ],
)
def test_what_is_no_prose(text: str) -> None:
    assert not is_prose(text)


def test_sentences_are_prose() -> None:
    assert is_prose("Return the sum of the array's elements (as a float).")


def test_a_signature_on_two_lines_is_no_summary() -> None:
    found = read_docstring("f(a,\n  b=None)\n\nReturn the smallest of all elements.")
    assert found.summary == "Return the smallest of all elements."


SHORT = tuple(f"Sentence number {n} has seven words here." for n in range(40))
RUN_ON = " ".join(f"clause number {n} goes on and on," for n in range(40)) + " until here."


def test_passages_are_of_nearly_one_length_and_hold_the_text_in_order() -> None:
    for given in (SHORT, (" ".join(SHORT),), (RUN_ON,), ("x" * 3 + " y" * 300 + ".",)):
        passages = join(given)
        assert all(LEAST <= length(p) <= MOST for p in passages)
        assert " ".join(given).startswith(" ".join(passages))
        assert length(" ".join(given)) - length(" ".join(passages)) < LEAST


def test_a_passage_ends_with_a_sentence_where_it_can_or_else_with_a_clause() -> None:
    assert all(p.endswith("here.") for p in join(SHORT))
    assert all(p.endswith(",") for p in join((RUN_ON,))[:-1])


def test_a_word_that_fits_into_no_passage_is_in_none() -> None:
    passages = join((*SHORT[:8], "x" * 5_000 + " is a word.", *SHORT[:8]))
    assert [LEAST <= length(p) <= MOST for p in passages] == [True, True]


def test_a_docstring_of_a_few_words_gives_no_passage() -> None:
    assert join(("See its docstring for more information.",)) == []
    assert join(()) == []


def test_docstrings_of_a_module_are_found_without_running_it() -> None:
    code = """
        '''Module.'''
        raise SystemExit("it was run")
        class C:
            'Class.'
            def m(self):
                'Method.'
        async def f():
            'Function.'
        def g(): pass
        add_newdoc('numpy.core', 'x', 'By call.')
        add_newdoc('numpy.core', 'x', ('real', 'By pair.'))
        add_newdoc('numpy.core', 'y', [('p', 'First.'), ('q', 'Second.')])
        add_newdoc_for_scalar_type('bool_', [], 'Scalar.')
        add_newdoc('numpy.core', 'z', 'Made of {}'.format(1))
        add_newdoc('ArrayLike', 'Union', 'Elsewhere.')
    """
    assert dict(docstrings(textwrap.dedent(code), "pkg.mod")) == {
        "pkg.mod": "Module.",
        "pkg.mod.C": "Class.",
        "pkg.mod.C.m": "Method.",
        "pkg.mod.f": "Function.",
        "numpy.core.x": "By call.",
        "numpy.core.x.real": "By pair.",
        "numpy.core.y.p": "First.",
        "numpy.core.y.q": "Second.",
        "numpy.core.numerictypes.bool_": "Scalar.",
    }


def test_an_invalid_escape_in_the_code_is_no_matter() -> None:
    assert list(docstrings(r"'A \d escape.'", "m")) == [("m", r"A \d escape.")]


@pytest.fixture
def package(tmp_path: Path) -> DocstringSource:
    root = tmp_path / "pkg"
    (root / "tests").mkdir(parents=True)
    body = "This body text is about {} and long enough to be a passage," + " since it says so once more" * 7 + "."
    same = "Every docstring has this very sentence, which is long enough to be a passage, " + "as it is " * 14 + "here."
    functions = "".join(
        f"def f{n}():\n    '''Return the number {w} to you.\n\n    {body.format(w)}\n    '''\n"
        for n, w in enumerate(("one", "two", "three", "two"))
    )
    (root / "__init__.py").write_text(functions)
    (root / "b.py").write_text(
        f"def g():\n    '''Say what is the same.\n\n    {same}\n    '''\n"
        f"def h():\n    '''Say what is other.\n\n    {same}\n    '''\n"
        f"def g():\n    '''Say it once more, please.\n\n    {body.format('g')}\n    '''\n"
    )
    (root / "tests" / "test_a.py").write_text(f"'''{body}'''")
    return DocstringSource(root, "A package", "")


def test_every_query_finds_passages_and_no_passage_holds_its_query(
    package: DocstringSource,
) -> None:
    passages = {p.id: p.text for p in package.passages()}
    queries = {q.id: q.text for q in package.queries()}
    judgements = list(package.judgements())
    assert {j.query for j in judgements} == set(queries)
    assert {j.passage for j in judgements} <= set(passages)
    for judgement in judgements:
        assert judgement.grade == 1
        assert queries[judgement.query] not in passages[judgement.passage]


def test_equal_texts_are_one_passage_and_equal_summaries_one_query(
    package: DocstringSource,
) -> None:
    texts = [p.text for p in package.passages()]
    assert len(texts) == len(set(texts)) == 5
    queries = [q.text for q in package.queries()]
    assert len(queries) == len(set(queries)) == 5


def test_a_name_documented_twice_gives_two_ids(package: DocstringSource) -> None:
    assert "pkg.b.g~" in {p.id.split("#")[0] for p in package.passages()}


def test_tests_are_left_out_and_the_order_is_a_mixed_one(package: DocstringSource) -> None:
    ids = [p.id for p in package.passages()]
    assert not any("tests" in name for name in ids)
    assert ids != sorted(ids)
    assert ids == [p.id for p in DocstringSource(package.root, "", "").passages()]
