"""What the tests of reading share."""

import pytest

from agd_keras.errors import InputError
from agd_keras.io.discovery import find_cases, read_case


@pytest.fixture
def read_paths():
    """Reads the one case that files and folders hold."""

    def read(*paths):
        [source] = find_cases(paths)
        return read_case(source)

    return read


@pytest.fixture
def error_of(read_paths):
    """Returns the one line that reading ends with."""

    def read(*paths) -> str:
        with pytest.raises(InputError) as caught:
            read_paths(*paths)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read
