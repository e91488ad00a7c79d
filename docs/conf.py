"""Sphinx: `make docs` builds this folder; a link or a reference that leads nowhere is an error."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]

project = "reportlib"
release = re.findall(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)[0]
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "reportlib"
autodoc_typehints = "none"
numpydoc_show_class_members = False
# What runs inside an environment is described here too, where none of these is installed.
autodoc_mock_imports = ["torch", "colbert", "faiss", "transformers"]
