"""The mean of several trained networks, which often beats each of them (Wortsman et al., Model soups, 2022).

It works for runs that started from one network: their weights lie in one valley, and what each run learned by
chance cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lowlight import methods, weights
from lowlight.engines.torch import TorchEngine
from lowlight.enhancer import Enhancer
from lowlight.errors import WeightsError
from lowlight.evaluation import guards
from lowlight.training.validate import Validator, named
from lowlight.weights import Header, Tensors, Weights


def average(files: Sequence[Path]) -> tuple[Header, Tensors]:
    """Header and tensors of the mean of weights files of one method and configuration.

    The arrays for observing are those of the first file; the scores are nobody's and left out. Raises
    WeightsError naming the file that does not fit the first.
    """
    opened = [weights.open_weights(file, part="") for file in files]
    first = opened[0]
    total = {name: tensor.astype(np.float64) for name, tensor in weights.load_tensors(first).items()}
    for other in opened[1:]:
        for what in ("method", "config"):
            if getattr(other.header, what) != getattr(first.header, what):
                raise WeightsError(
                    f"{other.path}: its {what} is not that of {first.path}: no mean of the two"
                )
        tensors = weights.load_tensors(other)
        weights.check_tensors(tensors, weights.load_tensors(first), other.path)
        for name in total:
            total[name] += tensors[name]
    mean = {name: (tensor / len(opened)).astype(np.float32) for name, tensor in total.items()}
    return _header(opened), mean


def validated(header: Header, tensors: Tensors, validator: Validator) -> Header:
    """The header with the scores of these tensors."""
    method = methods.create(header.method, header.config, weights.decode_arrays(header.arrays))
    network = methods.room(header.method, "network").Network(
        methods.find(header.method).Config.model_validate(header.config)
    )
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    scores, _ = validator.run(Enhancer(method, TorchEngine(network.eval())))
    return header.model_copy(update={"scores": named(scores)})


def _header(opened: Sequence[Weights]) -> Header:
    headers = [each.header for each in opened]
    data = list(dict.fromkeys(line for header in headers for line in header.data))
    licences = list(dict.fromkeys(header.licence for header in headers))
    return headers[0].model_copy(
        update={
            "precision": "float32",
            "licence": "; ".join(licences),
            "data": data,
            "recipe": {"mean of": [header.recipe for header in headers]},
            "scores": {},
            "seen": guards.union([header.seen for header in headers]),
            "noise_levels": headers[0].noise_levels if all(h.noise_levels for h in headers) else None,
        }
    )
