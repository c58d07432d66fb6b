"""The command `tts-say` as a process, against a real server: files, pipes, exit codes, interruptions."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import soundfile
from typer.testing import CliRunner

from greenroom_client.command import speaking, text
from greenroom_client.say import app
from tests.fakes import fake_sound_device
from tests.fakes.fake_speech_script import Script, at_capacity, unavailable
from tests.fakes.fake_speech_service import serving
from tests.fakes.full_disk import with_files_up_to

ROOT = Path(__file__).resolve().parents[2]
HELLO = "Hello there. How are you?"
HELLO_SAMPLES = len(HELLO) * 240
LONG = "A sentence of some length. " * 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        assert 1 == self.out.count(b"\n")
        document: dict[str, Any] = json.loads(self.out)
        return document


@asynccontextmanager
async def started(
    *arguments: str,
    server: str,
    stdin: int = asyncio.subprocess.PIPE,
    environment: dict[str, str] | None = None,
    file_bytes_maximum: int | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command for the length of a block; it is killed if it is still there at the end."""
    command = [sys.executable, "-m", "greenroom_client.say", *arguments]
    if file_bytes_maximum is not None:
        command = with_files_up_to(file_bytes_maximum, command)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "GREENROOM_SERVER": server, **(environment or {})},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ended(process: asyncio.subprocess.Process, stdin: bytes | None = b"") -> Ended:
    """Give a process its input, wait for it and return what it said."""
    async with asyncio.timeout(20):
        out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return Ended(code=process.returncode, out=out, err=err.decode())


async def say(*arguments: str, server: str, stdin: bytes = b"") -> Ended:
    """Run the command to its end, inside this process: that is faster than a process of its own."""
    reader, writer = os.pipe()
    os.write(writer, stdin)
    os.close(writer)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(text, "STDIN_DESCRIPTOR", reader)
            environment = {"GREENROOM_SERVER": server}
            result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    finally:
        os.close(reader)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ended(code=result.exit_code, out=result.stdout_bytes, err=result.stderr)


async def run(*arguments: str, server: str, environment: dict[str, str] | None = None) -> Ended:
    """Run the command to its end, as a process."""
    async with started(*arguments, server=server, environment=environment) as process:
        return await ended(process)


def files_in(folder: Path) -> list[Path]:
    """Return what stands in a folder, hidden files included."""
    return list(folder.iterdir())


def test_command_is_installed_under_its_name() -> None:
    """`tts-say` leads to the function that the tests run."""
    (script,) = entry_points(group="console_scripts", name="tts-say")

    assert "greenroom_client.say:main" == script.value
    assert callable(script.load())


async def test_wav_file_is_complete_and_told(tmp_path: Path) -> None:
    """A file with a right header, one line of figures, exit code 0."""
    path = tmp_path / "a.wav"
    async with serving() as fake:
        result = await run(HELLO, "-o", str(path), "--voice", "bass", "--seed", "3", server=fake.address)

        assert ("bass", 3) == (fake.session.config.voice, fake.session.config.sampling.seed)
    with wave.open(str(path)) as reader:
        assert (24_000, HELLO_SAMPLES) == (reader.getframerate(), reader.getnframes())
    assert (0, b"") == (result.code, result.out)
    assert "0.25 s of speech to" in result.err
    assert "first audio after" in result.err
    assert [path] == files_in(tmp_path)


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
async def test_coded_file_is_what_the_service_coded(suffix: str, tmp_path: Path) -> None:
    """FLAC is spoken as a whole text, Ogg/Opus as it comes; both can be decoded."""
    path = tmp_path / f"a.{suffix}"
    async with serving() as fake:
        result = await say(HELLO, "-o", str(path), "--json", server=fake.address)

    assert 0 == result.code
    assert HELLO_SAMPLES == soundfile.info(path).frames == result.document["samples"]


