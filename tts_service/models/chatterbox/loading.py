"""The one loader of Chatterbox's weights, wherever they come from: strict, complete in what it reports, without copies.

`open_weights` reads headers only and says everything that is wrong at once. `ModelWeights.load` then makes one module,
alone and again whenever it is wanted, which is what a return from DISK is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import structlog
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import conditionals_problems
from tts_service.models.chatterbox.host_master import (
    EndOfFileError,
    HostMaster,
    Unfit,
    allocate_master,
    fill_master,
    placed_bytes,
)
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE, LAYOUTS, ModelLayout, ModuleFile, build_network
from tts_service.models.chatterbox.master_identity import master_identity
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.read_ahead import Progress, ReadAhead
from tts_service.models.chatterbox.running_form import AS_TRAINED, RunningForm
from tts_service.models.chatterbox.t3_network import T3, UNUSED_SHAPES
from tts_service.models.chatterbox.tokenizer_files import tokenizer_problems
from tts_service.models.chatterbox.weight_checks import module_problems, surplus_problems
from tts_service.models.chatterbox.weight_file import (
    StoredTensor,
    UnreadableFileError,
    file_problem,
    safetensors_metadata,
    stored_tensors,
)
from tts_service.models.chatterbox.weight_problems import WeightProblem, refuse_problems
from tts_service.models.master_memory import MasterMemories, OwnPages
from tts_service.types import ModuleName

_WIDE_KEYS = ("speech_head.weight", "speech_emb.weight")
"""Names of T3's whose last dimension is its width."""

_log = structlog.get_logger(__name__)


class NetworkBuilder(Protocol):
    """Makes a module's network on the meta device."""

    def __call__(self, module: ModuleName, model: ChatterboxModel, size: NetworkSize) -> torch.nn.Module:
        """Return the network."""
        ...


def no_progress(done_bytes: int, total_bytes: int) -> None:
    """Tell nobody."""
    del done_bytes, total_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWeights:
    """A folder whose every file has been checked against the networks of its model and size.

    `forms` are those of the modules that are to run in another than they were trained in. `networks` were built for the
    check, and are there for the first load. `memories` gives the host memory that modules are loaded into. `ahead` may
    have begun to read.
    """

    folder: Path
    layout: ModelLayout
    size: NetworkSize
    stored: dict[ModuleName, Mapping[str, StoredTensor]]
    build: NetworkBuilder = build_network
    forms: Mapping[ModuleName, RunningForm] = field(default_factory=dict)
    networks: dict[ModuleName, torch.nn.Module] = field(default_factory=dict)
    memories: MasterMemories = field(default_factory=OwnPages)
    ahead: ReadAhead | None = None

    def __repr__(self) -> str:
        return f"<ModelWeights {self.layout.model} {self.size.value} in {self.folder}>"

    @property
    def modules(self) -> tuple[ModuleName, ...]:
        """The modules, T3 first."""
        return tuple(each.module for each in self.layout.modules)

    def form(self, module: ModuleName) -> RunningForm:
        """Return the form that a module is loaded in."""
        return self.forms.get(module, AS_TRAINED)

    def byte_count(self, module: ModuleName) -> int:
        """Return how many bytes a module's weights have in their file."""
        return sum(each.byte_count for each in self.stored[module].values())

    def master_bytes(self, module: ModuleName) -> int:
        """Return how much memory a module's weights take in their form, each tensor at a place of its own."""
        return placed_bytes(self.stored[module], self.form(module))

    @property
    def is_synthetic(self) -> bool:
        """Tell whether the weights are ours, which speak noise."""
        path = self.folder / self.layout.module_file(T3).file
        return safetensors_metadata(path).get("made_by", "").startswith("greenroom")

    def load(self, module: ModuleName, *, progress: Progress = no_progress) -> torch.nn.Module:
        """Return a module with its weights, in evaluation mode, frozen, its tensors in one piece of memory.

        Raises BadWeightsError: the file has gone, changed or ended since it was checked, or has values that are not
        finite, or not in the type that they are to have (all such names are told).
        """
        return self.load_with_master(module, progress=progress)[0]

    def load_with_master(
        self, module: ModuleName, *, progress: Progress = no_progress
    ) -> tuple[torch.nn.Module, HostMaster]:
        """Return a module and the memory that its tensors are views of; raises as `load` does."""
        network = self.networks.pop(module, None)
        if network is None:
            network = self.build(module, self.layout.model, self.size)
        master = self._read_ahead(module, progress)
        if master is None:
            master = self.read_master(module, progress=progress)
        network.load_state_dict(master.tensors, strict=False, assign=True)
        _form_tables(network, self.form(module), master)
        network.requires_grad_(requires_grad=False)
        assert not any(each.is_meta for each in (*network.parameters(), *network.buffers()))
        return network.eval(), master

    def _read_ahead(self, module: ModuleName, progress: Progress) -> HostMaster | None:
        if self.ahead is None:
            return None
        try:
            return self.ahead.take(module, progress)
        except BaseException:
            # What fails here ends the start: nobody will take the others.
            self.ahead.end()
            raise

    def read_master(self, module: ModuleName, *, progress: Progress = no_progress) -> HostMaster:
        """Return a module's weights in host memory, by the network's names; raises as `load` does."""
        return _read(self, self.layout.module_file(module), progress)


