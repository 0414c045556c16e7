"""torch: the engine for training's validation, studies, and weights that are not exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lowlight import methods
from lowlight.engines import Device, OutOfMemory, Precision, check_result
from lowlight.errors import EngineError
from lowlight.methods import Array, Config, Observation
from lowlight.weights import Tensors, Weights, check_tensors, load_tensors

try:
    import torch
except ModuleNotFoundError:
    raise EngineError(
        "engine torch needs torch, which is not installed: pip install 'lowlight[train]'"
    ) from None

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle


class TorchEngine:
    """A torch module as an engine. See ``engines.Engine`` for the surface.

    The module is used as it stands, never copied: what training changes in it shows in the next run.
    """

    device: str

    def __init__(
        self,
        network: nn.Module,
        *,
        device: Device | torch.device = "auto",
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        """
        network: takes (dark, **observation), pictures as (batch, 3, height, width).
        device: it must be there already; ``auto`` takes the device where it is.
        threads: for the CPU, while it runs; default: torch's own number.
        precision: ``bf16`` computes in bfloat16 what torch's autocast deems safe.
        """
        first = next(network.parameters(), None)
        place = first.device if first is not None else torch.device("cpu")
        if device != "auto" and _device(device).type != place.type:
            raise EngineError(f"the network is on {place.type}, not on {device}: move it there first")
        self.device = place.type
        self._place = place
        self._network = network
        self._threads = threads
        self._precision = precision

    @classmethod
    def from_weights(
        cls,
        weights: Weights,
        *,
        device: Device = "auto",
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> TorchEngine:
        """An engine for a .safetensors file."""
        chosen = (
            torch.device("cuda" if torch.cuda.is_available() else "cpu")
            if device == "auto"
            else _device(device)
        )
        network = load_network(weights)
        if hasattr(network, "folded"):
            network = network.folded()  # type: ignore[operator]
        network = network.eval().to(chosen, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(network, threads=threads, precision=precision)

    def run(self, tile: Array, observation: Observation) -> Array:
        """See ``engines.Engine.run``."""
        dark = torch.tensor(tile)[None].permute(0, 3, 1, 2)  # channels-last already
        seen = {name: torch.tensor(array)[None].to(self._place) for name, array in observation.items()}
        autocast = torch.autocast(self.device, torch.bfloat16, enabled=self._precision == "bf16")

        def compute() -> Array:
            with torch.inference_mode(), autocast, _threads(self._threads), _evaluating(self._network):
                result = self._network(dark.to(self._place), **seen)
                picture: Array = result[0].permute(1, 2, 0).float().cpu().numpy()
            return picture

        def origin() -> str:
            with _watched(self._network) as found:
                compute()
            return f", first in the layer {found[0]}" if found else ""

        try:
            picture = compute()
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error):
                raise OutOfMemory(f"a tile of {tile.shape[1]}x{tile.shape[0]} pixels did not fit") from None
            raise
        return check_result(picture, tile, observation, origin=origin)


def load_network(weights: Weights) -> nn.Module:
    """The network that a .safetensors file describes, with its tensors, on the CPU.

    Raises WeightsError naming the first tensor that is missing, unknown, or of another shape or dtype.
    """
    config = methods.find(weights.header.method).Config.model_validate(weights.header.config)
    network: nn.Module = methods.room(weights.header.method, "network").Network(config)
    tensors = load_tensors(weights)
    check_tensors(
        tensors, {name: value.numpy() for name, value in network.state_dict().items()}, weights.path
    )
    network.load_state_dict({name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()})
    return network


def expected_tensors(method: str, config: Config) -> Tensors:
    """A new network's tensors, for their names, shapes and dtypes."""
    network: nn.Module = methods.room(method, "network").Network(config)
    return {name: value.numpy() for name, value in network.state_dict().items()}


def _device(device: str | torch.device) -> torch.device:
    if isinstance(device, torch.device):
        return device
    if device not in ("cpu", "cuda"):
        raise EngineError(f"engine torch runs on cpu and cuda, not on {device}; take engine onnx for it")
    if device == "cuda" and not torch.cuda.is_available():
        raise EngineError("device cuda is not available to torch; there is: cpu; install torch with CUDA")
    return torch.device(device)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _watched(network: nn.Module) -> Iterator[list[str]]:
    """Names of the layers whose result is not finite, in the order in which they are computed."""
    found: list[str] = []

    def watch(name: str, layer: nn.Module) -> RemovableHandle:
        def look(_layer: nn.Module, _inputs: object, result: object) -> None:
            if isinstance(result, torch.Tensor) and not bool(result.isfinite().all()):
                found.append(name)

        return layer.register_forward_hook(look)

    hooks = [watch(name, layer) for name, layer in network.named_modules() if name]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a moment; every part gets its own mode back."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
