"""Every notebook runs from its first cell to its last, in less than half a minute, and draws.

With SUPERNODE_GALLERY set to a folder the plots are written there; that is how those of docs/gallery.md were made.
"""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "python/notebooks").glob("*.ipynb"))
PLOTS = {
    "calibrate_your_own_chip": 2,
    "capacity_planning": 2,
    "failures": 2,
    "quickstart": 2,
    "sweeps_on_ray": 1,
}


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook_runs(file: Path, cli: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERNODE_BIN", cli)
    book = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "notebooks are kept without their outputs"
    start = time.perf_counter()
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    took = time.perf_counter() - start
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    plots = [base64.b64decode(out["data"]["image/png"]) for out in outputs if "image/png" in out.get("data", {})]
    assert len(plots) == PLOTS[file.stem] and all(len(plot) > 5_000 for plot in plots)
    words = [out["text"] for out in outputs if out.get("name") == "stderr"]
    # tqdm, which Ray brings along, misses widgets that nobody needs.
    assert not any("Warning" in text and "tqdm" not in text for text in words), words
    folder = os.environ.get("SUPERNODE_GALLERY")
    if folder:
        for number, plot in enumerate(plots, 1):
            (Path(folder) / f"{file.stem.replace('_', '-')}-{number}.png").write_bytes(plot)
    limit = 30 * float(os.environ.get("SUPERNODE_SLOWNESS", "1"))
    assert took < limit, f"{took:.0f} s"
