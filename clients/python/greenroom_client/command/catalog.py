"""What `tts-say` shows about the service, its voices and an audio file: tables for people, JSON for scripts."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from greenroom_client.command.problems import TextError
from greenroom_client.config import Encoding
from greenroom_client.sync import Client
from greenroom_client.values import ServiceInfo, Verdict, Voice, Watermark

VERDICTS = {
    Verdict.PRESENT: "carries the watermark",
    Verdict.ABSENT: "does not carry the watermark",
    Verdict.TOO_SHORT: "is too short to tell (half a second is needed)",
    Verdict.SILENT: "is silent: there is nothing to tell it from",
    Verdict.UNKNOWN: "got an answer that is newer than this command",
}


def show_voices(client: Client, console: Console, *, as_json: bool) -> None:
    """List the voices."""
    voices = client.voices()
    if as_json:
        print_json({"voices": [dataclasses.asdict(voice) for voice in voices]})
    else:
        console.print(_voice_table(voices))


def show_info(client: Client, console: Console, *, as_json: bool) -> None:
    """Describe the service."""
    info = client.info()
    if as_json:
        print_json(dataclasses.asdict(info))
    else:
        console.print(_info_table(info))


def show_watermark(
    client: Client, console: Console, path: Path, *, encoding: Encoding | None, rate_hertz: int | None, as_json: bool
) -> None:
    """Say whether a file carries the watermark."""
    try:
        found = client.detect_watermark(path, encoding=encoding, sample_rate_hertz=rate_hertz)
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        message = f"cannot tell from the name how {path} is coded: say it with --encoding (and --rate, if it is raw)"
        raise TextError(message, hint="For example: --encoding s16le --rate 24000") from error
    if as_json:
        print_json({"file": str(path), **dataclasses.asdict(found)})
    else:
        console.print(_verdict(path, found), soft_wrap=True, highlight=False)


def print_json(document: object, *, to_stderr: bool = False) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps(document, ensure_ascii=False), err=to_stderr)


def _verdict(path: Path, found: Watermark) -> str:
    score = "" if found.score is None else f" (score {found.score:.3f})"
    return f"{path} {VERDICTS[found.verdict]}{score}"


def _voice_table(voices: Sequence[Voice]) -> Table:
    table = Table("voice", "name", "languages", "models", "about")
    for voice in voices:
        table.add_row(
            voice.id, voice.display_name, " ".join(voice.languages), " ".join(voice.models), voice.description
        )
    return table


def _info_table(info: ServiceInfo) -> Table:
    table = Table(title=f"{info.service_name} {info.version}", show_header=False)
    for model in info.models:
        languages = " ".join(model.languages)
        voice = f"voice {model.default_voice}" if model.default_voice else "no voice of its own: --clone makes one"
        about = f"{model.description} ({languages}; {model.sample_rate_hertz} Hz; {voice})"
        table.add_row(f"model {model.id}", about)
    table.add_row("encodings", " ".join(info.session_encodings))
    table.add_row("encodings of whole texts", " ".join(info.synthesize_encodings))
    table.add_row("sample rates", f"{info.min_sample_rate_hertz} to {info.max_sample_rate_hertz} Hz")
    table.add_row("text of one utterance", f"{info.limits.utterance_text_bytes} bytes")
    table.add_row("sessions at once", str(info.limits.sessions))
    return table
