"""From settings to the parts of a service: what speaks is chosen, its weights are found or made, and checked."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog
import torch

from tts_service.chatterbox_engine import chatterbox_parts
from tts_service.config import ServiceConfig
from tts_service.engine_choice import EngineChoice, choose_engine
from tts_service.engine_parts import EngineParts
from tts_service.load_progress import LoadProgress
from tts_service.machine import load_libraries, open_device, weights_for
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import build_network
from tts_service.models.chatterbox.loading import ModelWeights, NetworkBuilder, open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.packages import (
    NETWORK_MODULES,
    import_networks,
    import_parts,
    refuse_missing_packages,
)
from tts_service.models.chatterbox.read_ahead import ReadAhead
from tts_service.models.chatterbox.running_form import RunningForm
from tts_service.models.chatterbox.sources import (
    HubSource,
    SyntheticSource,
    WeightSource,
    is_at_hand,
    parse_source,
    weights_folder,
)
from tts_service.models.master_memory import MasterMemories
from tts_service.running_forms import running_forms
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


def engine_parts(
    config: ServiceConfig, progress: LoadProgress, *, memories: MasterMemories | None = None
) -> EngineParts:
    """Return the parts; takes as long as downloading does. No module is loaded yet. Raises StartupError.

    `memories` gives the host memory of weights, where that is not to be this process's own.
    """
    source = parse_source(config.weights, download=config.download)
    choice = choose_engine(
        config.model,
        config.device,
        cuda_devices=torch.cuda.device_count() if torch.cuda.is_available() else 0,
        weights_at_hand=lambda model: is_at_hand(source, model),
        weights=config.weights,
    )
    cache_dir = config.effective_cache_dir
    _log.info("engine_chosen", model=choice.model or "builtin", device=choice.device, reason=choice.reason)
    if choice.model is None and config.download:
        _log.warning("nothing_to_download", reason=choice.reason, way_out="name a model with --model")
    if choice.model is None:
        from tts_service.builtin_engine import builtin_parts  # noqa: PLC0415  # onnxruntime and SciPy, for this only.

        return builtin_parts(cache_dir, reason=choice.reason)
    refuse_missing_packages()
    device = torch.device(choice.device)
    with _device_opening(device, progress):
        forms = running_forms(config.precision, device)
        weights = _weights(source, choice.model, forms, config, progress, memories=memories)
    return _parts(choice, weights, config, progress)


@contextmanager
def _device_opening(device: torch.device, progress: LoadProgress) -> Iterator[None]:
    """Open a GPU in a thread while the block runs: driver and libraries take seconds for it, and no Python.

    At the end of the block the device is open. What went wrong there is raised, unless the block failed itself.
    """

    def opened() -> None:
        with progress.span("opening the device", on="device"):
            open_device(device)
        with progress.span("loading its libraries", on="device"):
            load_libraries(device)

    with ThreadPoolExecutor(1, thread_name_prefix="device") as opener:
        opening = opener.submit(opened)
        yield
        opening.result()


def _weights(
    source: WeightSource,
    model: ChatterboxModel,
    forms: Mapping[ModuleName, RunningForm],
    config: ServiceConfig,
    progress: LoadProgress,
    *,
    memories: MasterMemories | None,
) -> ModelWeights:
    fetched = progress.stage(_fetching(source))
    folder = weights_folder(source, model, cache_folder=config.effective_cache_dir, progress=fetched)
    progress.stage("checking weights")
    ahead = ReadAhead(progress.check, span=lambda module: progress.span(f"reading {module}", on="reading"))
    weights = open_weights(folder, model, forms=forms, build=_importing(progress), ahead=ahead, memories=memories)
    import_networks(progress.check)  # What the check did not need.
    precisions = {name: str(form.precision) for name, form in forms.items()}
    _log.info("weights_checked", weights=config.weights, folder=str(folder), size=weights.size.value, **precisions)
    return weights


def _importing(progress: LoadProgress) -> NetworkBuilder:
    """Return what builds networks and imports what each is made from, while the weights of others are read."""

    def build(module: ModuleName, model: ChatterboxModel, size: NetworkSize) -> torch.nn.Module:
        with progress.span(f"importing {module}", on="imports"):
            import_parts(NETWORK_MODULES[module], progress.check)
        return build_network(module, model, size)

    return build


def _parts(choice: EngineChoice, weights: ModelWeights, config: ServiceConfig, progress: LoadProgress) -> EngineParts:
    residency = config.residency
    brings = weights_for(
        torch.device(choice.device), arenas=residency.arenas, asynchronous=residency.asynchronous_transfer
    )
    parts = chatterbox_parts(
        choice,
        weights,
        brings=brings,
        captured=residency.captured,
        together=config.together,
        offload_bytes=residency.offload_bytes if residency.offload_paused and residency.enabled else 0,
        cache_dir=config.effective_cache_dir,
        voice_dir=config.effective_voice_dir,
        progress=progress.module,
    )
    progress.modules({module: weights.byte_count(module) for module in weights.modules})
    return parts


def _fetching(source: WeightSource) -> str:
    match source:
        case HubSource():
            return "fetching weights"
        case SyntheticSource():
            return "making synthetic weights"
        case _:
            return "looking for weights"
