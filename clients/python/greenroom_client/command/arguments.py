"""What was typed, as one value. Pure."""

from dataclasses import dataclass

from greenroom_client.command.problems import UsageError
from greenroom_client.config import Encoding, SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """The command line of `tts-say`. None leaves a choice to the service or to the command."""

    words: tuple[str, ...] = ()
    file: str | None = None
    output: str | None = None
    play: bool = False
    force: bool = False
    encoding: Encoding | None = None
    rate_hertz: int | None = None
    voice: str | None = None
    model: str | None = None
    language: str | None = None
    seed: int | None = None
    speaking_rate: float | None = None
    server: str
    as_json: bool = False
    quiet: bool = False
    list_voices: bool = False
    info: bool = False
    detect: str | None = None

    @property
    def asks(self) -> bool:
        """True if something is asked and nothing spoken."""
        return self.list_voices or self.info or self.detect is not None

    def config(self, encoding: Encoding) -> SessionConfig:
        """Return how to speak."""
        return SessionConfig(
            model=self.model,
            voice=self.voice,
            language=self.language,
            encoding=encoding,
            sample_rate_hertz=self.rate_hertz,
            seed=self.seed,
            speaking_rate=self.speaking_rate,
        )


def check_one_purpose(arguments: Arguments) -> None:
    """Raise UsageError if more than one thing is asked for."""
    questions = [arguments.list_voices, arguments.info, arguments.detect is not None]
    speaks = bool(arguments.words) or arguments.file is not None or arguments.output is not None or arguments.play
    if sum(questions) + (arguments.asks and speaks) > 1:
        raise UsageError("--list-voices, --info, --detect and speaking exclude each other")
