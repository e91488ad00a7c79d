"""Large collections, and light imports for the environments."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

from reportlib.collections.sources import prepare
from reportlib.study import CollectionSpec


def test_texts_are_streamed_and_never_held(tmp_path: Path) -> None:
    count, text = 20_000, "word " * 300
    with (tmp_path / "c.tsv").open("w") as out:
        out.writelines(f"{n}\t{text}\n" for n in range(count))
    seen: list[tuple[str, int]] = []
    tracemalloc.start()
    try:
        found = prepare(
            CollectionSpec("tsv", "c.tsv"),
            base=tmp_path,
            home=tmp_path / "home",
            progress=lambda what, done: seen.append((what, done)),
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.passages == count
    # What grows with the collection are 8 bytes a passage; the rest is imports on first use.
    assert (tmp_path / "c.tsv").stat().st_size > 30_000_000
    assert peak < 8_000_000
    assert seen[:3] == [("passages", 10_000), ("passages", 20_000), ("passages", 20_000)]


def test_importing_the_reading_half_needs_nothing_of_the_host() -> None:
    code = (
        "import sys; import reportlib.collections.sources, reportlib.checkpoints; "
        "print(*{'uv', 'filelock', 'datasets', 'huggingface_hub', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == ""
