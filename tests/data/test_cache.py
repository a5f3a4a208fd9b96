import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.root import cache_root
from agd_keras.errors import InputError
from agd_keras.io.slices import (
    changed_files,
    data_fingerprint,
    digest_slices,
    find_slices,
)

SIZE = 48


@pytest.fixture
def data(tmp_path):
    return make_phantom(tmp_path / "data", patients=3, slices=4, size=SIZE)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def reference(data, patient):
    """Normalised slices of a patient by the definition, in float64."""
    stack = np.stack([pixels(data / patient / f"{patient}_{i}.tif") for i in range(1, 5)])
    stack = stack.astype(np.float64)
    for channel in range(3):
        values = stack[..., channel]
        tissue = values[values > values.mean()]
        stack[..., channel] = np.clip((values - tissue.mean()) / tissue.std(), -5, 5)
    return stack


def test_holds_what_the_files_hold(data, root):
    slices = find_slices(data)
    cache = build_cache(slices, SIZE, root)
    for one in slices:
        image, mask = cache.read(one)
        assert image.dtype == np.float32 and mask.dtype == bool
        expected = reference(data, one.patient)[one.index - 1]
        np.testing.assert_allclose(image, expected, atol=2**-9)  # float16 below 8: half of 2^-8
        np.testing.assert_array_equal(mask, pixels(one.mask) > 0)


