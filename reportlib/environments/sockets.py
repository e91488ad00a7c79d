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


class SocketProvisioner(LocalProvisioner):
    """Start a kernel over Unix sockets, in a folder with a short name: theirs may have 103 characters at most."""

    _sockets: Path | None = None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose the sockets before the kernel's connection file is written; a kernel started again keeps them."""
        if self.parent is not None and self._sockets is None:
            self._sockets = Path(tempfile.mkdtemp(prefix="reportlib-"))
            self.parent.transport = "ipc"
            self.parent.ip = str(self._sockets / "kernel")
        return await super().pre_launch(**kwargs)

    async def cleanup(self, restart: bool = False) -> None:
        """Take the folder away with the kernel."""
        await super().cleanup(restart=restart)
        if self._sockets is not None and not restart:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
