"""Whether a text holds anything that a voice can say."""

import re

# A letter or digit of any script. One that a variation selector or an enclosing keycap follows is drawn as an emoji,
# and the Hangul fillers are letters only in name: nothing is drawn for them.
_SPEAKABLE = re.compile(r"[^\W_\u115f\u1160\u3164\uffa0](?![\ufe0f\u20e3])")


def is_speakable(text: str) -> bool:
    """Return True if `text` holds a letter or digit of any script that is not part of an emoji."""
    return _SPEAKABLE.search(text) is not None
