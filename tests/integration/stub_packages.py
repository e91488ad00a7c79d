"""Packages made on the spot: wheels for uv, and a conda channel for rattler. No network, no torch."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> Path:
    """Write a wheel with one module that knows its version."""
    folder.mkdir(parents=True, exist_ok=True)
    module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    files = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": "\n".join([*lines, *(f"Requires-Dist: {r}" for r in requires)]) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def _archive(files: dict[str, bytes], links: dict[str, str], executable: set[str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:bz2") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            member.mode = 0o755 if path in executable else 0o644
            tar.addfile(member, io.BytesIO(content))
        for path, target in links.items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


#: Stands for the prefix in packaged files; rattler puts the real one in its place.
PLACEHOLDER = "/opt/placeholder_" + "x" * 80


class Channel:
    """A conda channel in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.packages: dict[str, dict[str, object]] = {}
        for subdir in ("linux-64", "noarch"):
            (folder / subdir).mkdir(parents=True)
        self.publish()

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def publish(self) -> None:
        for subdir, packages in (("linux-64", self.packages), ("noarch", {})):
            content = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}}
            (self.folder / subdir / "repodata.json").write_text(json.dumps(content))

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, str],
        *,
        links: dict[str, str] | None = None,
        depends: tuple[str, ...] = (),
    ) -> Path:
        """Build a package; files that hold PLACEHOLDER get the prefix, files under bin can be run."""
        links = links or {}
        index = {
            "name": name, "version": version, "build": "0", "build_number": 0, "subdir": "linux-64",
            "arch": "x86_64", "platform": "linux", "depends": list(depends),
        }  # fmt: skip
        paths = []
        for path, text in files.items():
            entry: dict[str, object] = {
                "_path": path,
                "path_type": "hardlink",
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "size_in_bytes": len(text.encode()),
            }
            if PLACEHOLDER in text:
                entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
            paths.append(entry)
        paths += [{"_path": p, "path_type": "softlink", "size_in_bytes": 0} for p in links]
        info = {
            "info/index.json": json.dumps(index).encode(),
            "info/paths.json": json.dumps({"paths_version": 1, "paths": paths}).encode(),
            "info/files": "\n".join([*files, *links]).encode(),
        }
        content = {path: text.encode() for path, text in files.items()} | info
        data = _archive(content, links, {path for path in files if path.startswith("bin/")})
        filename = f"{name}-{version}-0.tar.bz2"
        path = self.folder / "linux-64" / filename
        path.write_bytes(data)
        self.packages[filename] = index | {
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
        }
        self.publish()
        return path

    def add_python(self, version: str) -> None:
        """Add a python package: this interpreter, made to take the prefix for its own as a venv does."""
        minor = ".".join(version.split(".")[:2])
        base = Path(sys.base_prefix, "bin")
        self.add(
            "python",
            version,
            {
                "pyvenv.cfg": f"home = {base}\ninclude-system-site-packages = false\n",
                f"lib/python{minor}/site-packages/README.txt": "packages go here\n",
            },
            links={"bin/python": str(base / f"python{minor}")},
        )
