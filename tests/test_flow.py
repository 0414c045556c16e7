"""Laws of every flow layer, in float64, with every parameter drawn anew."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from lowlight.nn.flow import (
    ActNorm,
    Chain,
    Coupling,
    Flow,
    Injection,
    Level,
    Map,
    Mix,
    Squeeze,
    Step,
    find_non_finite,
    log_prob,
    log_prob_by_place,
)


@dataclass(frozen=True)
class Case:
    """A layer, the shape of what it maps, and the shapes of its conditions."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    conditions: tuple[tuple[int, int, int], ...] = ()


CASES = {
    "squeeze": Case(Squeeze, (3, 4, 6)),
    "squeeze by 4": Case(lambda: Squeeze(4), (1, 8, 4)),
    "norm": Case(lambda: ActNorm(5), (5, 2, 3)),
    "mix": Case(lambda: Mix(5), (5, 2, 3)),
    "injection": Case(lambda: Injection(4, 3, 5), (4, 3, 2), ((3, 3, 2),)),
    "coupling": Case(lambda: Coupling(4, 3, 5), (4, 3, 2), ((3, 3, 2),)),
    "coupling of three": Case(lambda: Coupling(3, 2, 5), (3, 3, 2), ((2, 3, 2),)),
    "plain step": Case(lambda: Step(4, None, 5), (4, 3, 2), ((3, 3, 2),)),
    "step": Case(lambda: Step(4, 3, 5), (4, 3, 2), ((3, 3, 2),)),
    "level": Case(lambda: Level(3, 2, 5, plain=1, steps=2), (3, 4, 4), ((2, 2, 2),)),
    "flow": Case(lambda: Flow(3, 2, 5, plain=1, steps=1, levels=2), (3, 4, 4), ((2, 2, 2), (2, 1, 1))),
    "flow of one size": Case(
        lambda: Flow(3, 2, 5, plain=1, steps=1, levels=2, factor=1), (3, 3, 2), ((2, 3, 2), (2, 3, 2))
    ),
}


@dataclass(frozen=True)
class Drawn:
    """A layer with drawn parameters, conditions and a batch of two."""

    layer: nn.Module
    conditions: list[Tensor]
    x: Tensor

    def flow(self, batch: slice = slice(None)) -> Map:
        return given(self.layer, [each[batch] for each in self.conditions])


def draw(case: Case) -> Drawn:
    torch.manual_seed(0)
    layer = case.make().double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            noise = torch.randn_like(parameter)
            if parameter.ndim == 2:
                parameter.add_(0.2 * noise)  # an invertible matrix stays far from a singular one
            else:
                parameter.copy_(0.25 * noise)
    conditions = [torch.randn(2, *shape, dtype=torch.float64) for shape in case.conditions]
    return Drawn(layer, conditions, torch.randn(2, *case.shape, dtype=torch.float64))


def given(layer: nn.Module, conditions: list[Tensor]) -> Map:
    flow: Map = layer(conditions) if isinstance(layer, Flow) else layer(*conditions)
    return flow


