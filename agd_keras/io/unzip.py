"""Bytes of a file, or of what a gzip file unfolds to, in time and memory that have a limit."""

import zlib
from pathlib import Path

from agd_keras.errors import InputError

_CHUNK = 2**14
_PIECE = 2**20
# A file of many members takes time for each. Those of bgzip hold four times as much as this.
_MEMBERS, _MEMBER = 64, 2**14


def read_range(path: Path, start: int, stop: int) -> bytes:
    """Reads a part of a file, unfolding it if its name ends in `.gz`.

    Args:
        path: The file.
        start: First byte, of what it unfolds to.
        stop: Byte to end before; what lies behind is neither unfolded nor checked.

    Returns:
        The bytes; fewer, if the file ends earlier.

    Raises:
        InputError: It is made of very many parts that hold next to nothing.
        OSError: It cannot be read.
        zlib.error: It is no gzip file, or damaged.

    Example:

    >>> import gzip, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.gz"
    >>> size = path.write_bytes(gzip.compress(b"abc") + gzip.compress(b"def"))
    >>> read_range(path, 2, 5)
    b'cde'
    """
    with path.open("rb") as file:
        if not path.name.lower().endswith(".gz"):
            file.seek(start)
            return file.read(stop - start)
        decoder, members, data = zlib.decompressobj(31), 1, b""
        found, position = bytearray(), 0
        while position < stop:
            data = data or file.read(_CHUNK)
            if decoder.eof and data:  # another member follows, or padding
                data = data.lstrip(b"\0")
                if data:
                    decoder, members = zlib.decompressobj(31), members + 1
                if members > _MEMBERS + position // _MEMBER:
                    raise InputError(f"{path}: {members} gzip members in {position} bytes, refused")
            piece = decoder.decompress(data, _PIECE) if data else decoder.flush()
            found += piece[max(start - position, 0) : stop - position]
            position += len(piece)
            if not data and not file.peek(1):
                break
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    return bytes(found)