def _read(weights: ModelWeights, place: ModuleFile, progress: Progress) -> HostMaster:
    module, folder, form = place.module, weights.folder, weights.form(place.module)
    stored = weights.stored[module]
    kept = weights.memories.memory(
        module, placed_bytes(stored, form), identity=_identity(folder / place.file, stored, form)
    )
    master = allocate_master(stored, form, memory_of=lambda _: kept.bytes_)
    if kept.is_filled:
        progress(weights.byte_count(module), weights.byte_count(module))
        return master
    refuse_problems(folder, _fill(folder / place.file, place, stored, master, progress))
    weights.memories.filled(module)
    _log.info("master_read", module=module, bytes=weights.byte_count(module))
    return master


def _identity(path: Path, stored: Mapping[str, StoredTensor], form: RunningForm) -> str:
    try:
        return master_identity(path, stored, form)
    except OSError:
        return ""  # It has gone, which whoever reads it says; nothing is ever kept under this name.


def _fill(
    path: Path, place: ModuleFile, stored: Mapping[str, StoredTensor], master: HostMaster, progress: Progress
) -> list[WeightProblem]:
    total_bytes, done_bytes = sum(each.byte_count for each in stored.values()), 0

    def told(byte_count: int) -> None:
        nonlocal done_bytes
        done_bytes += byte_count
        progress(done_bytes, total_bytes)

    try:
        with path.open("rb", buffering=0) as file:
            unfit = fill_master(file, stored, master, told)
    except OSError as error:
        return [file_problem(path, error)]
    except EndOfFileError:
        return [WeightProblem(file=place.file, what="has become shorter since it was checked")]
    return [_problem(place, name, each) for name, each in unfit.items()]


def _form_tables(network: torch.nn.Module, form: RunningForm, master: HostMaster) -> None:
    """Bring what is computed and not loaded into the form, too."""
    for name, table in network.named_buffers():
        if name not in master.tensors:
            table.data = form.of_tensor(name, table.dtype, tuple(table.shape)).held(table)


def open_weights(
    folder: Path,
    model: ChatterboxModel,
    *,
    forms: Mapping[ModuleName, RunningForm] = MappingProxyType({}),
    build: NetworkBuilder = build_network,
    ahead: ReadAhead | None = None,
    memories: MasterMemories | None = None,
) -> ModelWeights:
    """Check a folder and return what modules are loaded from; the size (full or tiny) is read from T3's file.

    `forms` are those that modules are to run in; one that is not named runs as it was trained. `ahead` begins to read
    each module as soon as it has been checked; otherwise only headers and the tokenizer are read.

    Raises BadWeightsError with everything that is wrong.
    """
    layout = LAYOUTS[model]
    files = {file: _stored(folder / file) for file in layout.weight_files}
    size = _size(files[layout.module_file(T3).file])
    weights = ModelWeights(
        folder=folder,
        layout=layout,
        size=size,
        stored={},
        forms=forms,
        build=build,
        memories=memories or OwnPages(),
        ahead=ahead,
    )
    problems = [each for each in files.values() if isinstance(each, WeightProblem)]
    try:
        for file, content in files.items():
            if not isinstance(content, WeightProblem):
                problems += _checked(weights, file, content, reads=not problems)
        problems += tokenizer_problems(folder, layout)
        problems += conditionals_problems(folder / CONDITIONALS_FILE)
        refuse_problems(folder, problems)
    except BaseException:
        if ahead is not None:
            ahead.end()
        raise
    return weights


def _checked(
    weights: ModelWeights, file: str, content: Mapping[str, StoredTensor], *, reads: bool
) -> list[WeightProblem]:
    """Build the networks of a file's modules, note what each has there, and return what is wrong with the file."""
    wanted: dict[ModuleFile, Mapping[str, torch.Tensor]] = {}
    problems: list[WeightProblem] = []
    for place in weights.layout.modules_in(file):
        network = weights.networks[place.module] = weights.build(place.module, weights.layout.model, weights.size)
        wanted[place] = network.state_dict()
        problems += module_problems(place, wanted[place], content)
        weights.stored[place.module] = _own(place, wanted[place], content)
        if weights.ahead is not None and reads and not problems:
            weights.ahead.begin(place.module, partial(_read, weights, place))
    return [*problems, *surplus_problems(wanted, content)]


def _stored(path: Path) -> Mapping[str, StoredTensor] | WeightProblem:
    try:
        return stored_tensors(path)
    except (OSError, UnreadableFileError) as error:
        return file_problem(path, error)


def _size(content: Mapping[str, StoredTensor] | WeightProblem) -> NetworkSize:
    """Tell the size by T3's width; whatever is neither is checked as FULL, and its shapes are then told."""
    if isinstance(content, WeightProblem):
        return NetworkSize.FULL
    tiny_width = UNUSED_SHAPES[NetworkSize.TINY][1]
    is_tiny = any(name in content and content[name].shape[1:] == (tiny_width,) for name in _WIDE_KEYS)
    return NetworkSize.TINY if is_tiny else NetworkSize.FULL


def _own(
    place: ModuleFile, wanted: Mapping[str, torch.Tensor], content: Mapping[str, StoredTensor]
) -> dict[str, StoredTensor]:
    """Return a module's part of a file, by the network's names."""
    keys = {name: f"{place.prefix}{name}" for name in wanted}
    return {name: content[key] for name, key in keys.items() if key in content}


def _problem(place: ModuleFile, name: str, unfit: Unfit) -> WeightProblem:
    return WeightProblem(file=place.file, key=f"{place.prefix}{name}", what=unfit.value)
