"""Memory over thousands of slices: does `agd-predict` hold one case at a time?

Predicts a folder of patients with the code of the command and a small untrained network, and prints
the highest resident memory of the process within each thousand of slices. Patients are by turns
TIFF pictures and NIfTI volumes of 20 slices of 256 by 256 pixels, links to a few made-up ones.
Fails if the last thousand needs more than a twentieth more than the second: the first ones load
libraries and trace the graph. Linux only, which tells the peak since it was last asked.

    python benchmarks/memory.py
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import psutil

from agd_keras.data.phantom import make_phantom
from agd_keras.io.image_files import read_image
from agd_keras.training.quiet import load_keras

SLICES, DIFFERENT = 20, 5  # of a patient; patients that are not links to the same pixels


def make_cases(folder: Path, patients: int) -> None:
    """Fills `folder/cases` with patients, which share the bytes of a few."""
    phantom = make_phantom(folder / "phantom", patients=DIFFERENT, slices=SLICES)
    sources = sorted(path for path in phantom.iterdir() if path.is_dir())
    cases = folder / "cases"
    cases.mkdir()
    for source in sources:
        images = np.stack(
            [read_image(source / f"{source.name}_{i + 1}.tif") for i in range(SLICES)]
        )
        volume = nibabel.Nifti1Image(images.transpose(2, 1, 0, 3), np.diag([-1, -1, 5, 1]))
        volume.to_filename(folder / f"{source.name}.nii.gz")
    for number in range(patients):
        source = sources[number // 2 % DIFFERENT]
        name = f"case_{number:05}"
        if number % 2:
            os.link(folder / f"{source.name}.nii.gz", cases / f"{name}.nii.gz")
            continue
        (cases / name).mkdir()
        for i in range(SLICES):
            picture = source / f"{source.name}_{i + 1}.tif"
            os.link(picture, cases / name / f"{name}_{i + 1}.tif")


def peak_since_last() -> float:
    """Highest resident memory in MB since the last call, as the kernel counts it."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=10_000)
    options = parser.parse_args()
    if options.slices < 2000:
        parser.error(f"--slices {options.slices}: expected at least 2000, to compare thousands")
    if sys.platform != "linux":
        sys.exit("benchmarks/memory.py: expected Linux")
    load_keras()
    from agd_keras.inference.predict_files import predict_files
    from agd_keras.inference.predictor import Predictor
    from agd_keras.models import agd_autoencoder

    predictor = Predictor([agd_autoencoder((64, 64, 3), filters=(4, 8))])
    step = 1000 // SLICES
    peaks = []
    start = time.perf_counter()

    def report(done: int, total: int) -> None:
        if done % step == 0:
            peaks.append(peak_since_last())
            now = psutil.Process().memory_info().rss / 1e6
            print(f"| {done * SLICES:,} | {peaks[-1]:.0f} | {now:.0f} |", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_cases(folder, options.slices // SLICES)
        print("| slices so far | peak MB within the last 1,000 | MB after them |\n|---:|---:|---:|")
        peak_since_last()
        rows = predict_files(predictor, [folder / "cases"], folder / "out", progress=report)
    grown = peaks[-1] - peaks[1]
    seconds = time.perf_counter() - start
    print(f"\n{len(rows)} patients in {seconds:.0f} s")
    print(f"from the second to the last thousand: {grown:+.0f} MB")
    if grown > 0.05 * peaks[1]:
        sys.exit("benchmarks/memory.py: memory grows with the number of slices")


if __name__ == "__main__":
    main()
