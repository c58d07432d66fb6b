"""What sessions say: English sentences of our own, put together to utterances whose lengths are drawn at random.

A text comes as a language model would write it: a word at a time, at so many tokens a second.
"""

import random
from collections.abc import Iterator
from typing import Final

HALF_SENTENCE_WORDS: Final = 5
"""A sentence more brings an utterance closer to its length only if more than this is missing."""

TOKEN_CHARACTERS: Final = 4
"""A language model's token is about so much of English."""

WORDS_LEAST: Final = 2
WORDS_MOST: Final = 150
SPREAD: Final = 0.6
"""Of the logarithm of an utterance's length: two of three are between 0.55 and 1.8 times the median."""

LETTERS_A_SECOND: Final = 15.0
"""Of speech, about; a plan's estimate and nothing that is measured."""

SENTENCES: Final = (
    "Yes, of course.",
    "No, not yet.",
    "One moment, please.",
    "That is all for today.",
    "The kettle is on.",
    "I have found three trains that suit you.",
    "The first leaves at ten past nine from platform four.",
    "Would you like a seat by the window?",
    "Rain is expected in the north until the early evening, with clear skies after that.",
    "Your parcel was handed to a neighbour two doors down.",
    "She counted the spoons twice and still came to a different number each time.",
    "We could meet on Thursday, unless the bridge is closed again.",
    "The lamp over the stairs has been flickering since the storm.",
    "Take the second road on the left, and stop where the houses end.",
    "There are forty seats, and every one of them has been sold since Monday.",
    "He wrote the address on the back of a receipt and lost it before noon.",
    "Please read the number to me once more, slowly.",
    "The orchestra tuned for so long that the audience began to hum along.",
    "A good knife, a heavy board and a little patience are all that this soup asks for.",
    "When the tide went out, the children found a rusty anchor and a single blue shoe.",
    "I am afraid that the museum opens at eleven on weekdays.",
    "Nobody had told the baker that the clocks had changed.",
    "The report has nine pages, but the second one says everything.",
    "Could you hold the door while I bring in the ladder?",
    "Between the two hills there is a path that only the goats and the postman use.",
    "My grandmother kept her letters in a biscuit tin, sorted by the colour of the stamps.",
    "It took them an afternoon to agree on a name for the boat, and a year to build it.",
    "If the light turns amber, wait; if it turns red, call me.",
    "The meeting was moved from the small room on the third floor to the large one beside the stairs.",
    "After the speech there was a silence, then one person clapped, and then the whole hall stood up.",
    "Do not forget the umbrella.",
    "The price includes breakfast and a map of the old town.",
    "Somewhere behind the shelves a radio was playing the same song for the third time.",
    "You can change the reservation until noon on the day before you arrive, without any charge.",
    "The garden slopes down to a stream that is dry for most of the summer.",
    "Three carpenters measured the doorway, and each of them wrote down another width.",
    "Good evening, and welcome back.",
    "The last ferry is at half past ten.",
    "What would you like to hear next?",
    "A small green light means that the battery will last for about another hour.",
    "They painted the fence white in spring, and by autumn it had found its own colour again.",
    "The doctor will see you in the room at the end of the corridor, just past the fish tank.",
    "Nothing on the menu was cheap, but the bread was warm and there was plenty of it.",
    "He learned the piano late, and played it as others tell a story that happened to them.",
    "Your order has left the warehouse this morning and will be with you tomorrow between two and four.",
    "The engineer listened to the pump for a while, put her hand on the pipe, and shook her head.",
    "Let us begin with the easy part.",
    "Far out on the ice somebody had set up a chair, a table and a very small flag.",
    "Every evening at six the old clock strikes seven, and the whole street pretends not to notice.",
    "I will repeat the three steps: close the valve, wait for a minute, and open the window.",
    "The cat watched the removal van as if it had ordered it.",
    "There is room for one more on the bench.",
    "Half of the village had come to the station, and the other half was on the train.",
    "Before you sign, read the small print on the third page, where the deposit is explained.",
    "The bell rang twice, and then the lights went out in the whole building.",
    "Thank you for waiting.",
)


class Texts:
    """Utterances of one session, from a random source of its own; the median of their lengths is `words`."""

    def __init__(self, source: random.Random, *, words: float) -> None:
        self._source = source
        self._words = words

    def __repr__(self) -> str:
        return f"<Texts of about {self._words:g} words>"

    def utterance(self) -> str:
        """Return whole sentences, as many as the length that is drawn for them takes."""
        drawn = self._source.lognormvariate(0.0, SPREAD) * self._words
        wanted = min(max(drawn, WORDS_LEAST), WORDS_MOST)
        chosen: list[str] = []
        count = 0
        while not chosen or count + HALF_SENTENCE_WORDS < wanted:
            chosen.append(self._source.choice(SENTENCES))
            count += len(chosen[-1].split())
        return " ".join(chosen)


def written(
    text: str, source: random.Random, *, tokens_per_second: float, jitter: float
) -> Iterator[tuple[float, str]]:
    """Give pieces of a text with the seconds after its first one; together they are the text, to the letter.

    Without a speed the text comes whole. Each word's time is between 1 - jitter and 1 + jitter times its share.
    """
    if tokens_per_second <= 0.0:
        yield 0.0, text
        return
    at_seconds = 0.0
    for number, word in enumerate(text.split(" ")):
        piece = word if number == 0 else f" {word}"
        yield at_seconds, piece
        tokens = -(-len(piece) // TOKEN_CHARACTERS)
        at_seconds += tokens / tokens_per_second * source.uniform(1.0 - jitter, 1.0 + jitter)


def long_text(source: random.Random, *, seconds: float) -> str:
    """Return sentences that take about so long to say."""
    chosen: list[str] = []
    letters = 0
    while letters < seconds * LETTERS_A_SECOND:
        chosen.append(source.choice(SENTENCES))
        letters += len(chosen[-1]) + 1
    return " ".join(chosen)
