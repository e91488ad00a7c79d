"""Kernels that speak over sockets in a folder of their own, not over ports that another process can take.

jupyter_client finds five free ports and frees them again before the kernel takes them. What takes the one for outputs
in between, such as an arm that starts beside it, leaves a kernel that lives and never answers.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from zmq import IPC_PATH_MAX_LEN


class SocketProvisioner(LocalProvisioner):
    """Start a kernel over Unix sockets; over ports where temporary files have too long a path for a socket's name."""

    _sockets: Path | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose the sockets before the kernel's connection file is written; a kernel started again keeps them."""
        if self.parent is not None and self._sockets is None:
            self._sockets = Path(tempfile.mkdtemp(prefix="reportlib-"))
            name = str(self._sockets / "kernel")
            # jupyter_client puts a number to it.
            if len(f"{name}-5".encode()) <= IPC_PATH_MAX_LEN:
                self.parent.transport = "ipc"
                self.parent.ip = name
        return await super().pre_launch(**kwargs)

    async def cleanup(self, restart: bool = False) -> None:
        """Take the folder away with the kernel."""
        await super().cleanup(restart=restart)
        if self._sockets is not None and not restart:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
