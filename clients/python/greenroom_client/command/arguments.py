"""What was typed, as one value. Pure."""

from dataclasses import dataclass

from greenroom_client.command.problems import UsageError
from greenroom_client.config import Encoding, Priority, SessionConfig


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
    temperature: float | None = None
    top_p: float | None = None
    min_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    cfg_weight: float | None = None
    exaggeration: float | None = None
    bulk: bool = False
    client_name: str = ""
    clone: str | None = None
    clone_name: str | None = None
    server: str
    as_json: bool = False
    quiet: bool = False
    list_voices: bool = False
    info: bool = False
    detect: str | None = None
    delete_voice: str | None = None

    @property
    def asks(self) -> bool:
        """True if something is asked or done, and nothing spoken."""
        return self.list_voices or self.info or self.detect is not None or self.delete_voice is not None

    @property
    def speaks(self) -> bool:
        """True if a text, or somewhere for its speech to go, was given."""
        return bool(self.words) or self.file is not None or self.output is not None or self.play

    def config(self, encoding: Encoding, voice: str | None = None) -> SessionConfig:
        """Return how to speak, with a voice that was just made, or the one that was asked for."""
        return SessionConfig(
            model=self.model,
            voice=voice or self.voice,
            language=self.language,
            encoding=encoding,
            sample_rate_hertz=self.rate_hertz,
            seed=self.seed,
            speaking_rate=self.speaking_rate,
            temperature=self.temperature,
            top_p=self.top_p,
            min_p=self.min_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            cfg_weight=self.cfg_weight,
            exaggeration=self.exaggeration,
            priority=Priority.BULK if self.bulk else None,
        )


def check_one_purpose(arguments: Arguments) -> None:
    """Raise UsageError if more than one thing is asked for."""
    questions = [
        arguments.list_voices,
        arguments.info,
        arguments.detect is not None,
        arguments.delete_voice is not None,
    ]
    speaks = arguments.speaks or arguments.clone is not None
    if sum(questions) + (arguments.asks and speaks) > 1:
        raise UsageError("--list-voices, --info, --detect, --delete-voice and speaking exclude each other")
    if arguments.clone is not None and arguments.voice is not None:
        raise UsageError("--clone and --voice exclude each other: the voice is the one that is made")
    if arguments.clone_name is not None and arguments.clone is None:
        raise UsageError("--clone-name names the voice that --clone makes")
