"""How long the page in the browser takes, and how much it brings along: `benchmarks/web.py`.

Needs `make web`, node 20 and Chromium. Prints tables in Markdown, best of several rounds.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nibabel
import numpy as np

from agd_keras.data.anatomy import make_patient

SCANS = {"20 slices of 256 × 256": (20, 256, 5.0), "155 slices of 240 × 240": (155, 240, 1.0)}
MODEL = ("patient.onnx",)
RUNTIME = ".wasm.gz"
SCRIPT = Path(__file__).parents[1] / "web" / "test" / "speed.mjs"


def write_scans(folder: Path) -> dict[str, Path]:
    """Writes a computed head of each size, FLAIR alone, packed."""
    found = {}
    for name, (slices, size, thickness) in SCANS.items():
        images = np.array(make_patient(seed=1, number=1, slices=slices, size=size)[0])
        volume = images[..., 1].astype(np.int16).transpose(2, 1, 0)
        found[name] = folder / f"{slices}x{size}.nii.gz"
        affine = np.diag([-240 / size, -240 / size, thickness, 1])
        nibabel.Nifti1Image(volume, affine).to_filename(found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="agd_small")
    parser.add_argument("--site", type=Path, help="a folder of agd-export --format web")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = arguments.site or Path(folder) / "site"
        if not arguments.site:
            from agd_keras.export.web import export_web

            export_web(arguments.model, site, "phantom")
        scans = write_scans(Path(folder))
        done = subprocess.run(
            [shutil.which("node") or "node", SCRIPT, site, *scans.values()],
            env={**os.environ, "ROUNDS": str(arguments.rounds)},
            stdout=subprocess.PIPE,
            check=True,
        )
    measured = json.loads(done.stdout)
    sizes = measured["bytes"]
    model = sum(sizes[name] for name in MODEL)
    kept = sum(sizes.values()) - sizes.get("parity.json", 0)
    runtime = sum(size for name, size in sizes.items() if name.endswith(RUNTIME))
    print(
        f"page without model: {(kept - model) / 1e6:.1f} MB, of it runtime: {runtime / 1e6:.1f} MB"
    )
    print(f"model: {model / 1e6:.1f} MB\n")
    columns = ("threads", "drop to mask, s", "network, s", "processor time, s", "page's task, ms")
    print(f"| | {' | '.join(columns)} |")
    print("|---|---:|---:|---:|---:|---:|")
    for run in measured["runs"]:
        for name, path in scans.items():
            times = run["times"][path.name]
            total, network, worker = (times[key] / 1000 for key in ("total", "network", "worker"))
            figures = f"{total:.1f} | {network:.1f} | {worker:.1f} | {times['gap']:.0f}"
            print(f"| {name} | {run['threads']} | {figures} |")
    first = measured["runs"][0]
    print("\nprocessor time of the worker, and of the longest task of the page, without answers")
    print(f"page loaded in {first['load'] / 1000:.1f} s, session {first['session'] / 1000:.1f} s")
    print(f"cores: {os.cpu_count()}, load: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
