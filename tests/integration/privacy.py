"""What must never be in a file that is published."""

from __future__ import annotations

import getpass
import re
import socket
from pathlib import Path

ROOT = Path(__file__).parents[2]


def private_words(text: str) -> list[str]:
    """Return what in `text` names this machine or its user; torch's own build options have a /opt/.../root/ in them."""
    words = (str(Path.home()), str(ROOT), socket.gethostname(), f"/home/{getpass.getuser()}")
    return [word for word in words if re.search(rf"(?<![\w.-]){re.escape(word)}\b", text)]
