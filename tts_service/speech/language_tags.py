"""Language tags (BCP 47): which of the languages that there are answers for the one that is asked for. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

_ALIASES: Final[Mapping[str, str]] = {"nb": "no", "nn": "no", "iw": "he", "cmn": "zh", "arb": "ar", "zsm": "ms"}
"""Languages that upstream knows under another code: both Norwegian ones, and codes for what its code means."""


def spoken_language(wanted: str, languages: Iterable[str]) -> str | None:
    """Return the language that answers for a tag, as it is written among `languages`; None if none does.

    Case does not count. Who speaks a language speaks its regions, as well as can be: "en" answers for "en-GB".
    """
    known = {language.lower(): language for language in languages}
    primary = wanted.replace("_", "-").partition("-")[0].lower()
    forms = (wanted.lower(), primary, _ALIASES.get(primary, primary))
    return next((known[form] for form in forms if form in known), None)