def jacobian_log_det(function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """log |det| of the Jacobian at a batch of one, by autograd."""

    def flat(values: Tensor) -> Tensor:
        return function(values.reshape(x.shape))[0].flatten()

    jacobian = torch.autograd.functional.jacobian(flat, x.flatten(), vectorize=True)
    log_det: Tensor = torch.linalg.slogdet(jacobian)[1]  # type: ignore[arg-type]
    return log_det


@pytest.mark.parametrize("name", CASES)
def test_laws(name: str) -> None:
    drawn = draw(CASES[name])
    flow, x = drawn.flow(), drawn.x
    with torch.no_grad():
        z, log_det = flow.forward(x)
        back, back_log_det = flow.inverse(z)
        other = torch.randn_like(z)
        ahead = flow.forward(flow.inverse(other)[0])[0]
    assert z.numel() == x.numel()
    assert log_det.shape == (2,)
    assert "squeeze" in name or not torch.allclose(z.flatten(), x.flatten())
    torch.testing.assert_close(back, x, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(ahead, other, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(back_log_det, -log_det, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_log_determinants_are_those_of_the_jacobian(name: str) -> None:
    drawn = draw(CASES[name])
    z, log_det = drawn.flow().forward(drawn.x)
    for index in range(2):
        batch = slice(index, index + 1)
        alone = drawn.flow(batch)
        torch.testing.assert_close(alone.forward(drawn.x[batch]), (z[batch], log_det[batch]))
        found = jacobian_log_det(alone.forward, drawn.x[batch])
        torch.testing.assert_close(found, log_det[index], atol=1e-7, rtol=1e-7)
        found = jacobian_log_det(alone.inverse, z[batch])
        torch.testing.assert_close(found, alone.inverse(z[batch])[1][0], atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_log_determinants_by_place_are_the_same(name: str) -> None:
    drawn = draw(CASES[name])
    flow, x = drawn.flow(), drawn.x
    z, log_det = flow.by_place(x)
    expected, total = flow.forward(x)
    assert log_det.shape == (2, *x.shape[2:])
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(log_det.sum(dim=(1, 2)), total, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2)])
def test_each_place_has_its_own_part_of_the_log_determinant(row: int, column: int) -> None:
    """Without couplings a square's latent hangs on that square alone, and so does a Jacobian."""
    torch.manual_seed(0)
    level = Level(3, 2, 5, plain=2, steps=0).double().eval()
    injection = Injection(12, 2, 5).double().eval()
    with torch.no_grad():
        for parameter in [*level.parameters(), *injection.parameters()]:
            parameter.add_(0.2 * torch.randn_like(parameter))
    x = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    condition = torch.randn(1, 2, 2, 3, dtype=torch.float64)
    flow = Chain([level(condition), injection(condition)], ["level", "injection"])
    square = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)

    def of_square(part: Tensor) -> tuple[Tensor, Tensor]:
        whole = x.clone()
        whole[:, :, *square] = part
        z, log_det = flow.forward(whole)
        return z[:, :, row, column], log_det

    found = flow.by_place(x)[1]
    assert found.std() > 0.01
    expected = jacobian_log_det(of_square, x[:, :, *square])
    torch.testing.assert_close(found[0, *square], (expected / 4).expand(2, 2))


@pytest.mark.parametrize("name", CASES)
def test_the_same_after_save_and_load(name: str) -> None:
    drawn = draw(CASES[name])
    stream = io.BytesIO()
    torch.save(drawn.layer.state_dict(), stream)
    stream.seek(0)
    again = CASES[name].make().double().eval()
    again.load_state_dict(torch.load(stream, weights_only=True))
    with torch.no_grad():
        found, expected = (given(layer, drawn.conditions).forward(drawn.x) for layer in (again, drawn.layer))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_squeeze_takes_squares_into_channels() -> None:
    x = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    z, _ = Squeeze(2)().forward(x)
    for channel, dy, dx, row, column in [(0, 0, 1, 1, 2), (1, 1, 0, 0, 1), (1, 1, 1, 1, 0)]:
        assert z[0, channel * 4 + dy * 2 + dx, row, column] == x[0, channel, 2 * row + dy, 2 * column + dx]


def test_a_coupling_keeps_the_first_half_and_only_shrinks() -> None:
    drawn = draw(CASES["coupling"])
    with torch.no_grad():
        z, log_det = drawn.flow().forward(drawn.x)
    assert torch.equal(z[:, :2], drawn.x[:, :2])
    assert (log_det < 12 * math.log(1.0001)).all()


def test_norms_start_from_the_first_batch_of_training_and_only_once() -> None:
    torch.manual_seed(0)
    layer = ActNorm(3)
    x = 5 + 3 * torch.randn(4, 3, 8, 8)
    assert torch.equal(layer.eval()().forward(x)[0], x), "nothing is set in evaluation"
    z, _ = layer.train()().forward(x)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
    bias = layer.bias.detach().clone()
    layer().forward(x + 7)
    assert torch.equal(layer.bias, bias)
    loaded = ActNorm(3)
    loaded.load_state_dict({"bias": torch.tensor([0.0, 0.1, 0.0]), "logs": torch.zeros(3)})
    loaded.train()().forward(x)
    assert torch.equal(loaded.bias, torch.tensor([0.0, 0.1, 0.0])), "any bias tells that it was started"


def test_autocast_leaves_the_flow_in_float32() -> None:
    torch.manual_seed(0)
    layer = Level(3, 4, 8, plain=1, steps=1)
    condition, x = torch.randn(1, 4, 4, 4), torch.randn(1, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        flow = layer(condition.bfloat16())
        z, log_det = flow.forward(x)
        back, _ = flow.inverse(z)
    assert z.dtype == log_det.dtype == torch.float32
    torch.testing.assert_close(back, x, atol=1e-4, rtol=0)


def test_the_density_of_a_flow_integrates_to_one() -> None:
    """A step of two numbers at one position, summed over a grid."""
    torch.manual_seed(3)
    layer = Step(2, 1, 4).double().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    side = torch.linspace(-9, 9, 241, dtype=torch.float64)
    x = torch.cartesian_prod(side, side).reshape(-1, 2, 1, 1)
    with torch.no_grad():
        flow = layer(torch.ones(len(x), 1, 1, 1, dtype=torch.float64))
        z, log_det = flow.forward(x)
        density = log_prob(z, torch.tensor(0.3, dtype=torch.float64), log_det).exp()
        by_place = log_prob_by_place(flow, x, torch.tensor(0.3, dtype=torch.float64))
    assert float(density.sum() * (side[1] - side[0]) ** 2) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(by_place[:, 0, 0].exp(), density)


def test_the_first_layer_that_is_not_finite_is_named() -> None:
    drawn = draw(CASES["flow"])
    assert find_non_finite(drawn.flow(), drawn.x) == "prior"
    assert find_non_finite(drawn.flow(), drawn.x * math.inf) == "input"
    with torch.no_grad():
        drawn.layer.get_parameter("levels.1.steps.1.mix.weight")[0, 0] = math.nan
    assert find_non_finite(drawn.flow(), drawn.x) == "level 2, step 2, mix"
