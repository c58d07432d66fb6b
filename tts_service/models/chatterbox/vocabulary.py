"""What Chatterbox's tokens mean, where weights, decoding and requests must agree on it."""

from typing import Final

CODEBOOK_TOKENS: Final = 6_561
"""Speech tokens below this are sounds that S3Gen knows; those from here on are T3's own."""

START_TOKEN: Final = 6_561
STOP_TOKEN: Final = 6_562
"""Start and stop of speech, in upstream's `T3Config`."""

TURBO_TAGS: Final = (
    "[clear throat]",
    "[sigh]",
    "[shush]",
    "[cough]",
    "[groan]",
    "[sniff]",
    "[gasp]",
    "[chuckle]",
    "[laugh]",
)
"""The sounds that Turbo makes where its text says so: `EVENT_TAGS` of upstream's demo, `gradio_tts_turbo_app.py`, which
is in its repository and not in the package. Its tokenizer's 19 added tokens are these and ten of delivery, such as
[whispering], which pass through as well (issue 557 of the repository); upstream offers these nine."""
