"""How near GLARE's flow brings the latents of dark photos to those of light ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydantic import Field

from lowlight import studies
from lowlight.errors import UseError
from lowlight.methods import Samples
from lowlight.studies._shared import Pairs, cases_of, met, read_scenes

if TYPE_CHECKING:
    import torch

    from lowlight.methods.glare.network import Codec, Network

Floats = NDArray[np.float64]

GRID = 8
"""A photo is one point: the means of its latent in this many rows and columns."""
NEAREST = 5
SIDE = 640
"""Of the picture, pixels."""
MARGIN = 24
COLOURS = {
    "light photo": "#0a7d32",
    "dark photo, the codebook's encoder": "#1f2a44",
    "dark photo, its own encoder": "#c8641e",
    "dark photo, after the flow": "#b3127a",
}


class Features:
    """Latents of the same scenes: light, dark, and dark as the encoder and then the flow bring them nearer."""

    title: ClassVar[str] = "Latents of light photos, of dark ones, and of dark ones after the flow"
    source: ClassVar[str] = "GLARE (arXiv 2407.12431), its t-SNE of features"
    published: ClassVar[studies.Table | None] = None

    class Settings(Pairs):
        model: str
        """Weights file of GLARE, as ``lowlight train`` or ``lowlight import`` writes it."""
        codebook: str
        """Weights file of the codebook that it was trained from, with the encoder of light photos."""
        perplexity: float = Field(30.0, gt=0)
        """Of the t-SNE; a third of the points where they are too few for it."""
        seed: int = Field(0, ge=0)
        """Of the t-SNE."""

    def run(self, settings: Settings, folder: Path, say: studies.Say) -> studies.Findings:
        """Distances and codes place by place, neighbours photo by photo. Picture: all photos' latents by t-SNE."""
        try:
            from sklearn.manifold import TSNE
        except ModuleNotFoundError:
            raise UseError("study features needs scikit-learn: pip install 'lowlight[train]'") from None
        network, codec = load(settings)
        points: dict[str, list[Floats]] = {kind: [] for kind in COLOURS}
        away: dict[str, list[float]] = {kind: [] for kind in COLOURS}
        same: dict[str, list[float]] = {kind: [] for kind in COLOURS}
        spread = []
        for scene in read_scenes(settings):
            say(scene.name)
            latents = latents_of(network, codec, scene.low, scene.reference)
            light = latents["light photo"]
            wanted = codec.codebook.nearest(light)
            spread.append(float(light.double().var(dim=(0, 2, 3)).sum()))
            for kind, z in latents.items():
                away[kind].append(float((z - light).double().square().sum(dim=1).mean()))
                same[kind].append(float((codec.codebook.nearest(z) == wanted).double().mean()))
                points[kind].append(_grid_means(z))
        count = len(spread)
        if count <= NEAREST:
            raise UseError(f"{settings.low}: expected more than {NEAREST} photos, to tell neighbours")
        table = studies.Table(
            ("latents", "distance", "codes of the light photo", "light among neighbours"),
            [
                (
                    kind,
                    float(np.sqrt(np.mean(away[kind]) / np.mean(spread))),
                    float(np.mean(same[kind])),
                    None if kind == "light photo" else mixing(points["light photo"], points[kind]),
                )
                for kind in COLOURS
            ],
        )
        rows = np.concatenate([np.stack(points[kind]) for kind in COLOURS])
        perplexity = min(settings.perplexity, (len(rows) - 1) / 3)
        places = TSNE(perplexity=perplexity, random_state=settings.seed, init="pca").fit_transform(rows)
        notes = [
            *met(settings.model, cases_of(settings)),
            "distance: of a latent from its light photo's, the root of the mean square over all places.",
            "Its unit is the standard deviation within a light photo's latent.",
            "codes of the light photo: share of the places whose nearest code is the light photo's.",
            f"light among neighbours: share of light ones among the {NEAREST} photos nearest to a dark one.",
            "Its own twin is left out. 0: they lie apart; 0.5: they are mixed.",
            f"The picture has a point a photo: the means of its latent over {GRID}x{GRID} places, by t-SNE.",
            f"Its perplexity is {perplexity:.1f}; its distances mean nothing beyond who is near whom.",
        ]
        return studies.Findings(table, notes, {"features": draw(places)}, {"pairs": count})


