"""Files with one JSON object a line, read back."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec

from twinpath.errors import ConfigurationError

T = TypeVar("T")


def read_lines(path: Path, kind: type[T], name: str, behind: int = 0) -> Iterator[T]:
    """Each line `behind` the first so many as a `kind`; ConfigurationError names the line that is no `name`."""
    decoder = msgspec.json.Decoder(kind)
    with path.open("rb") as lines:
        for number, line in enumerate(islice(lines, behind, None), behind + 1):
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                raise ConfigurationError(f"{path} line {number} is no {name}: {error}") from None
