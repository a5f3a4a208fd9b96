"""How long a training step takes, and with it an epoch: `python benchmarks/training_step.py`.

Random images and masks of the preset's size and batch, the first two steps left out, which trace
the graph. An epoch is as many steps as `--slices` fill.
"""

import argparse
import time
from statistics import median

import numpy as np

from agd_keras.config import make_config
from agd_keras.presets import PRESETS
from agd_keras.training.quiet import load_keras


def main() -> None:
    """Prints a row for each preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", action="append", choices=PRESETS, help="default: all")
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed (default: 5)")
    parser.add_argument(
        "--slices", type=int, default=1667, help="of an epoch (default: six tenths of 2,778)"
    )
    arguments = parser.parse_args()
    load_keras()
    from agd_keras.runs.environment import describe_environment
    from agd_keras.training.build import build_model, compile_model
    from agd_keras.training.precision import resolve_precision

    precision = resolve_precision("auto")
    where = describe_environment(precision)
    print(f"{where['processor']}, {where['cores']} cores, {where['device']}, {precision}; medians")
    print("| preset | weights | seconds a step | slices/s | minutes an epoch |")
    print("|---|---:|---:|---:|---:|")
    random = np.random.default_rng(0)
    for preset in arguments.preset or PRESETS:
        config = make_config({"preset": preset})
        size, batch = config.data.image_size, config.training.batch_size
        model = build_model(config.model, size, precision)
        compile_model(model, config.training, steps=100)
        images = random.normal(size=(batch, size, size, 3)).astype("float32")
        mask = (random.random((batch, size, size, 1)) > 0.99).astype("float32")
        targets = dict.fromkeys(model.output_names, mask)
        seconds = []
        for _ in range(2 + arguments.steps):
            start = time.perf_counter()
            model.train_on_batch(images, targets)
            seconds.append(time.perf_counter() - start)
        step = median(seconds[2:])
        epoch = arguments.slices // batch * step / 60
        figures = f"{model.count_params():,} | {step:.2f} | {batch / step:.1f} | {epoch:.1f}"
        print(f"| {preset} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
