"""The start of a real service with tiny weights: health, control and speech meanwhile, its end, and what stops it."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2

from greenroom.tts.v1 import tts_pb2 as pb
from greenroom.tts.v1 import tts_pb2_grpc
from tests.fakes.health import health
from tests.fakes.tiny_weights import changed, own_copy, tiny_folder
from tests.fakes.wire import failure
from tools.both import Both
from tools.process import NotReadyError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel

STATUS = health_pb2.HealthCheckResponse
TEXT = "Good evening, and welcome to the greenroom."


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return tiny English weights."""
    return tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.ENGLISH)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for one service."""
    return tmp_path_factory.mktemp("start")


@pytest.fixture
def loading(folder: Path) -> Iterator[Both]:
    """Give a service alone that has begun to load, and takes seconds for it: it makes its weights first."""
    both = Both(folder, model="english", weights="synthetic:tiny")
    both.service.start()
    try:
        both.service.until(lambda: health(both.speech_address) is not None)
        yield both
    finally:
        both.stop()


def spoken(address: str) -> bytes:
    """Return the samples of a sentence."""
    with grpc.insecure_channel(address) as channel:
        call = tts_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(
            pb.SynthesizeRequest(text=TEXT, config=pb.SessionConfig(sampling=pb.Sampling(seed=3))), timeout=60.0
        )
        return b"".join(message.audio.data for message in call)


def test_service_that_loads_is_not_serving_and_tells_callers_to_come_back(loading: Both) -> None:
    """Health answers from the start and turns green when speech is there; until then calls hear ENGINE_STARTING."""
    before = health(loading.speech_address)
    with pytest.raises(grpc.RpcError) as refused:
        spoken(loading.speech_address)
    loading.wait_serving()
    samples = spoken(loading.speech_address)
    modules = {module.module for module in loading.residency().modules}

    assert (STATUS.NOT_SERVING, ("UNAVAILABLE", "ENGINE_STARTING")) == (before, failure(refused.value))
    assert len(samples) > 24_000
    assert {"t3", "s3gen.flow", "s3gen.vocoder", "voice_encoder", "watermark.detector"} <= modules


def test_service_under_a_service_manager_says_how_it_is(folder: Path) -> None:
    """What is being loaded, ready once it speaks, alive while its event loop turns, stopping when it is told to."""
    name = f"greenroom-test-{folder}"
    both = Both(folder, service_env={"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "400000"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{name}")
        ear.settimeout(60.0)
        both.service.start()
        try:
            starting = said_until(ear, "READY=1")
            serving = said_until(ear, *["WATCHDOG=1"] * 5)
            both.service.signal(signal.SIGTERM)
            stopping = said_until(ear, "STOPPING=1")
        finally:
            both.stop()

    assert any(line.startswith("STATUS=the service is ") for line in starting)
    assert "STATUS=0 sessions" in [*serving, *stopping]


def said_until(ear: socket.socket, *last: str) -> list[str]:
    """Return the lines that are said until all of these have been."""
    lines: list[str] = []
    while any(lines.count(line) < last.count(line) for line in last):
        lines.extend(ear.recv(4096).decode().splitlines())
    return lines


def test_service_told_to_end_while_it_loads_ends_well(loading: Both) -> None:
    """SIGTERM ends it with status 0, no word of failure and no socket left."""
    before = health(loading.speech_address)
    loading.service.signal(signal.SIGTERM)
    status = loading.service.wait(40.0)
    said = loading.service.log_path.read_text()

    assert (STATUS.NOT_SERVING, 0) == (before, status), said
    assert ("ended_while_starting" in said, "Traceback" in said, "ready" in said) == (True, False, False)
    assert not loading.control_socket.exists()


def _with_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["flow.spk_embed_affine_layer.bias"][1] = float("nan")


def _without_head(tensors: dict[str, torch.Tensor]) -> None:
    tensors.pop("speech_head.weight")


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("s3gen.safetensors", _with_nan, "s3gen.safetensors: flow.spk_embed_affine_layer.bias: holds NaN"),
        ("t3_cfg.safetensors", _without_head, "t3_cfg.safetensors: speech_head.weight: is missing"),
    ],
)
def test_service_with_bad_weights_ends_and_names_file_and_key(
    tiny: Path, folder: Path, file: str, change: object, words: str
) -> None:
    """It never says SERVING; the last words of its log are what is wrong, without a traceback."""
    weights = own_copy(tiny, folder / "weights")
    changed(weights / file, change)  # type: ignore[arg-type]  # One of the two above.
    both = Both(folder, model="english", weights=str(weights))
    both.service.start()
    try:
        with pytest.raises(NotReadyError) as ended:
            both.wait_serving()
    finally:
        both.stop()

    assert "ended with status 1" in str(ended.value)
    assert (words in str(ended.value), "Traceback" in str(ended.value)) == (True, False), str(ended.value)
