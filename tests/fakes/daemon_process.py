"""The real memory daemon as a process of its own, in folders of a test's."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc
from tests.fakes.full_disk import with_files_up_to

WAIT_SECONDS = 20.0


class DaemonProcess:
    """A memory daemon: started with flags, heard through its log, asked through its socket."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        state: str = "state",
        socket: str = "policy.sock",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.socket = folder / socket
        self.state = folder / state
        self.services = folder / "services"
        self.events: list[dict[str, Any]] = []
        self.words: list[str] = []
        self._flags = flags
        self._heard = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._channel: grpc.Channel | None = None
        self._folder = folder
        self._own_environment = environment or {}

    def __repr__(self) -> str:
        return f"<DaemonProcess {self.socket} | {len(self.events)} events>"

    @property
    def stub(self) -> policy_pb2_grpc.PolicyServiceStub:
        """Return what operators dial."""
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"unix:{self.socket}")
        return policy_pb2_grpc.PolicyServiceStub(self._channel)

    @property
    def pid(self) -> int:
        """Return the process's number while it runs."""
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, and wait for nothing."""
        os.kill(self.pid, number)

    def start(self, *, file_bytes_maximum: int | None = None, wait: bool = True) -> None:
        """Start it, and wait until it listens; `file_bytes_maximum` is a disk on which no file grows larger."""
        command = [sys.executable, "-m", "memory_daemon", *self._arguments()]
        if file_bytes_maximum is not None:
            command = with_files_up_to(file_bytes_maximum, command)
        self._process = subprocess.Popen(command, env=self._environment(), stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._hear, args=(self._process,), daemon=True)
        self._reader.start()
        if wait:
            self.wait_for_event("listening")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for the end and return the exit code."""
        assert self._process is not None
        assert self._reader is not None
        code = self._process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        return code

    def close(self) -> None:
        """End it, however it is."""
        if self._process is not None and self._process.returncode is None:
            self.end(signal.SIGKILL)

    def wait_for_event(self, name: str, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Wait until the log has an event, and return it."""

        def found() -> dict[str, Any] | None:
            return next((event for event in self.events if event["event"] == name and holds(event)), None)

        with self._heard:
            assert self._heard.wait_for(lambda: found() is not None, WAIT_SECONDS), (name, self.events, self.words)
        event = found()
        assert event is not None
        return event

    def policy(self) -> policy_pb2.Policy:
        """Return the policy in force."""
        return self.stub.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=WAIT_SECONDS).policy

    def set_marks(self, **percent: float) -> policy_pb2.Policy:
        """Change marks to shares of the total."""
        policy = policy_pb2.Policy()
        for name, value in percent.items():
            getattr(policy, name).percent = value
        request = policy_pb2.UpdatePolicyRequest(policy=policy, requested_by="test")
        request.update_mask.paths.extend(percent)
        return self.stub.UpdatePolicy(request, timeout=WAIT_SECONDS).policy

    def _arguments(self) -> list[str]:
        places = {"--services-dir": self.services, "--policy-socket": self.socket, "--state-dir": self.state}
        return [*(str(word) for place in places.items() for word in place), "--log-format", "json", *self._flags]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GREENROOM_", "XDG_"))}
        own = {"XDG_CONFIG_HOME": str(self._folder / "config"), "GREENROOM_DAEMON_METRICS__ADDRESS": "127.0.0.1:0"}
        return {**kept, **own, **self._own_environment}

    def _hear(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._heard:
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                else:
                    self.words.append(line.rstrip())
                self._heard.notify_all()
