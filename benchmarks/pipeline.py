"""Speed of the input pipeline, beside a chain of Keras layers and what training consumes.

Rows of the table, each fed by the same cache on disk in batches, all of them shuffled:

- `read`: reading and decoding only.
- `strong`: with the recipe `strong`: every move in one matrix, then intensity.
- `keras chain`: reading, then a Keras layer for each kind of change with the ranges of `strong`, on
  whole batches of images and masks: flip, rotation, shear, zoom, translation, crop and resizing
  back, brightness, contrast. It leaves out the noise and the replacement of channels.
- `training step`: one step of the model from a batch in memory, as `agd-train` compiles it.
- `step, fed`: the same, fed by `strong`.

Wall and processor time are medians over rounds, in which the rows take turns.

    python benchmarks/pipeline.py --data data/kaggle_3m
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import keras
import tensorflow as tf

from agd_keras.config import make_config, merge
from agd_keras.data.cache import Cache, build_cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.datasets import find_data
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.recipes import RECIPES
from agd_keras.presets import preset_values
from agd_keras.runs.environment import describe_environment
from agd_keras.training.build import build_model, compile_model
from agd_keras.training.devices import resolve_precision


def keras_chain(dataset: tf.data.Dataset, size: int) -> tf.data.Dataset:
    """The changes of recipe `strong`, one layer each, on a dataset of batches."""
    recipe = RECIPES["strong"]
    constant = {"fill_mode": "constant", "fill_value": -2.0}
    zoom = tuple(1 / limit - 1 for limit in reversed(recipe.zoom))
    kept = round(size * (1 + recipe.crop) / 2)
    chain = [
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomRotation(recipe.rotation / 360, **constant),
        keras.layers.RandomShear(recipe.width_shear, recipe.height_shear, **constant),
        keras.layers.RandomZoom(zoom, **constant),
        keras.layers.RandomTranslation(recipe.translation, recipe.translation, **constant),
        keras.layers.RandomCrop(kept, kept),
        keras.layers.Resizing(size, size),
        keras.layers.RandomBrightness(recipe.offset / 10, value_range=(-5, 5)),
        keras.layers.RandomContrast(recipe.contrast, value_range=(-5, 5)),
    ]

    def change(inputs: dict, targets: dict) -> tuple[dict, dict]:
        batch = {"images": inputs, "segmentation_masks": targets["mask"]}
        for layer in chain:
            batch = layer(batch, training=True)
        mask = batch["segmentation_masks"]
        return batch["images"], {"mask": mask, "edge": mask}

    return dataset.map(change, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def reader(dataset: tf.data.Dataset) -> Callable[[int], None]:
    """Takes batches and does nothing with them."""
    batches = iter(dataset)

    def take(count: int) -> None:
        for _ in range(count):
            next(batches)

    take(10)  # the first ones trace and tune
    return take


def trainer(model: keras.Model, dataset: tf.data.Dataset) -> Callable[[int], None]:
    """Trains a model on batches."""
    batches = iter(dataset)

    def train(count: int) -> None:
        for _ in range(count):
            inputs, targets = next(batches)
            model.train_on_batch(inputs, {name: targets[name] for name in model.output_names})

    train(3)
    return train


def measure(job: Callable[[int], None], batches: int) -> tuple[float, float]:
    """Wall and processor seconds of a number of batches."""

    def processor() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    wall, busy = time.perf_counter(), processor()
    job(batches)
    return time.perf_counter() - wall, processor() - busy


def compare(cache: Cache, options: argparse.Namespace) -> None:
    """Prints the table of one image size."""
    size = cache.image_size
    config = make_config(merge(preset_values(options.preset), {"data": {"image_size": size}}))
    model = build_model(config.model, size, resolve_precision("auto"))
    compile_model(model, config.training, steps=100)

    def stream(augment: str) -> tf.data.Dataset:
        return make_dataset(cache, cache.slices, options.batch, augment, training=True)

    held = next(iter(stream("strong")))
    memory = tf.data.Dataset.from_tensors(held).repeat()
    # Name, what makes the job, batches a round. A pipeline works ahead while it is not asked: each
    # job lives in its own turn only, so that none disturbs the next.
    rows: list[tuple[str, Callable[[], Callable[[int], None]], int]] = [
        ("read", lambda: reader(stream("none")), options.batches),
        ("strong", lambda: reader(stream("strong")), options.batches),
        ("keras chain", lambda: reader(keras_chain(stream("none"), size)), options.batches),
        ("training step", lambda: trainer(model, memory), max(1, options.batches // 4)),
        ("step, fed", lambda: trainer(model, stream("strong")), max(1, options.batches // 4)),
    ]
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name, _, _ in rows}
    for _ in range(options.rounds):
        for name, make, batches in rows:
            seconds = measure(make(), batches)
            milliseconds = tuple(1000 * one / (batches * options.batch) for one in seconds)
            times[name].append(milliseconds)

    print(f"\n{size} x {size}, batch {options.batch}, {options.preset}\n")
    print("| | slices/s | wall ms/slice | processor ms/slice |\n|---|---:|---:|---:|")
    wall, busy = ({k: statistics.median(t[i] for t in v) for k, v in times.items()} for i in (0, 1))
    for name in times:
        print(f"| {name} | {1000 / wall[name]:.0f} | {wall[name]:.2f} | {busy[name]:.2f} |")
    print(
        f"\nstrong against the chain: {wall['keras chain'] / wall['strong']:.1f} times as fast, "
        f"{busy['keras chain'] / busy['strong']:.1f} times less processor time."
        f"\nstrong against the training step: {wall['strong'] / wall['training step']:.1%} of its "
        f"wall time, {busy['strong'] / busy['training step']:.1%} of its processor time; "
        f"a fed step takes {wall['step, fed'] / wall['training step'] - 1:+.1%}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="phantom", help="`phantom` or a kaggle_3m folder")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="image sizes")
    parser.add_argument("--batch", type=int, default=16, help="slices in a batch")
    parser.add_argument("--batches", type=int, default=80, help="batches a row and round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take medians over")
    parser.add_argument("--preset", default="agd_small", help="model of the training step")
    options = parser.parse_args()
    cases = find_data(options.data)
    where = describe_environment(resolve_precision("auto"))
    print(
        f"{where['processor']}, {where['cores']} cores, {where['device']}, {where['precision']}; "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}; "
        f"{sum(len(case.files) for case in cases)} slices"
    )
    for size in options.sizes:
        compare(build_cache(cases, Preprocessor(size)), options)


if __name__ == "__main__":
    main()
