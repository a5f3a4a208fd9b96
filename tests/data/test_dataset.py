import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from agd_keras.data.cache import build_cache
from agd_keras.data.dataset import make_dataset
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.errors import InputError
from agd_keras.io.data_set import find_data_set

SIZE = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_phantom(tmp_path_factory.mktemp("d") / "data", 3, 5, size=32)


@pytest.fixture(scope="module")
def cache(data, tmp_path_factory):
    return build_cache(find_data_set(data), Preprocessor(SIZE), tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def slices(cache):
    return cache.slices


def take(dataset, batches):
    """Images and masks of the first batches, stacked along the batch axis."""
    pairs = [(x.numpy(), y["mask"].numpy()) for x, y in dataset.take(batches)]
    return tuple(np.concatenate(arrays) for arrays in zip(*pairs, strict=True))


def numbers(cache, slices, images):
    """Which slice each image is."""
    known = {cache.read(one)[0].tobytes(): number for number, one in enumerate(slices)}
    assert len(known) == len(slices)
    return np.array([known[image.tobytes()] for image in images])


def test_in_order_once(cache, slices):
    batches = list(make_dataset(cache, slices, 4))
    assert [len(x) for x, _ in batches] == [4, 4, 4, 3]
    images, masks = take(make_dataset(cache, slices, 4), -1)
    for one, image, mask in zip(slices, images, masks, strict=True):
        expected = cache.read(one)
        np.testing.assert_array_equal(image, expected[0])
        np.testing.assert_array_equal(mask[..., 0], expected[1])


@pytest.mark.parametrize("training", [False, True])
def test_element_spec(cache, slices, training):
    batch = 4 if training else None
    image, mask = (tf.TensorSpec((batch, SIZE, SIZE, c), tf.float32) for c in (3, 1))
    dataset = make_dataset(cache, slices, 4, "strong", training=training)
    assert dataset.element_spec == (image, {"mask": mask, "edge": mask})
    assert dataset.cardinality() == (tf.data.INFINITE_CARDINALITY if training else 4)
    for _, targets in dataset.take(1):
        np.testing.assert_array_equal(targets["mask"], targets["edge"])


def test_each_epoch_visits_every_slice_once(cache, slices):
    dataset = make_dataset(cache, slices, 4, seed=1, training=True)
    drawn = numbers(cache, slices, take(dataset, 15)[0]).reshape(4, len(slices))
    np.testing.assert_array_equal(np.sort(drawn), [np.arange(len(slices))] * 4)
    assert len({tuple(epoch) for epoch in drawn}) == 4  # each in an order of its own
    other = take(make_dataset(cache, slices, 4, seed=2, training=True), 15)[0]
    assert (numbers(cache, slices, other).reshape(4, -1) != drawn).any(axis=1).all()


def test_a_batch_may_be_larger_than_the_data(cache, slices):
    images, _ = take(make_dataset(cache, slices, 40, training=True), 1)
    counts = np.bincount(numbers(cache, slices, images), minlength=len(slices))
    assert counts.min() == 2 and counts.max() == 3


@pytest.mark.parametrize("tumor_sampling", [0.0, 0.5])
def test_seed_decides_every_bit_whatever_the_threads(cache, slices, tumor_sampling):
    def stream(seed, threads=None):
        options = tf.data.Options()
        if threads:
            options.autotune.enabled = False
            options.threading.private_threadpool_size = threads
            options.threading.max_intra_op_parallelism = 1
        dataset = make_dataset(cache, slices, 4, "strong", seed, True, tumor_sampling)
        return take(dataset.with_options(options), 12)

    first, second, other = stream(5), stream(5, threads=1), stream(6)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (np.abs(first[0] - other[0]).max(axis=(1, 2, 3)) > 0).all()


def test_a_slice_changes_anew_in_each_epoch(cache, slices):
    images, _ = take(make_dataset(cache, slices[:1], 1, "strong", training=True), 20)
    assert len({image.tobytes() for image in images}) == 20


@pytest.mark.parametrize("tumor_sampling", [0.0, 0.5])
def test_start_goes_on_from_any_batch(cache, slices, tumor_sampling):
    arguments = (cache, slices, 4, "strong", 3, True, tumor_sampling)
    whole = take(make_dataset(*arguments), 12)
    for start in (1, 7):
        rest = take(make_dataset(*arguments, start=start), 12 - start)
        for one, two in zip(whole, rest, strict=True):
            np.testing.assert_array_equal(one[start * 4 :], two)


def test_start_skips_batches_in_order(cache, slices):
    images, _ = take(make_dataset(cache, slices, 4, start=3), -1)
    np.testing.assert_array_equal(numbers(cache, slices, images), [12, 13, 14])


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_tumor_sampling_has_the_frequencies_it_says(cache, slices, share):
    areas = np.array([cache.areas[one.name] for one in slices])
    assert (areas == 0).any() and (areas > 0).sum() > 2
    draws = 4000
    dataset = make_dataset(cache, slices, 200, training=True, tumor_sampling=share)
    drawn = numbers(cache, slices, take(dataset, draws // 200)[0])
    expected = share * areas / areas.sum() + (1 - share) / len(slices)
    deviation = np.sqrt(expected * (1 - expected) / draws)
    frequency = np.bincount(drawn, minlength=len(slices)) / draws
    assert (np.abs(frequency - expected) <= 4 * deviation).all()
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 4 / np.sqrt(draws)


def test_masks_stay_binary(cache, slices):
    for name in ("paper", "strong"):
        _, masks = take(make_dataset(cache, slices, 4, name, training=True), 8)
        assert set(np.unique(masks)) == {0.0, 1.0}


def test_bad_options(cache, slices):
    empty = [one for one in slices if not cache.areas[one.name]]
    for message, arguments in {
        "no slices": ([], 4),
        "expected one of none, paper, strong": (slices, 4, "harsh"),
        "batch_size 0": (slices, 0),
        "start -1": (slices, 4, "none", 0, True, 0.0, -1),
        "tumor_sampling 1.5": (slices, 4, "none", 0, True, 1.5),
        "in training only": (slices, 4, "none", 0, False, 0.5),
        "no slice has tumour": (empty, 4, "none", 0, True, 0.5),
    }.items():
        with pytest.raises(InputError, match=message):
            make_dataset(cache, *arguments)


MIRRORED = """
    import sys
    import numpy as np
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    import keras
    from agd_keras.data.cache import build_cache
    from agd_keras.data.dataset import make_dataset
    from agd_keras.data.preprocessor import Preprocessor
    from agd_keras.io.data_set import find_data_set
    cache = build_cache(find_data_set(sys.argv[1]), Preprocessor(16), sys.argv[2])
    dataset = make_dataset(cache, cache.slices, 4, "strong", training=True)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    parts = iter(strategy.experimental_distribute_dataset(dataset))
    for inputs, targets in dataset.take(4):
        image, target = next(parts)
        values = strategy.experimental_local_results(image)
        assert [len(value) for value in values] == [2, 2]
        np.testing.assert_array_equal(np.concatenate(values), inputs)
        masks = strategy.experimental_local_results(target["mask"])
        np.testing.assert_array_equal(np.concatenate(masks), targets["mask"])
    with strategy.scope():
        image = keras.Input((16, 16, 3), name="image")
        heads = {name: keras.layers.Conv2D(1, 1, name=name)(image) for name in ("mask", "edge")}
        model = keras.Model(image, heads)
        model.compile("sgd", {"mask": "mse", "edge": "mse"}, jit_compile=False)
    losses = model.fit(dataset, steps_per_epoch=3, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    print("done")
"""


def test_two_replicas_share_the_same_batches(data, cache):
    code = textwrap.dedent(MIRRORED)
    command = [sys.executable, "-c", code, str(data), str(cache.folder.parent)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip().endswith("done"), result.stderr[-3000:]
