"""Environments: from `environment-torchNNN.yml` to a prefix on disk with a Jupyter kernel of the same name.

`spec` reads the file, `lock` its lock, `backends` put packages into a prefix, `manage` does the whole of it so that
nothing half-made is ever taken for an environment, and `kernels` says how a process runs inside one.
"""

from __future__ import annotations

from reportlib.environments.kernels import check, process_environment, write_kernel
from reportlib.environments.lock import write_lock
from reportlib.environments.manage import adopt, create, remove
from reportlib.environments.record import EnvironmentRecord, load_record, records
from reportlib.environments.spec import EnvironmentSpec, load_spec, spec_names

__all__ = [
    "EnvironmentRecord",
    "EnvironmentSpec",
    "adopt",
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
