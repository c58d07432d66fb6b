# ruff: noqa: RUF001 - these look-alikes are the characters that are meant.
"""Punctuation by what it does between sentences, for the insides of regular expression classes."""

STOPS = ".!?…‥‼⁇⁈⁉"
"""Ends of sentences that need white space behind them, because they also stand inside words and numbers."""

FULL_WIDTH_POINT = "．"

# CJK, Arabic, Indic, Armenian, Ethiopic, Tibetan, Burmese, Khmer, Mongolian.
SURE_STOPS = f"。{FULL_WIDTH_POINT}！？｡︒︕︖؟۔।॥։።፧፨།༎။។៕᠃᠉"
"""Ends of sentences that need no white space behind them."""

GREEK_QUESTION_MARKS = ";\u037e"
"""Ask questions in Greek alone; the second one looks like the first."""

LINE_BREAKS = r"\n\u2028\u2029"

CLOSERS = r""")\]}"'”’*_~`）】」』》〉〕］｣﹂﹄"""
"""Quotes, brackets and Markdown marks that belong to the stop before them."""

GERMAN_CLOSERS = "“‘"
"""Close in German, and open elsewhere: where words are not spaced, they open right behind a stop."""

SPACED_CLOSERS = "»›"
SPACED_OPENERS = "«‹"
"""French quotes, which have a space on the inside."""

SMALL_SPACES = r"\u00a0\u202f "

WRAPPERS = "\"'`´“”„‟«»‹›‘’‚()[]{}<>*_~#•-–—¿¡"
"""What may surround a word; as a string, not a class."""

BULLETS = r"\-*+•‣◦▪–—#>"

SPACED_CLAUSE_ENDS = r",;:،؛·—–\-"
CLAUSE_ENDS = "，、；："
"""Ends of clauses that need white space behind them, and that do not."""

QUOTATIVES = frozenset("とっ")
"""First characters of the Japanese particles after quoted speech."""
