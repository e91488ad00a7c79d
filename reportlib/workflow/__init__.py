"""Run a study from its `study.toml` to its page.

`plan` resolves the study into arms with the address of each capture, the Snakefile beside it says what is made from
what, and `run` hands the one to the other.
"""
