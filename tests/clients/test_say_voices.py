"""`tts-say` and voices: made of a recording, spoken with, deleted."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from greenroom_client.command.arguments import Arguments
from greenroom_client.command.figures import Figures
from greenroom_client.config import Encoding, SessionConfig
from greenroom_client.events import FinishReason, GuardedSegment, SpeechGuard, UtteranceResult
from greenroom_client.say import app
from tests.fakes.fake_speech_service import FakeSpeech, serving

RECORDING = b"RIFF" + bytes(200_000)
VOICE = f"v{hashlib.sha256(RECORDING).hexdigest()[:32]}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a recording, a short one and a voice of upstream's."""
    (tmp_path / "ann.wav").write_bytes(RECORDING)
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    (tmp_path / "conds.pt").write_bytes(b"PK" + bytes(200_000))
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def say(fake: FakeSpeech, *arguments: str) -> Result:
    """Run the command, in a thread, beside the service."""
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--server", fake.address])


def document(result: Result) -> dict[str, Any]:
    """Return the one JSON object on standard output."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


async def test_clone_makes_a_voice_says_its_id_and_speaks_with_it(folder: Path) -> None:
    """One command from a recording to speech."""
    async with serving() as fake:
        result = await say(fake, "Hello.", "--clone", "ann.wav", "-o", "out.wav")

    assert 0 == result.exit_code, result.stderr
    assert f"voice {VOICE} made from ann.wav" in result.stderr
    assert (folder / "out.wav").stat().st_size > 44
    assert "ann" == fake.service.spec.display_name


async def test_clone_is_told_in_json_with_the_figures(folder: Path) -> None:
    """Scripts read the voice's id and what was spoken from one object."""
    del folder
    async with serving() as fake:
        result = await say(
            fake, "Hello.", "--clone", "ann.wav", "-o", "a.wav", "--json", "--model", "hum", "--clone-name", "Ann"
        )

    assert (VOICE, VOICE, False, None) == (
        document(result)["voice"],
        document(result)["cloned"]["voice"]["id"],
        document(result)["cloned"]["already_there"],
        document(result)["error"],
    )
    assert ("Ann", "hum") == (fake.service.spec.display_name, fake.service.spec.model)


async def test_clone_without_a_text_only_makes_the_voice(folder: Path) -> None:
    """Quietly it prints the id alone, so that a script can keep it; JSON has all of it."""
    del folder
    async with serving() as fake:
        people = await say(fake, "--clone", "ann.wav")
        quiet = await say(fake, "--clone", "ann.wav", "--quiet")
        scripts = await say(fake, "--clone", "ann.wav", "--json")

    assert f"voice {VOICE} made from ann.wav (speak with it: --voice {VOICE})\n" == people.stdout
    assert f"{VOICE}\n" == quiet.stdout
    assert (VOICE, True) == (document(scripts)["voice"]["id"], document(scripts)["already_there"])


async def test_clone_takes_upstreams_file_by_its_suffix(folder: Path) -> None:
    """A conds.pt is sent as what it is."""
    del folder
    async with serving() as fake:
        result = await say(fake, "--clone", "conds.pt")

    assert (0, 2) == (result.exit_code, fake.service.spec.content)


async def test_deleted_voice_is_gone(folder: Path) -> None:
    """A deletion is confirmed; a second one fails with the service's word."""
    del folder
    async with serving() as fake:
        await say(fake, "--clone", "ann.wav")
        first = await say(fake, "--delete-voice", VOICE)
        second = await say(fake, "--delete-voice", VOICE, "--json")

    assert (0, f"voice {VOICE} is deleted\n") == (first.exit_code, first.stdout)
    assert (1, "VOICE_NOT_FOUND") == (second.exit_code, document(second)["error"]["reason"])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--clone", "nothing.wav"], 2, "cannot read nothing.wav"),
        (["--clone", "short.wav"], 1, "the recording is short"),
        (["Hi.", "--clone", "short.wav", "-o", "a.wav"], 1, "the recording is short"),
        (["Hi.", "--clone", "ann.wav", "--voice", "alto", "-o", "a.wav"], 2, "--clone and --voice exclude"),
        (["Hi.", "--clone-name", "Ann", "-o", "a.wav"], 2, "--clone-name names the voice"),
        (["--delete-voice", "x", "--list-voices"], 2, "exclude each other"),
        (["--delete-voice", "x", "--clone", "ann.wav"], 2, "exclude each other"),
    ],
)
async def test_what_cannot_be_done_is_said(folder: Path, arguments: list[str], code: int, words: str) -> None:
    """The exit code tells whose fault it was, and no file is left."""
    async with serving() as fake:
        result = await say(fake, *arguments)

    assert (code, True) == (result.exit_code, words in result.stderr), result.stderr
    assert not (folder / "a.wav").exists()


async def test_settings_are_asked_of_the_service(folder: Path) -> None:
    """Every option of the command line reaches the configuration."""
    options = {
        "temperature": 0.7,
        "top_p": 0.9,
        "min_p": 0.1,
        "top_k": 50,
        "repetition_penalty": 1.3,
        "cfg_weight": 0.4,
        "exaggeration": 0.8,
    }
    typed = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    async with serving() as fake:
        result = await say(fake, "Hi.", "-o", str(folder / "a.wav"), *typed)
        sampling = fake.session.config.sampling

    assert 0 == result.exit_code, result.stderr
    assert options == pytest.approx({name: getattr(sampling, name) for name in options})


def test_new_voice_is_the_one_to_speak_with() -> None:
    """The configuration names it instead of none."""
    arguments = Arguments(server="s", clone="ann.wav", seed=3)

    assert SessionConfig(voice=VOICE, seed=3, encoding=Encoding.WAV) == arguments.config(Encoding.WAV, VOICE)


def test_guards_are_told() -> None:
    """Speech that a guard cut short is said to be so, for people and for scripts."""
    figures = Figures(output="a.wav")
    guarded = (GuardedSegment(text_start=0, text_end=9, guard=SpeechGuard.LOOP),)
    figures.heard_end(
        UtteranceResult(
            utterance_id="u",
            finish_reason=FinishReason.COMPLETE,
            samples=0,
            first_audio_seconds=0.1,
            queue_wait_seconds=0.0,
            real_time_factor=0.5,
            underruns=0,
            segments=(),
            config=SessionConfig(),
            speech_tokens=30,
            guarded_segments=guarded,
        ),
        1.0,
    )

    assert "guards ended segments: loop" in figures.line()
    assert (30, ["loop"]) == (figures.to_json()["speech_tokens"], figures.to_json()["guards"])
