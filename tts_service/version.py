"""Which release this is."""

import importlib.metadata
from typing import Final

VERSION: Final = importlib.metadata.version("greenroom")
