"""Carries one command line out and reports how it went: the only place that turns errors into words and exit codes."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Never

from rich.console import Console

from greenroom_client.command.arguments import Arguments, check_one_purpose
from greenroom_client.command.catalog import print_json, show_info, show_voices, show_watermark
from greenroom_client.command.device import load_sound_library
from greenroom_client.command.figures import Figures
from greenroom_client.command.plan import STDOUT, Destination, Plan, plan_output
from greenroom_client.command.problems import CommandError, ExitCode, OutputError, Problem, UsageError, problem_of
from greenroom_client.command.progress import SpeechProgress
from greenroom_client.command.speaking import Interrupted, Speaking
from greenroom_client.command.text import STDIN, STDIN_DESCRIPTOR, text_source
from greenroom_client.command.voices import clone_voice, delete_voice, show_new_voice, told
from greenroom_client.errors import GreenroomError
from greenroom_client.options import ClientOptions
from greenroom_client.sync import Client
from greenroom_client.targets import parse_target
from greenroom_client.values import NewVoice


class Run:
    """One run of the command. `console` is standard error."""

    def __init__(self, arguments: Arguments, console: Console) -> None:
        self._arguments = arguments
        self._console = console
        self._figures = Figures(output="")

    def run(self) -> ExitCode:
        """Do what was asked and return the exit code."""
        try:
            with _terminable():
                self._carry_out()
        except (KeyboardInterrupt, Interrupted):
            return self._report_interruption()
        except (CommandError, GreenroomError) as error:
            return self._report_problem(problem_of(error, self._arguments.server))
        return ExitCode.OK

    def _carry_out(self) -> None:
        arguments = self._arguments
        check_one_purpose(arguments)
        try:
            target = parse_target(arguments.server)
        except ValueError as error:
            raise UsageError(f"--server: {error}") from None
        with Client(target, ClientOptions(client_name=arguments.client_name)) as client:
            if arguments.asks:
                self._ask(client)
            elif arguments.clone is not None and not arguments.speaks:
                path = Path(arguments.clone)
                show_new_voice(self._clone(client, path), path, as_json=arguments.as_json, quiet=arguments.quiet)
            else:
                self._speak(client)

    def _clone(self, client: Client, path: Path) -> NewVoice:
        arguments = self._arguments
        return clone_voice(client, path, display_name=arguments.clone_name, model=arguments.model)

    def _ask(self, client: Client) -> None:
        arguments, out = self._arguments, Console()
        if arguments.list_voices:
            show_voices(client, out, as_json=arguments.as_json)
        elif arguments.info:
            show_info(client, out, as_json=arguments.as_json)
        elif arguments.delete_voice is not None:
            delete_voice(client, arguments.delete_voice, as_json=arguments.as_json, quiet=arguments.quiet)
        else:
            show_watermark(
                client,
                out,
                Path(arguments.detect or ""),
                encoding=arguments.encoding,
                rate_hertz=arguments.rate_hertz,
                as_json=arguments.as_json,
            )

    def _speak(self, client: Client) -> None:
        arguments = self._arguments
        plan = plan_output(arguments.output, play=arguments.play, encoding=arguments.encoding, force=arguments.force)
        library = self._sound_library(plan)
        self._figures.output = plan.name
        texts = text_source(list(arguments.words), arguments.file)
        voice = self._new_voice(client)
        self._invite()
        with SpeechProgress(self._console, text_bytes=self._text_bytes(), shown=self._shows_progress()) as progress:
            speaking = Speaking(
                client,
                plan,
                sound_library=library,
                figures=self._figures,
                progress=progress,
                clock=time.monotonic,
            )
            speaking.speak(arguments.config(plan.encoding, voice), texts)
        self._report_figures()

    def _new_voice(self, client: Client) -> str | None:
        """Make the voice to speak with, if one is to be made, and return its id."""
        arguments = self._arguments
        if arguments.clone is None:
            return None
        path = Path(arguments.clone)
        self._figures.cloned = self._clone(client, path)
        if not arguments.quiet and not arguments.as_json:
            self._tell(told(self._figures.cloned, path))
        return self._figures.cloned.voice.id

    def _sound_library(self, plan: Plan) -> Any:
        """Return the sound library if the plan needs it, before anything is dialled."""
        if plan.destination is not Destination.SOUND_DEVICE:
            return None
        try:
            return load_sound_library()
        except OutputError as error:
            if self._arguments.play:
                raise
            raise UsageError(f"no --output was given, and there is {error}", hint=error.hint) from error

    def _invite(self) -> None:
        arguments = self._arguments
        from_stdin = (not arguments.words and arguments.file is None) or STDIN in {arguments.file, *arguments.words}
        if from_stdin and os.isatty(STDIN_DESCRIPTOR):
            self._console.print("Type the text; end it with Ctrl-D.")

    def _text_bytes(self) -> int | None:
        """Return the length of the text, where it is known before it is read."""
        arguments = self._arguments
        if arguments.words and arguments.words != (STDIN,):
            return len(" ".join(arguments.words).encode(errors="replace"))
        with contextlib.suppress(OSError):  # Reading it will say what is wrong.
            if arguments.file is not None and Path(arguments.file).is_file():
                return Path(arguments.file).stat().st_size
        return None

    # --- reports ------------------------------------------------------------------------------------------------

    def _audio_on_stdout(self) -> bool:
        return self._arguments.output == STDOUT

    def _shows_progress(self) -> bool:
        return not self._arguments.quiet and not (self._arguments.as_json and self._audio_on_stdout())

    def _report_figures(self) -> None:
        if self._arguments.as_json:
            self._print_json(None)
        elif not self._arguments.quiet:
            self._tell(self._figures.line())

    def _report_problem(self, problem: Problem) -> ExitCode:
        if self._arguments.as_json:
            self._print_json(problem)
        else:
            self._tell(f"tts-say: {problem.message}", style="red")
            if problem.hint:
                self._tell(problem.hint)
        return problem.exit_code

    def _report_interruption(self) -> ExitCode:
        cancelled = self._figures.cancelled
        if self._arguments.as_json:
            self._print_json(Problem(exit_code=ExitCode.INTERRUPTED, message="interrupted", reason="INTERRUPTED"))
        elif cancelled is None:
            self._tell("tts-say: interrupted before anything was spoken")
        else:
            self._tell("tts-say: interrupted. Spoken until then:")
            self._tell(cancelled.text_spoken.strip() or "(nothing)")
        return ExitCode.INTERRUPTED

    def _print_json(self, problem: Problem | None) -> None:
        asks = self._arguments.asks or (self._arguments.clone is not None and not self._arguments.speaks)
        document = {} if asks else self._figures.to_json()
        error = None if problem is None else problem.to_json()
        print_json({**document, "error": error}, to_stderr=self._audio_on_stdout())

    def _tell(self, text: str, *, style: str | None = None) -> None:
        self._console.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    def __repr__(self) -> str:
        return f"<Run {self._figures!r}>"


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the run like an error, so that no half file is left. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(number: int, frame: FrameType | None) -> Never:
        del number, frame
        raise SystemExit(ExitCode.TERMINATED)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
