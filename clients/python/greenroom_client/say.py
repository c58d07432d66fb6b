"""The command `tts-say`: speaks a text to a file, to standard output or to the sound device."""

from typing import Annotated

import typer
from rich.console import Console

from greenroom_client.command.arguments import Arguments
from greenroom_client.command.run import Run
from greenroom_client.config import Encoding
from greenroom_client.options import client_version
from greenroom_client.targets import DEFAULT_TARGET

SEED_MAX = 2**63 - 1
RATE_MAX = 2**31 - 1
ENCODINGS = tuple(encoding.value for encoding in Encoding if encoding is not Encoding.UNKNOWN)

EPILOG = """
Examples:

  tts-say "Good evening." -o evening.wav

  tts-say --file chapter.txt -o chapter.ogg --seed 7

  a-language-model | tts-say

  tts-say "Hello." -o - | aplay

  tts-say --detect evening.wav

  tts-say --list-voices --json

Exit codes:

  0 done

  1 the service refused or failed, or the output could not be written

  2 wrong options, or a text that cannot be spoken

  3 the service cannot be reached, or was lost

  130 interrupted: Ctrl-C stops the speech and says what was spoken

  143 terminated
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


def encoding_option(text: str) -> Encoding:
    """Return an encoding by its name. Raises typer.BadParameter."""
    if text not in ENCODINGS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(ENCODINGS)}")
    return Encoding(text)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(client_version())
        raise typer.Exit


Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="The text. Without it, or with -, standard input as it comes."),
]
File = Annotated[
    str | None, typer.Option("--file", "-f", metavar="PATH", help="Speak this file (- is standard input).")
]
OutputPath = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="Write .wav, .flac, .ogg, .opus, .raw or .pcm; - is standard output (WAV). Default: the sound device.",
    ),
]
Play = Annotated[bool, typer.Option("--play", help="Play on the sound device.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]
Coding = Annotated[
    Encoding | None,
    typer.Option(
        "--encoding",
        "-e",
        parser=encoding_option,
        metavar="|".join(ENCODINGS),
        help="How audio is coded. Default: by the output's suffix.",
    ),
]
Rate = Annotated[
    int | None,
    typer.Option(
        "--rate", "-r", metavar="HERTZ", min=1, max=RATE_MAX, help="Samples a second. Default: the model's own."
    ),
]
VoiceId = Annotated[str | None, typer.Option("--voice", "-v", help="A voice's id. Default: the model's.")]
ModelId = Annotated[str | None, typer.Option("--model", "-m", help="A model's id. Default: the service's.")]
Language = Annotated[
    str | None, typer.Option("--language", "-l", metavar="TAG", help="A BCP 47 tag, such as en. Default: the voice's.")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, max=SEED_MAX, help="Same text, voice and seed give the same sound.")
]
SpeakingRate = Annotated[
    float | None, typer.Option("--speaking-rate", metavar="FACTOR", help="Speed of speech, 0.5 to 2.0.")
]
Server = Annotated[
    str,
    typer.Option(
        "--server", "-s", envvar="GREENROOM_SERVER", metavar="ADDRESS", help="host:port, or the path of a socket."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object on standard output (on standard error if audio goes there)."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no figures.")]
ListVoices = Annotated[bool, typer.Option("--list-voices", help="List the voices and exit.")]
Info = Annotated[bool, typer.Option("--info", help="Describe the service and exit.")]
Detect = Annotated[
    str | None,
    typer.Option("--detect", metavar="FILE", help="Say whether an audio file carries the watermark, and exit."),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=lambda wanted: _show_version(wanted=wanted),
        is_eager=True,
        help="Show the version and exit.",
    ),
]


@app.command(epilog=EPILOG)
def say(
    words: Words = None,
    *,
    file: File = None,
    output: OutputPath = None,
    play: Play = False,
    force: Force = False,
    encoding: Coding = None,
    rate: Rate = None,
    voice: VoiceId = None,
    model: ModelId = None,
    language: Language = None,
    seed: Seed = None,
    speaking_rate: SpeakingRate = None,
    server: Server = DEFAULT_TARGET,
    as_json: AsJson = False,
    quiet: Quiet = False,
    list_voices: ListVoices = False,
    info: Info = False,
    detect: Detect = None,
    version: Version = False,
) -> None:
    """Speak a text: as it comes, to a file, to standard output or to the sound device."""
    del version
    arguments = Arguments(
        words=tuple(words or ()),
        file=file,
        output=output,
        play=play,
        force=force,
        encoding=encoding,
        rate_hertz=rate,
        voice=voice,
        model=model,
        language=language,
        seed=seed,
        speaking_rate=speaking_rate,
        server=server,
        as_json=as_json,
        quiet=quiet,
        list_voices=list_voices,
        info=info,
        detect=detect,
    )
    raise typer.Exit(Run(arguments, Console(stderr=True)).run())


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
