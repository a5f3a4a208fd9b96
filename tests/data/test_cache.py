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
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.root import cache_root
from agd_keras.errors import InputError
from agd_keras.io.data_set import find_data_set
from agd_keras.io.fingerprint import changed_files, data_fingerprint, digest_cases

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


def mask_file(data, one):
    return data / one.case / f"{one.name}_mask.tif"


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
    cache = build_cache(find_data_set(data), Preprocessor(SIZE), root)
    assert len(cache.slices) == 12
    for one in cache.slices:
        image, mask = cache.read(one)
        assert image.dtype == np.float32 and mask.dtype == bool
        expected = reference(data, one.patient)[one.number - 1]
        np.testing.assert_allclose(image, expected, atol=2**-9)  # float16 below 8: half of 2^-8
        np.testing.assert_array_equal(mask, pixels(mask_file(data, one)) > 0)
        np.testing.assert_array_equal(cache.read_mask(one.case)[one.place], mask)


def test_resizes_image_and_mask(data, root):
    cache = build_cache(find_data_set(data), Preprocessor(SIZE // 2), root)
    for one in cache.slices:
        image, mask = cache.read(one)
        quarters = (
            (pixels(mask_file(data, one)) > 0).reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3))
        )
        np.testing.assert_array_equal(mask, quarters >= 0.5)
        assert image.shape == (SIZE // 2, SIZE // 2, 3)
        expected = reference(data, one.patient)[one.number - 1].mean(axis=(0, 1))
        np.testing.assert_allclose(image.mean(axis=(0, 1)), expected, atol=0.05)


def test_index_has_original_areas_and_fingerprint(data, root):
    cases = find_data_set(data)
    for _ in range(2):  # built, then loaded
        cache = build_cache(cases, Preprocessor(SIZE // 2), root)
        areas = {one.name: pixels(mask_file(data, one)) > 0 for one in cache.slices}
        assert cache.areas == {name: mask.sum() for name, mask in areas.items()}
        assert cache.data_fingerprint == data_fingerprint(cases)
        assert cache.folder == root / cache.fingerprint and cache.image_size == SIZE // 2


def test_second_start_builds_nothing(data, root):
    cases, calls = find_data_set(data), []
    first = build_cache(cases, Preprocessor(16), root, progress=lambda *done: calls.append(done))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    second = build_cache(
        cases[::-1], Preprocessor(16), root, progress=lambda *done: calls.append(done)
    )
    assert second == first and len(calls) == 3


def test_key_follows_data_and_settings_not_place(data, root, tmp_path):
    first = build_cache(find_data_set(data), Preprocessor(16), root)
    shutil.copytree(data, tmp_path / "moved")  # copies the times too
    assert build_cache(find_data_set(tmp_path / "moved"), Preprocessor(16), root) == first
    others = {build_cache(find_data_set(data), Preprocessor(24), root).fingerprint}
    others.add(build_cache(find_data_set(data)[:2], Preprocessor(16), root).fingerprint)
    changed = find_data_set(data)[0].label[0]
    Image.fromarray(np.full((SIZE, SIZE), 255, np.uint8)).save(changed)
    cache = build_cache(find_data_set(data), Preprocessor(16), root)
    assert len({first.fingerprint, cache.fingerprint, *others}) == 4
    assert cache.read(cache.slices[0])[1].all()


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_content_decides_where_size_and_time_are_the_same(data, root, kind):
    cases = find_data_set(data)
    first = build_cache(cases, Preprocessor(SIZE), root)
    changed = {"image": cases[1].files, "mask": cases[1].label}[kind][1]
    before = changed.stat()
    Image.fromarray(255 - pixels(changed)).save(changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (changed.stat().st_size, changed.stat().st_mtime_ns) == (
        *(before.st_size, before.st_mtime_ns),
    )
    second = build_cache(find_data_set(data), Preprocessor(SIZE), root)
    assert second.fingerprint != first.fingerprint
    assert second.data_fingerprint != first.data_fingerprint
    assert changed_files(first.digests, cases, second.digests) == [str(changed)]
    area = np.count_nonzero(pixels(cases[1].label[1]))
    assert second.areas[f"phantom_002_{cases[1].numbers[1]}"] == area


def test_data_that_changes_while_it_is_prepared_is_no_cache(data, root):
    cases = find_data_set(data)
    mask = cases[0].label[0]

    def edit(done, total):
        if done == total:
            Image.fromarray(255 - pixels(mask)).save(mask)

    with pytest.raises(InputError, match="changed while it was prepared"):
        build_cache(cases, Preprocessor(16), root, progress=edit)
    assert os.listdir(root) == []


def test_files_added_and_gone_are_named(data):
    cases = find_data_set(data)
    digests = digest_cases(cases)
    before = {name: digest for name, digest in digests.items() if name != "phantom_001_4"}
    before["b_9"] = "0" * 128
    new = f"{cases[0].files[3]} (new)"
    assert changed_files(before, cases, digests) == [new, "b_9 (gone)"]


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
    assert build_cache(find_data_set(data), Preprocessor(16)).folder.parent == root


@pytest.mark.parametrize("damage", ["missing", "short", "index", "mask"])
def test_a_damaged_cache_is_made_anew(data, root, damage):
    cases = find_data_set(data)
    cache = build_cache(cases, Preprocessor(16), root)
    slices = cache.slices
    expected = cache.read(slices[0])
    if damage == "missing":
        cache.path(slices[0]).unlink()
    elif damage == "short":
        os.truncate(cache.path(slices[0]), 100)
    elif damage == "mask":
        (cache.folder / "phantom_001.mask").unlink()
    else:
        (cache.folder / "index.json").write_text("{")
    image, mask = build_cache(cases, Preprocessor(16), root).read(slices[0])
    np.testing.assert_array_equal(image, expected[0])
    np.testing.assert_array_equal(mask, expected[1])
    assert os.listdir(root) == [cache.fingerprint]


def test_an_interrupted_build_leaves_nothing(data, root):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(find_data_set(data), Preprocessor(16), root, progress=interrupt)
    assert os.listdir(root) == []


def test_leftovers_of_a_killed_build_are_swept(data, root):
    old, new, foreign = (
        root / name for name in (f"{15:016x}.tmp-1", f"{15:016x}.tmp-2", "my.tmp-1")
    )
    for left in (old, new, foreign):
        left.mkdir(parents=True)
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    build_cache(find_data_set(data), Preprocessor(16), root)
    assert not old.exists() and new.exists() and foreign.exists()


def test_the_slower_of_two_builders_takes_the_other_one_s(data, root):
    cases = find_data_set(data)

    def overtake(done, total):
        if done == total:
            build_cache(cases, Preprocessor(16), root)

    cache = build_cache(cases, Preprocessor(16), root, progress=overtake)
    assert os.listdir(root) == [cache.fingerprint]
    assert cache.read(cache.slices[0])[0].shape == (16, 16, 3)


def test_many_builders_at_once(data, root):
    cases = find_data_set(data)
    with ThreadPoolExecutor(4) as pool:
        caches = list(pool.map(lambda _: build_cache(cases, Preprocessor(16), root), range(4)))
    assert all(cache == caches[0] for cache in caches)
    assert os.listdir(root) == [caches[0].fingerprint]
    assert json.loads((caches[0].folder / "index.json").read_text())["cases"] == caches[0].cases


def test_every_problem_in_one_error(data, root):
    cases = find_data_set(data)
    wrong = cases[0].files[0], cases[1].label[1]
    os.truncate(wrong[0], 300)
    Image.fromarray(np.zeros((SIZE, SIZE + 1), np.uint8)).save(wrong[1])
    with pytest.raises(InputError) as error:
        build_cache(cases, Preprocessor(16), root)
    assert all(path.name in str(error.value) for path in wrong)
    assert not os.listdir(root)


def test_needs_cases_with_labels(data, root):
    cases = find_data_set(data)
    with pytest.raises(InputError, match="phantom_001_1.tif: expected a mask"):
        build_cache([replace(cases[0], label=()), *cases[1:]], Preprocessor(16), root)
    with pytest.raises(InputError, match="no cases"):
        build_cache([], Preprocessor(16), root)


def test_a_full_disk_is_named(data, root, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=f"{root}: cannot write .* No space left on device"):
        build_cache(find_data_set(data), Preprocessor(16), root)
    assert os.listdir(root) == []


def test_a_root_that_is_no_folder_is_named(data, root):
    root.write_text("")
    with pytest.raises(InputError, match=f"{root}: cannot write the cache"):
        build_cache(find_data_set(data), Preprocessor(16), root)
