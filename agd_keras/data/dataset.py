"""Batches for training and scoring out of the cache, as `tf.data`."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from agd_keras.data.augment import augment as augment_batch
from agd_keras.data.cache import Cache
from agd_keras.data.cache_entry import BRAIN
from agd_keras.data.recipes import get_recipe
from agd_keras.data.slices import Slice
from agd_keras.errors import InputError

# Random numbers of the two purposes come from seeds (seed + constant, position): apart for any
# two seeds that a user would choose.
ORDER, CHANGES = 0, 1 << 40

# In TensorFlow's errors: the file, and what the operating system said of it.
_ABOUT_A_FILE = re.compile(
    r"(?:^|\}\} )([^;{}]+); "
    r"(No such file or directory|No space left on device|Disk quota exceeded|File too large"
    r"|Permission denied|Input/output error|Stale file handle|Read-only file system)"
)


def make_dataset(
    cache: Cache,
    slices: Sequence[Slice],
    batch_size: int,
    augment: str = "none",
    seed: int = 0,
    training: bool = False,
    tumor_sampling: float = 0.0,
    start: int = 0,
    size: int | None = None,
) -> tf.data.Dataset:
    """Makes batches of images and targets.

    For training the stream is endless: epoch after epoch, each in an order of its own, without a
    gap between them. Every random number is a function of the seed and the place in the stream, so
    the bits do not depend on the number of threads, and `start` continues a stream anywhere.

    Args:
        cache: What `build_cache` returned.
        slices: Slices of the cache to draw from.
        batch_size: Slices in a batch.
        augment: Name of the recipe: `"none"`, `"paper"`, `"strong"`, `"heavy"` or `"scanners"`.
        seed: Seed of the order and of the augmentation.
        training: Endless shuffled stream of full batches. Otherwise all slices once, in the order
            given, the last batch as small as it comes.
        tumor_sampling: For training, the share of draws in proportion to the tumour area, 0 to 1;
            the others are drawn evenly, all of them with replacement. With 0, the default, each
            epoch has every slice exactly once.
        start: Number of batches to skip.
        size: Side of the images in pixels, at most that of the cache. Default: that of the cache.

    Returns:
        A dataset of `(image, {"mask": mask, "edge": mask})`: image of shape
        `(batch, height, width, channels)`, values -5 to 5, mask of shape
        `(batch, height, width, 1)`, or with a channel for each of several regions, values 0 or 1,
        both float32. The target of the edge is the mask: losses and metrics derive the boundary
        from it.

    Raises:
        InputError: There are no slices, or an option is out of range.

    Example:

    >>> import tempfile
    >>> from agd_keras.data import cache, phantom
    >>> from agd_keras.data.preprocessor import Preprocessor
    >>> from agd_keras.io.data_set import find_data_set
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = find_data_set(phantom.make_phantom(f"{folder}/d", 1, 4, size=32))
    ...     cached = cache.build_cache(found, Preprocessor(16), root=f"{folder}/c")
    ...     stream = make_dataset(cached, cached.slices, 2, augment="strong", training=True)
    ...     image, targets = next(iter(stream))
    >>> image.shape, targets["mask"].shape
    (TensorShape([2, 16, 16, 3]), TensorShape([2, 16, 16, 1]))
    """
    recipe, channels = get_recipe(augment), cache.preprocessor.channels
    if not slices:
        raise InputError("the data set has no slices")
    if batch_size < 1 or start < 0:
        raise InputError(f"batch_size {batch_size}, start {start}: expected at least 1 and 0")
    if not 0 <= tumor_sampling <= 1 or (tumor_sampling and not training):
        raise InputError(f"tumor_sampling {tumor_sampling}: expected 0 to 1, in training only")
    areas = np.array([cache.areas[slice_.name] for slice_ in slices], dtype=np.float64)
    if tumor_sampling and not areas.any():
        raise InputError(f"tumor_sampling {tumor_sampling}: no slice has tumour to draw by")

    paths = tf.constant([str(cache.path(slice_)) for slice_ in slices])
    first = start * batch_size
    if training:
        by_area = tumor_sampling > 0
        choose = _by_area(areas, tumor_sampling, seed) if by_area else _shuffle(len(slices), seed)
        positions = tf.data.Dataset.counter(first)
    else:
        choose = tf.identity
        positions = tf.data.Dataset.range(first, len(slices))

    def load(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return read_slice(tf.gather(paths, choose(position)), cache.preprocessor.input_shape)

    def change(batch: tf.Tensor, slices: tuple[tf.Tensor, tf.Tensor]) -> tuple[dict, dict]:
        image = tf.cast(slices[0], tf.float32)
        mask = tf.concat([(slices[1] & bit) // bit for bit in cache.bits], axis=-1)
        brain = (slices[1] & BRAIN) // BRAIN
        draws = tf.stack([seed + CHANGES, batch])
        image, mask = augment_batch(image, mask, draws, recipe, brain, size, channels)
        mask = tf.cast(mask, tf.float32)
        return image, {"mask": mask, "edge": mask}

    dataset = positions.map(load, tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=training)
    dataset = dataset.enumerate(start).map(change, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.deterministic = True
    # Slices are numbered, not files listed: workers share them out by number.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


@contextmanager
def naming_files() -> Iterator[None]:
    """Turns an error of TensorFlow about a file into one line that names it.

    Such as of a cache that was cleaned away, or of a full disk.

    Raises:
        InputError: TensorFlow could not read or write a file.

    Example:

    >>> with naming_files():
    ...     tf.io.read_file("no/such.raw")
    Traceback (most recent call last):
    ...
    agd_keras.errors.InputError: no/such.raw: No such file or directory; --resume goes on from here
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = _ABOUT_A_FILE.search(error.message)
        if found is None:
            raise
        line = f"{found[1]}: {found[2]}; --resume goes on from here"
        raise InputError(line) from error


def read_slice(path: tf.Tensor, input_shape: tuple[int, int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads a file of the cache.

    Args:
        path: String scalar.
        input_shape: Height, width and channels of the image.

    Returns:
        Image, float16 of that shape, and mask, uint8 of shape `(height, width, 1)`, whose bits are
        those of `Cache`.
    """
    raw = tf.io.read_file(path)
    height, width, channels = input_shape
    split = 2 * height * width * channels
    image = tf.io.decode_raw(tf.strings.substr(raw, 0, split), tf.float16)
    mask = tf.io.decode_raw(tf.strings.substr(raw, split, height * width), tf.uint8)
    return tf.reshape(image, input_shape), tf.reshape(mask, (height, width, 1))


def _shuffle(count: int, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Place in the stream -> slice: a permutation for each epoch, without holding it in memory."""

    def choose(position: tf.Tensor) -> tf.Tensor:
        epoch, place = position // count, position % count
        order = tf.stack([tf.constant(seed + ORDER, tf.int64), epoch])
        return tf.random.experimental.index_shuffle(place, order, tf.constant(count - 1, tf.int64))

    return choose


def _by_area(areas: np.ndarray, share: float, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Place in the stream -> slice, drawn with the probability its tumour area gives it."""
    probability = share * areas / areas.sum() + (1 - share) / len(areas)
    steps = tf.constant(np.cumsum(probability)[:-1])

    def choose(position: tf.Tensor) -> tf.Tensor:
        state = tf.stack([tf.constant(seed + ORDER, tf.int64), position])
        number = tf.random.stateless_uniform((1,), state, dtype=tf.float64)
        return tf.searchsorted(steps, number, side="right", out_type=tf.int64)[0]

    return choose
