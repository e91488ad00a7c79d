"""Run a study from its `study.toml` to its page.

`run` resolves the study into a plan, arms with the address of each capture, and hands it to Snakemake; the Snakefile
beside it says what is made from what.
"""
