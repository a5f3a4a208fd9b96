"""Memory over thousands of slices: do `agd-predict` and `agd-train` hold one case at a time?

Predicts a folder of patients with the code of the command and a small untrained network, and prints
the highest resident memory of the process within each thousand of slices. Patients are by turns
TIFF pictures and NIfTI volumes of 20 slices of 256 by 256 pixels, links to a few made-up ones.
Fails if the last thousand needs more than a twentieth more than the second: the first ones load
libraries and trace the graph. Linux only, which tells the peak since it was last asked.

With `--train` it prints what `agd-train` needs for an epoch on three cases and on thirty of 16-bit
NIfTI, 240x240x155 voxels in four contrasts, and fails if thirty need a tenth more.

    python benchmarks/memory.py [--train]
"""

import argparse
import json
import os
import re
import subprocess
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


def make_nnunet(root: Path, cases: int) -> None:
    """Writes cases as nnU-Net has them, which are links to the bytes of one."""
    contrasts = ("T1", "T1c", "T2", "FLAIR")
    spec = {"channel_names": dict(enumerate(contrasts)), "file_ending": ".nii.gz"}
    spec["labels"] = {"background": 0, "tumour": 1}
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps(spec))
    x, y, z = np.ogrid[-120:120, -120:120, -77:78]
    head, tumour = (x**2 + y**2 + (1.4 * z) ** 2 < r**2 for r in (100, 20))
    random = np.random.default_rng(0)
    for number in range(cases):
        names = [f"imagesTr/case{number:03}_{place:04}" for place in range(4)]
        for name in (*names, f"labelsTr/case{number:03}"):
            path = root / f"{name}.nii.gz"
            if number:
                os.link(root / f"{name.replace(f'case{number:03}', 'case000')}.nii.gz", path)
                continue
            volume = tumour.astype(np.uint8)
            if "images" in name:
                volume = (head * random.normal(900, 90, head.shape)).astype(np.int16)
                volume[tumour] += 400
            nibabel.Nifti1Image(volume, np.diag([-1.0, -1, 1, 1])).to_filename(path)


def peak_of_training(folder: Path, cases: int) -> float:
    """What `agd-train` says it needed, in GB."""
    make_nnunet(folder / "data", cases)
    command = [Path(sys.executable).with_name("agd-train"), "--data", folder / "data"]
    command += ["--out", folder / "run", "--preset", "agd_tiny", "--epochs", "1"]
    said = subprocess.run(
        [*map(str, command), "--set", "data.image_size=64"],
        env=os.environ | {"AGD_KERAS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    found = re.search(r"peak memory ([\d.]+) GB", said.stdout)
    if not found:
        sys.exit(f"benchmarks/memory.py: agd-train ended with {said.returncode}: {said.stderr}")
    return float(found[1])


def measure_training() -> None:
    print("| cases | peak GB of agd-train |\n|---:|---:|")
    peaks = []
    for cases in (3, 30):
        with tempfile.TemporaryDirectory() as temporary:
            peaks.append(peak_of_training(Path(temporary), cases))
        print(f"| {cases} | {peaks[-1]:.2f} |", flush=True)
    print(f"\nten times the cases: {peaks[1] / peaks[0] - 1:+.1%}")
    if peaks[1] > 1.1 * peaks[0]:
        sys.exit("benchmarks/memory.py: memory grows with the number of cases")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=10_000)
    parser.add_argument("--train", action="store_true", help="measure agd-train")
    options = parser.parse_args()
    if options.slices < 2000:
        parser.error(f"--slices {options.slices}: expected at least 2000, to compare thousands")
    if sys.platform != "linux":
        sys.exit("benchmarks/memory.py: expected Linux")
    if options.train:
        measure_training()
        return
    if options.slices < 2000:
        sys.exit(f"--slices {options.slices}: expected at least 2000, to compare thousands")
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
