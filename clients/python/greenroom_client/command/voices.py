"""What `tts-say` does with voices beside listing them: makes one of a recording, and deletes one."""

import dataclasses
from pathlib import Path

import typer

from greenroom_client.command.catalog import print_json
from greenroom_client.command.problems import TextError
from greenroom_client.sync import Client
from greenroom_client.values import NewVoice, VoiceContent

CONDITIONALS_SUFFIX = ".pt"
"""Of the file that upstream saves a voice in; everything else is a recording."""


def clone_voice(client: Client, path: Path, *, display_name: str | None, model: str | None) -> NewVoice:
    """Make a voice of a file, by default called after it. Raises TextError if it cannot be read."""
    is_recording = path.suffix.lower() != CONDITIONALS_SUFFIX
    content = VoiceContent.REFERENCE_AUDIO if is_recording else VoiceContent.UPSTREAM_CONDITIONALS
    try:
        return client.create_voice(path, display_name=display_name or path.stem, model=model, content=content)
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from error


def told(made: NewVoice, path: Path) -> str:
    """Return a new voice for people."""
    was_there = "; it was there already" if made.already_there else ""
    return f"voice {made.voice.id} made from {path}{was_there} (speak with it: --voice {made.voice.id})"


def show_new_voice(made: NewVoice, path: Path, *, as_json: bool, quiet: bool) -> None:
    """Say which voice was made; quietly, its id alone."""
    if as_json:
        print_json({**dataclasses.asdict(made), "error": None})
    else:
        typer.echo(made.voice.id if quiet else told(made, path))


def delete_voice(client: Client, voice_id: str, *, as_json: bool, quiet: bool) -> None:
    """Delete a voice and say so."""
    client.delete_voice(voice_id)
    if as_json:
        print_json({"deleted": voice_id, "error": None})
    elif not quiet:
        typer.echo(f"voice {voice_id} is deleted")
