"""Environments: from `environment-torchNNN.yml` to a prefix on disk with a Jupyter kernel of the same name.

`spec` reads the file and its lock, `further` makes files for other versions of torch, `backends` put packages into a
prefix, `manage` does the whole of it so that nothing half-made is ever taken for an environment, and `record` describes
one that is finished, and how a process runs inside it.
"""

from __future__ import annotations

from reportlib.environments.manage import adopt, by_prefix, create, remove
from reportlib.environments.record import (
    EnvironmentRecord,
    check,
    load_record,
    process_environment,
    records,
    write_kernel,
)
from reportlib.environments.spec import EnvironmentSpec, load_spec, spec_names, write_lock

__all__ = [
    "EnvironmentRecord",
    "EnvironmentSpec",
    "adopt",
    "by_prefix",
    "check",
    "create",
    "load_record",
    "load_spec",
    "process_environment",
    "records",
    "remove",
    "spec_names",
    "write_kernel",
    "write_lock",
]