async def test_raw_file_is_samples_and_nothing_else(tmp_path: Path) -> None:
    """The coding and the rate are those that were asked for."""
    path = tmp_path / "a.raw"
    async with serving() as fake:
        result = await say(HELLO, "-o", str(path), "-e", "mulaw", "-r", "8000", "--quiet", server=fake.address)

    assert (0, "") == (result.code, result.err)
    assert len(HELLO) * 80 == path.stat().st_size


async def test_pipe_is_spoken_while_it_is_open(tmp_path: Path) -> None:
    """The first sentence arrives at the service before the second is written."""
    path = tmp_path / "a.wav"
    async with serving() as fake, started("-o", str(path), "--json", server=fake.address) as process:
        assert process.stdin is not None
        process.stdin.write(b"The first. An")
        await process.stdin.drain()
        async with asyncio.timeout(20):
            while not fake.service.sessions or not fake.session.chunks_sent:  # noqa: ASYNC110 - Sets no event.
                await asyncio.sleep(0.01)
        result = await ended(process, b" unfinished one")

    assert 0 == result.code
    assert 2 == result.document["segments"]
    assert len("The first. An unfinished one") * 240 == result.document["samples"]


async def test_standard_output_carries_wav_and_nothing_else() -> None:
    """Audio on standard output, JSON on standard error; the length is open, so that it can be played as it comes."""
    async with serving() as fake:
        result = await run(HELLO, "-o", "-", "--json", server=fake.address)

    assert 0 == result.code
    assert b"RIFF\xff\xff\xff\xff" == result.out[:8]
    assert 44 + 2 * HELLO_SAMPLES == len(result.out)
    assert HELLO_SAMPLES == json.loads(result.err)["samples"]


async def test_text_longer_than_an_utterance_is_spoken_in_several(tmp_path: Path) -> None:
    """A book is no error: it is cut between words, and the audio is one file."""
    path = tmp_path / "a.wav"
    source = tmp_path / "book.txt"
    source.write_text("Nine here. " * 30)
    async with serving(Script(utterance_text_bytes=100)) as fake:
        result = await say("--file", str(source), "-o", str(path), "--json", server=fake.address)

    assert 0 == result.code
    assert 4 == result.document["utterances"]
    with wave.open(str(path)) as reader:
        assert result.document["samples"] == reader.getnframes() >= 30 * 10 * 240


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["hi", "-o", "a.mp3"], b"", 2, "cannot tell the coding"),
        (["", "-o", "a.wav"], b"", 2, "nothing to say"),
        (["-o", "a.wav"], b" \n ", 2, "nothing to say"),
        (["-o", "a.wav"], b"good \xfe\xff bad", 2, "byte 0xfe at position 5"),
        (["--file", "nothing.txt", "-o", "a.wav"], b"", 2, "cannot read nothing.txt"),
        (["hi", "-o", "a.wav", "--seed", "-1"], b"", 2, "--seed"),
        (["hi", "-o", "a.wav", "-e", "mp3"], b"", 2, "none of s16le"),
        (["hi", "-o", "a.wav", "--no-such-option"], b"", 2, "No such option"),
        (["hi", "-o", "a.wav", "--server", "http://x"], b"", 2, "is a URL"),
        (["hi", "--list-voices"], b"", 2, "exclude each other"),
        (["--detect", "nothing.wav"], b"", 2, "cannot read nothing.wav"),
        (["--detect", "samples.bin"], b"", 2, "how samples.bin is coded: say it with --encoding"),
        (["hi", "-o", "nowhere/a.wav"], b"", 1, "cannot write nowhere/a.wav"),
        (["hi", "-o", "a.wav", "--voice", "x"], b"", 1, "no voice 'x'"),
        (["hi", "-o", "a.wav", "-r", "7"], b"", 1, "audio_format.sample_rate_hertz"),
        (["hi", "-o", "a.wav", "--server", "127.0.0.1:1"], b"", 3, "the service at 127.0.0.1:1 cannot be reached"),
    ],
)
async def test_what_cannot_be_done_is_said_with_its_exit_code(
    arguments: list[str], stdin: bytes, code: int, words: str, tmp_path: Path
) -> None:
    """Each kind of failure has its code, names its cause, and leaves no file."""
    with contextlib.chdir(tmp_path):
        async with serving() as fake:
            result = await say(*arguments, server=fake.address, stdin=stdin)

    assert code == result.code
    assert words in " ".join(result.err.split())
    assert "Traceback" not in result.err
    assert [] == files_in(tmp_path)


