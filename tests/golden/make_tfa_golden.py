"""Makes tfa.npz: what tensorflow-addons 0.23.0 says for a few small inputs.

tensorflow-addons is no longer developed and does not import beside a current TensorFlow. This
script therefore builds an environment of its own (Python 3.10 or 3.11), in `.venvs/tfa`, and runs
itself in it:

    python tests/golden/make_tfa_golden.py
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parents[1] / ".venvs" / "tfa"
PACKAGES = ["tensorflow-cpu==2.15.1", "tensorflow-addons==0.23.0", "numpy<2"]

ANGLES = [0.3, -1.1]  # radians
# On 31 × 51 pixels, a fifth of a pixel a row or column is a whole number of pixels at the centre,
# and no position falls half-way between two pixels, where rounding would decide.
SHEAR = 0.2


def make(path):
    import numpy as np
    import tensorflow as tf
    import tensorflow_addons as tfa
    from tensorflow_addons.image.transform_ops import angles_to_projective_transforms

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (31, 51, 3)).astype("float32")
    images = np.stack([image[..., :1]] * len(ANGLES))
    truth = (rng.random((2, 200, 1)) < 0.2).astype("float32")
    probability = rng.random(truth.shape).astype("float32")
    probability[0, :4, 0] = truth[0, :4, 0] = [0, 1, 0, 1]  # certain and right
    probability[0, 4:8, 0], truth[0, 4:8, 0] = [0.9, 0.1, 0.5, 0.5], [0, 1, 0, 1]
    golden = {"image": image, "truth": truth, "probability": probability}

    for alpha in (0.25, 0.75):
        loss = tfa.losses.SigmoidFocalCrossEntropy(alpha=alpha, gamma=2.0)
        golden[f"focal_{alpha}"] = loss(truth, probability)

    # The batches one after the other: values of running metrics.
    f1 = tfa.metrics.F1Score(num_classes=1, threshold=0.45)
    confusion = tfa.metrics.MultiLabelConfusionMatrix(num_classes=1)
    for t, p in zip(truth, probability, strict=True):
        f1.update_state(t, p)
        confusion.update_state(t, (p > 0.45).astype("float32"))
    golden["f1"] = f1.result()
    golden["confusion"] = confusion.result()[0]  # [[TN, FP], [FN, TP]]

    golden["angles"] = np.array(ANGLES, "float32")
    golden["rotation_matrices"] = angles_to_projective_transforms(
        tf.constant(ANGLES), tf.constant([31.0]), tf.constant([51.0])
    )
    for method in ("bilinear", "nearest"):
        golden[f"rotated_{method}"] = tfa.image.rotate(images, ANGLES, interpolation=method)
    golden["shear"] = np.float32(SHEAR)
    golden["sheared_x"] = tfa.image.shear_x(image, SHEAR, replace=0)
    golden["sheared_y"] = tfa.image.shear_y(image, SHEAR, replace=0)

    temporary = path.with_name("tfa.tmp.npz")
    np.savez_compressed(temporary, **{key: np.asarray(value) for key, value in golden.items()})
    os.replace(temporary, path)
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    if sys.version_info[:2] not in ((3, 10), (3, 11)):
        sys.exit("tensorflow-addons 0.23.0 needs Python 3.10 or 3.11")
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "ready").exists():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (ENVIRONMENT / "ready").touch()
    subprocess.run([python, __file__, "inside"], check=True, env={**os.environ, "PYTHONPATH": ""})


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        make(HERE / "tfa.npz")
    else:
        main()
