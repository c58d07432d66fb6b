"""The three models that Chatterbox has."""

from enum import StrEnum


class ChatterboxModel(StrEnum):
    """ENGLISH and MULTILINGUAL decode with a Llama and guidance; TURBO with a GPT-2 and a meanflow, without it."""

    ENGLISH = "english"
    MULTILINGUAL = "multilingual"
    TURBO = "turbo"