@pytest.mark.parametrize(("length", "code"), [(70_000, 1), (1_100_000, 2)])
async def test_whole_text_over_the_limit_names_what_takes_it(length: int, code: int, tmp_path: Path) -> None:
    """FLAC is coded from one whole text; a book goes into another kind of file."""
    source = tmp_path / "book.txt"
    source.write_text("x" * length)
    async with serving() as fake:
        result = await say("--file", str(source), "-o", str(tmp_path / "a.flac"), server=fake.address)

    assert code == result.code
    assert "Write .wav or .ogg" in result.err
    assert [source] == files_in(tmp_path)


async def test_failure_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    """Scripts read reason, hint and the time to come again."""
    script = Script()
    script.refusals.extend([at_capacity(retry_after_seconds=60.0)])
    async with serving(script) as fake:
        result = await say("hi", "-o", str(tmp_path / "a.wav"), "--json", server=fake.address)

    assert (1, "") == (result.code, result.err)
    assert ("AT_CAPACITY", 60.0) == (
        result.document["error"]["reason"],
        result.document["error"]["retry_after_seconds"],
    )


async def test_service_that_breaks_in_mid_speech_leaves_no_file(tmp_path: Path) -> None:
    """Half a file is no file."""
    script = Script(end_session_after_chunks=3, end_session_with=unavailable(retry_after_seconds=1.0))
    async with serving(script) as fake:
        result = await say(LONG, "-o", str(tmp_path / "a.wav"), server=fake.address)

    assert 1 == result.code
    assert "as scripted" in result.err
    assert [] == files_in(tmp_path)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
async def test_interruption_says_what_was_spoken_and_leaves_no_file(name: str, tmp_path: Path) -> None:
    """Ctrl-C cancels at the service, tells the text until then, and ends with 130."""
    arguments = (LONG, "-o", str(tmp_path / name), "--json")
    async with (
        serving(Script(chunk_delay_seconds=0.02)) as fake,
        started(*arguments, server=fake.address, stdin=asyncio.subprocess.DEVNULL) as process,
    ):
        async with asyncio.timeout(20):
            # A whole text has no session; a session has spoken once a chunk has left. No event tells of either.
            while not files_in(tmp_path) or not all(s.chunks_sent for s in fake.service.sessions):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        result = await ended(process, None)
        async with asyncio.timeout(5):
            await fake.wait_until_left()

    assert 130 == result.code
    assert "INTERRUPTED" == result.document["error"]["reason"]
    assert LONG.strip() == (result.document["text_spoken"] + result.document["text_unspoken"]).strip()
    assert result.document["text_unspoken"]
    assert [] == files_in(tmp_path)


