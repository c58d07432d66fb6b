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

  tts-say --clone ann.wav "Hello, it is me." -o ann-speaks.wav

  tts-say --clone ann.wav --quiet              (makes the voice only, and prints its id)

  tts-say "Great news!" --voice v0123456789abcdef0123456789abcdef --exaggeration 0.8 --cfg-weight 0.3 --seed 7

  tts-say --delete-voice v0123456789abcdef0123456789abcdef

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
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="How freely speech tokens are chosen, 0.05 to 5.")
]
TopP = Annotated[float | None, typer.Option("--top-p", help="Keep the likeliest tokens of this probability, 0 to 1.")]
MinP = Annotated[float | None, typer.Option("--min-p", help="Keep tokens this likely beside the likeliest, 0 to 1.")]
TopK = Annotated[int | None, typer.Option("--top-k", help="Keep so many of the likeliest tokens; 0 keeps all.")]
RepetitionPenalty = Annotated[
    float | None, typer.Option("--repetition-penalty", help="Make tokens that were chosen less likely; 1 does not.")
]
CfgWeight = Annotated[float | None, typer.Option("--cfg-weight", help="How closely speech keeps to the text, 0 to 5.")]
Exaggeration = Annotated[
    float | None, typer.Option("--exaggeration", help="How lively the voice is, 0 to 2; 0.5 is neutral.")
]
Bulk = Annotated[bool, typer.Option("--bulk", help="Let everybody go first who listens: for files.")]
ClientName = Annotated[
    str, typer.Option("--client-name", metavar="NAME", help="For whom the service counts sessions. Default: this host.")
]
Clone = Annotated[
    str | None,
    typer.Option(
        "--clone",
        metavar="PATH",
        help="Make a voice of 5 to 60 s of one speaker (or of a conds.pt), say its id, and speak with it. Without a "
        "text and an output, only make it.",
    ),
]
CloneName = Annotated[
    str | None, typer.Option("--clone-name", metavar="NAME", help="What to call that voice. Default: the file's name.")
]
DeleteVoice = Annotated[str | None, typer.Option("--delete-voice", metavar="ID", help="Delete a voice and exit.")]
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
    rate_hertz: Rate = None,
    voice: VoiceId = None,
    model: ModelId = None,
    language: Language = None,
    seed: Seed = None,
    speaking_rate: SpeakingRate = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    min_p: MinP = None,
    top_k: TopK = None,
    repetition_penalty: RepetitionPenalty = None,
    cfg_weight: CfgWeight = None,
    exaggeration: Exaggeration = None,
    bulk: Bulk = False,
    client_name: ClientName = "",
    clone: Clone = None,
    clone_name: CloneName = None,
    server: Server = DEFAULT_TARGET,
    as_json: AsJson = False,
    quiet: Quiet = False,
    list_voices: ListVoices = False,
    info: Info = False,
    detect: Detect = None,
    delete_voice: DeleteVoice = None,
    version: Version = False,
) -> None:
    """Speak a text: as it comes, to a file, to standard output or to the sound device."""
    typed = {name: value for name, value in locals().items() if name not in {"words", "version"}}
    arguments = Arguments(words=tuple(words or ()), **typed)
    raise typer.Exit(Run(arguments, Console(stderr=True)).run())


def main() -> None:
    """Run the command."""
    app()


if __name__ == "__main__":
    main()