def test_resizes_image_and_mask(data, root):
    slices = find_slices(data)
    cache = build_cache(slices, SIZE // 2, root)
    for one in slices:
        image, mask = cache.read(one)
        quarters = (pixels(one.mask) > 0).reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3))
        np.testing.assert_array_equal(mask, quarters >= 0.5)
        assert image.shape == (SIZE // 2, SIZE // 2, 3)
        expected = reference(data, one.patient)[one.index - 1].mean(axis=(0, 1))
        np.testing.assert_allclose(image.mean(axis=(0, 1)), expected, atol=0.05)


def test_index_has_original_areas_and_fingerprint(data, root):
    slices = find_slices(data)
    for _ in range(2):  # built, then loaded
        cache = build_cache(slices, SIZE // 2, root)
        assert cache.areas == {one.name: np.count_nonzero(pixels(one.mask)) for one in slices}
        assert cache.data_fingerprint == data_fingerprint(slices)
        assert cache.folder == root / cache.fingerprint and cache.image_size == SIZE // 2


def test_second_start_builds_nothing(data, root):
    slices, calls = find_slices(data), []
    first = build_cache(slices, 16, root, progress=lambda *done: calls.append(done))
    assert calls == [(4, 12), (8, 12), (12, 12)]
    second = build_cache(slices[::-1], 16, root, progress=lambda *done: calls.append(done))
    assert second == first and len(calls) == 3


def test_key_follows_data_and_settings_not_place(data, root, tmp_path):
    first = build_cache(find_slices(data), 16, root)
    shutil.copytree(data, tmp_path / "moved")  # copies the times too
    assert build_cache(find_slices(tmp_path / "moved"), 16, root) == first
    others = {build_cache(find_slices(data), 24, root).fingerprint}
    others.add(build_cache(find_slices(data)[:8], 16, root).fingerprint)
    changed = find_slices(data)[0].mask
    Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8)).save(changed)
    cache = build_cache(find_slices(data), 16, root)
    assert len({first.fingerprint, cache.fingerprint, *others}) == 4
    assert cache.read(find_slices(data)[0])[1].all()


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_content_decides_where_size_and_time_are_the_same(data, root, kind):
    slices = find_slices(data)
    first = build_cache(slices, SIZE, root)
    changed = getattr(slices[5], kind)
    before = changed.stat()
    Image.fromarray(255 - pixels(changed)).save(changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (changed.stat().st_size, changed.stat().st_mtime_ns) == (
        *(before.st_size, before.st_mtime_ns),
    )
    second = build_cache(find_slices(data), SIZE, root)
    assert second.fingerprint != first.fingerprint
    assert second.data_fingerprint != first.data_fingerprint
    assert changed_files(first.digests, slices, second.digests) == [str(changed)]
    assert second.areas[slices[5].name] == np.count_nonzero(pixels(slices[5].mask))


def test_data_that_changes_while_it_is_prepared_is_no_cache(data, root):
    slices = find_slices(data)

    def edit(done, total):
        if done == total:
            Image.fromarray(255 - pixels(slices[0].mask)).save(slices[0].mask)

    with pytest.raises(InputError, match="changed while it was prepared"):
        build_cache(slices, 16, root, progress=edit)
    assert os.listdir(root) == []


def test_files_added_and_gone_are_named(data):
    slices = find_slices(data)
    digests = digest_slices(slices)
    before = {name: digest for name, digest in digests.items() if name != slices[3].name}
    before["b_9"] = "0" * 128
    assert changed_files(before, slices, digests) == [f"{slices[3].image} (new)", "b_9 (gone)"]


@pytest.mark.parametrize("variable", ["AGD_KERAS_CACHE", "HOME"])
def test_no_home_and_no_user_name_the_variable(monkeypatch, variable):
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("AGD_KERAS_CACHE", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    with pytest.raises(InputError, match=variable):
        cache_root()
    monkeypatch.setenv("AGD_KERAS_CACHE", "~/agd")
    with pytest.raises(InputError, match=variable):
        cache_root()
    assert cache_root("/scratch") == Path("/scratch")


def test_default_folder_is_the_variable(data, root, monkeypatch):
    monkeypatch.setenv("AGD_KERAS_CACHE", str(root))
    assert build_cache(find_slices(data), 16).folder.parent == root


@pytest.mark.parametrize("damage", ["missing", "short", "index"])
def test_a_damaged_cache_is_made_anew(data, root, damage):
    slices = find_slices(data)
    cache = build_cache(slices, 16, root)
    expected = cache.read(slices[0])
    if damage == "missing":
        cache.path(slices[0]).unlink()
    elif damage == "short":
        os.truncate(cache.path(slices[0]), 100)
    else:
        (cache.folder / "index.json").write_text("{")
    image, mask = build_cache(slices, 16, root).read(slices[0])
    np.testing.assert_array_equal(image, expected[0])
    np.testing.assert_array_equal(mask, expected[1])
    assert os.listdir(root) == [cache.fingerprint]


def test_an_interrupted_build_leaves_nothing(data, root):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(find_slices(data), 16, root, progress=interrupt)
    assert os.listdir(root) == []


def test_leftovers_of_a_killed_build_are_swept(data, root):
    old, new, foreign = (
        root / name for name in (f"{15:016x}.tmp-1", f"{15:016x}.tmp-2", "my.tmp-1")
    )
    for left in (old, new, foreign):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    build_cache(find_slices(data), 16, root)
    assert not old.exists() and new.exists() and foreign.exists()


def test_the_slower_of_two_builders_takes_the_other_one_s(data, root):
    slices = find_slices(data)

    def overtake(done, total):
        if done == total:
            build_cache(slices, 16, root)

    cache = build_cache(slices, 16, root, progress=overtake)
    assert os.listdir(root) == [cache.fingerprint]
    assert cache.read(slices[0])[0].shape == (16, 16, 3)


def test_many_builders_at_once(data, root):
    slices = find_slices(data)
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: build_cache(slices, 16, root), range(4)))
    assert all(cache == caches[0] for cache in caches)
    assert os.listdir(root) == [caches[0].fingerprint]
    assert json.loads((caches[0].folder / "index.json").read_text())["areas"] == caches[0].areas


def test_every_problem_in_one_error(data, root):
    slices = find_slices(data)
    os.truncate(slices[0].image, 300)
    Image.fromarray(np.zeros((SIZE, SIZE + 1), np.uint8)).save(slices[5].mask)
    with pytest.raises(InputError) as error:
        build_cache(slices, 16, root)
    assert slices[0].image.name in str(error.value) and slices[5].mask.name in str(error.value)
    assert not root.exists()


def test_needs_slices_with_masks(data, root):
    slices = find_slices(data)
    with pytest.raises(InputError, match="phantom_001_1.tif: expected a mask"):
        build_cache([replace(slices[0], mask=None), *slices[1:]], 16, root)
    with pytest.raises(InputError, match="no slices"):
        build_cache([], 16, root)


def test_a_full_disk_is_named(data, root, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=f"{root}: cannot write .* No space left on device"):
        build_cache(find_slices(data), 16, root)
    assert os.listdir(root) == []


def test_a_root_that_is_no_folder_is_named(data, root):
    root.write_text("")
    with pytest.raises(InputError, match=f"{root}: cannot write the cache"):
        build_cache(find_slices(data), 16, root)