async def test_interruption_before_any_text_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C while standard input is silent is no error either."""
    async with serving() as fake, started("-o", str(tmp_path / "a.wav"), server=fake.address) as process:
        async with asyncio.timeout(20):
            while not fake.service.sessions:  # noqa: ASYNC110 - Sets no event.
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        result = await ended(process, None)

    assert 130 == result.code
    assert "interrupted before anything was spoken" in result.err
    assert "Traceback" not in result.err


async def test_termination_leaves_no_file(tmp_path: Path) -> None:
    """SIGTERM cleans up and ends with 143."""
    arguments = (LONG, "-o", str(tmp_path / "a.wav"))
    async with (
        serving(Script(chunk_delay_seconds=0.02)) as fake,
        started(*arguments, server=fake.address, stdin=asyncio.subprocess.DEVNULL) as process,
    ):
        async with asyncio.timeout(20):
            while not files_in(tmp_path):  # noqa: ASYNC110 - A file sets no event.
                await asyncio.sleep(0.01)
        process.terminate()
        result = await ended(process, None)

    assert 143 == result.code
    assert [] == files_in(tmp_path)


async def test_reader_that_leaves_the_pipe_is_told_and_the_service_is_spared() -> None:
    """A closed standard output is an error in words, and the RPC is cancelled."""
    async with (
        serving(Script(chunk_delay_seconds=0.01)) as fake,
        started(LONG, "-o", "-", server=fake.address, stdin=asyncio.subprocess.DEVNULL) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        await process.stdout.readexactly(100)
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # The way to close it.
        async with asyncio.timeout(20):
            err = await process.stderr.read()
            await process.wait()
            await fake.wait_until_left()

    assert 1 == process.returncode
    assert "tts-say: standard output was closed by its reader" == err.decode().strip()


async def test_disk_that_is_full_is_told_and_leaves_no_file(tmp_path: Path) -> None:
    """A file that cannot grow is an error of the output, and what was written is removed."""
    arguments = (LONG, "-o", str(tmp_path / "a.wav"))
    async with (
        serving() as fake,
        started(*arguments, server=fake.address, file_bytes_maximum=5_000) as process,
    ):
        result = await ended(process)

    assert 1 == result.code
    assert f"cannot write {tmp_path / 'a.wav'}: File too large" in result.err
    assert [] == files_in(tmp_path)


async def test_speech_is_played_on_the_sound_device(tmp_path: Path) -> None:
    """Without an output the sound device speaks, paced by the service, and is waited for."""
    (tmp_path / "sounddevice.py").write_text("from tests.fakes.fake_sound_device import *\n")
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "FAKE_SOUND_LOG": str(tmp_path / "log")}
    async with serving() as fake:
        result = await run(HELLO, server=fake.address, environment=environment)

        assert "PACING_REALTIME" in repr(fake.session.config)
    assert 0 == result.code
    assert f"stopped {2 * HELLO_SAMPLES}" == (tmp_path / "log").read_text()
    assert "to the sound device" in result.err


async def test_playback_is_reported_while_the_device_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service hears how far the listener is, so that it does not run ahead of a slow device."""
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sound_device)
    monkeypatch.setattr(speaking, "REPORT_SECONDS", 0.0)
    async with serving() as fake:
        result = await say(LONG, "--play", server=fake.address)
        reported = fake.session.playback["u1"]

    assert 0 == result.code
    assert 0 < reported <= len(LONG) * 240


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--play"], 1)])
async def test_missing_sound_library_names_the_way_out(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who did not ask for sound made a mistake of usage; who did has a machine without it."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    async with serving() as fake:
        result = await say(HELLO, *arguments, server=fake.address)

        assert 0 == fake.service.rpcs_begun
    assert code == result.code
    assert "PortAudio library not found" in result.err
    assert "--output speech.wav" in result.err


@pytest.mark.parametrize(
    ("arguments", "words", "key"),
    [
        (["--list-voices"], ["alto", "bass", "tenor"], "voices"),
        (["--info"], ["fake 0.0-fake", "hum", "8000 to 48000 Hz"], "service_name"),
        (["--detect", "a.wav"], ["a.wav carries the watermark (score 0.990)"], "verdict"),
    ],
)
async def test_questions_are_answered_for_people_and_for_scripts(
    arguments: list[str], words: list[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables or words on standard output, or one JSON object."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(bytes(50_000))
    async with serving() as fake:
        people = await say(*arguments, server=fake.address)
        scripts = await say(*arguments, "--json", server=fake.address)

    assert (0, 0) == (people.code, scripts.code)
    assert all(word in people.out.decode() for word in words)
    assert scripts.document[key]


async def test_help_shows_examples_and_exit_codes() -> None:
    """`--help` alone is enough to use the command."""
    result = await say("--help", server="127.0.0.1:1")

    assert 0 == result.code
    assert all(
        words in result.out.decode()
        for words in ("tts-say --detect evening.wav", "130 interrupted", "GREENROOM_SERVER")
    )