def load(settings: Features.Settings) -> tuple[Network, Codec]:
    """The network and the codec of its codes. Raises UseError where these differ, WeightsError."""
    import torch

    from lowlight.engines.torch import load_network
    from lowlight.methods.glare import CODEBOOK, CodebookConfig
    from lowlight.methods.glare.network import Codec, Network
    from lowlight.training.checkpoint import load_module
    from lowlight.weights import load_tensors, open_weights

    opened = open_weights(settings.model, method="glare", part="")
    if opened.path.suffix != ".safetensors":
        raise UseError(f"{settings.model}: expected a .safetensors file of method glare")
    network = load_network(opened).eval()
    assert isinstance(network, Network)  # noqa: S101
    part = open_weights(settings.codebook, method="glare", part=CODEBOOK)
    codec = Codec(CodebookConfig.model_validate(part.header.config)).eval()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in load_tensors(part).items()}
    load_module(codec, tensors, settings.codebook)
    codes = network.decoding.codebook.codes
    if codes.shape != codec.codebook.codes.shape or not torch.allclose(
        codes, codec.codebook.codes, atol=1e-2 * float(codes.detach().abs().max())
    ):
        raise UseError(f"{settings.codebook}: its codes are not those of {settings.model}")
    return network, codec


def latents_of(
    network: Network, codec: Codec, low: Samples, reference: Samples
) -> Mapping[str, torch.Tensor]:
    """Latents before they are quantised, (1, 3, h, w), by the kinds of ``COLOURS``."""
    import torch

    from lowlight.photo import to_float

    multiple = 2 ** (len(network.config.multipliers) - 1)
    rows, columns = (side - side % multiple for side in low.shape[:2])
    dark, light = (
        torch.from_numpy(to_float(each[:rows, :columns])).permute(2, 0, 1)[None] for each in (low, reference)
    )
    with torch.no_grad():
        condition, mean, _ = network.encoder(dark)
        flow = network.flow([condition] * network.config.flows)
        latents = codec.latent(light), codec.latent(dark), mean, flow.inverse(mean)[0]
    return dict(zip(COLOURS, latents, strict=True))


def _grid_means(z: torch.Tensor) -> Floats:
    import torch.nn.functional as F

    return np.asarray(F.adaptive_avg_pool2d(z.double(), GRID).flatten().numpy(), np.float64)


def mixing(light: list[Floats], dark: list[Floats]) -> float:
    """Of the photos nearest to a dark one, among all others but its own light twin, the share of light ones."""
    lights, darks = np.stack(light), np.stack(dark)
    every = np.concatenate([lights, darks])
    shares = []
    for index, point in enumerate(darks):
        distance = np.square(every - point).sum(axis=1)
        distance[[index, len(lights) + index]] = np.inf
        shares.append(np.mean(np.argsort(distance, kind="stable")[:NEAREST] < len(lights)))
    return float(np.mean(shares))


def draw(places: Floats) -> NDArray[np.uint8]:
    """A dot a photo, coloured by kind; places: (kinds * photos, 2)."""
    low, high = places.min(axis=0), places.max(axis=0)
    scaled = (places - low) / np.maximum(high - low, 1e-9)
    image = Image.new("RGB", (SIDE, SIDE + 16 * len(COLOURS)), "white")
    canvas = ImageDraw.Draw(image)
    for group, (kind, colour) in zip(np.split(scaled, len(COLOURS)), COLOURS.items(), strict=True):
        for x, y in MARGIN + group * (SIDE - 2 * MARGIN):
            canvas.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        line = SIDE + 16 * list(COLOURS).index(kind)
        canvas.ellipse((MARGIN - 3, line + 3, MARGIN + 3, line + 9), fill=colour)
        canvas.text((MARGIN + 10, line), kind, fill=colour)
    return np.asarray(image)
