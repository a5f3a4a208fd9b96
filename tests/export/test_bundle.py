"""What TensorFlow Serving reads beside the graph."""

import re

import pytest

from agd_keras.errors import InputError
from agd_keras.export.bundle import BATCHING, next_version


def test_the_highest_number_is_the_newest(tmp_path):
    assert next_version(tmp_path) == 1
    for name in ("2", "10", "x3"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file is no version")
    assert next_version(tmp_path) == 11
    assert next_version(tmp_path, 3) == 3
    with pytest.raises(InputError, match="version 10 is there already"):
        next_version(tmp_path, 10)


def test_allowed_batches_end_at_the_largest():
    """As the server demands: ascending, the last equal to `max_batch_size`."""
    largest = int(re.search(r"max_batch_size \{ value: (\d+) \}", BATCHING)[1])
    allowed = [int(size) for size in re.findall(r"allowed_batch_sizes: (\d+)", BATCHING)]
    assert allowed == sorted(set(allowed)) and allowed[-1] == largest
