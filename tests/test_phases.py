"""The schedule: which weights and learning rate belong to a step."""

from __future__ import annotations

import math

import pytest

from privhead_ns.phases import LossWeights, PhaseSchedule

SCHEDULE = PhaseSchedule(
    phase1_steps=100,
    phase2_steps=300,
    rgb=1.0,
    rgb_in_phase2=0.25,
    eikonal=0.02,
    lipschitz=1e-3,
    gradient=2.0,
    surface_magnitude=3.0,
    initial_beta=0.01,
    final_beta=0.0001,
    final_learning_rate=0.1,
    warm_up_steps=20,
)


def test_larger_photographs_get_more_steps_once() -> None:
    longer = SCHEDULE.for_size(2 * SCHEDULE.steps_for_size)
    assert (longer.phase1_steps, longer.phase2_steps) == (141, 424)
    assert longer.for_size(2 * SCHEDULE.steps_for_size) == longer, "a resumed run's config has the steps already"
    assert SCHEDULE.for_size(SCHEDULE.steps_for_size // 2) == SCHEDULE
    assert longer.beta(longer.total_steps) == SCHEDULE.beta(SCHEDULE.total_steps)
    assert SCHEDULE.for_size(4 * SCHEDULE.steps_for_size).total_steps == longer.total_steps
    assert SCHEDULE.for_size(8 * SCHEDULE.steps_for_size).total_steps == 2 * SCHEDULE.total_steps


@pytest.mark.parametrize(("step", "phase"), [(0, 1), (99, 1), (100, 2), (399, 2), (10_000, 2)])
def test_phase_changes_at_the_border(step: int, phase: int) -> None:
    assert SCHEDULE.phase(step) == phase


@pytest.mark.parametrize("step", [0, 50, 99])
def test_phase_1_learns_from_colour_alone(step: int) -> None:
    expected = LossWeights(rgb=1.0, eikonal=0.02, lipschitz=0.0, gradient=0.0, surface_magnitude=3.0)
    assert SCHEDULE.weights(step) == expected


@pytest.mark.parametrize("step", [100, 399, 10_000])
def test_phase_2_has_its_own_weights(step: int) -> None:
    expected = LossWeights(rgb=0.25, eikonal=0.02, lipschitz=1e-3, gradient=2.0, surface_magnitude=3.0)
    assert SCHEDULE.weights(step) == expected


def test_the_paper_drops_colour_in_phase_2() -> None:
    assert PhaseSchedule(rgb_in_phase2=0.0).weights(10_000).rgb == 0


def test_learning_rate_falls_exponentially_to_its_last_fraction() -> None:
    assert SCHEDULE.learning_rate(200) == pytest.approx(math.sqrt(0.1))
    assert SCHEDULE.learning_rate(400) == pytest.approx(0.1)
    assert SCHEDULE.learning_rate(4000) == pytest.approx(0.1)
    assert SCHEDULE.learning_rate(200, "movements") == pytest.approx(math.sqrt(SCHEDULE.final_movement_rate))


def test_learning_rate_warms_up() -> None:
    assert SCHEDULE.learning_rate(0) == pytest.approx(1 / 20)
    assert SCHEDULE.learning_rate(9) == pytest.approx(0.5 * 0.1 ** (9 / 400))
    assert SCHEDULE.learning_rate(19) == pytest.approx(0.1 ** (19 / 400))


def test_learning_rate_is_positive_and_rises_then_falls() -> None:
    rates = [SCHEDULE.learning_rate(step) for step in range(SCHEDULE.total_steps)]
    assert min(rates) > 0
    assert rates[:20] == sorted(rates[:20])
    assert rates[19:] == sorted(rates[19:], reverse=True)


def test_a_step_tells_the_same_whatever_came_before() -> None:
    steps = [399, 100, 0, 99, 100, 399]
    fresh = [PhaseSchedule(**vars(SCHEDULE)) for _ in steps]
    for step, schedule in zip(steps, fresh, strict=True):
        assert SCHEDULE.weights(step) == schedule.weights(step)
        assert SCHEDULE.learning_rate(step) == schedule.learning_rate(step)


def test_a_phase_may_take_no_steps() -> None:
    assert PhaseSchedule(phase1_steps=0).phase(0) == 2
    assert {PhaseSchedule(phase1_steps=5, phase2_steps=0).phase(step) for step in range(5)} == {1}
    nothing = PhaseSchedule(phase1_steps=0, phase2_steps=0, warm_up_steps=0)
    assert nothing.learning_rate(0) == 1


def test_beta_shrinks_exponentially_and_then_stays() -> None:
    assert SCHEDULE.beta(0) == pytest.approx(0.01)
    assert SCHEDULE.beta(200) == pytest.approx(0.001)
    assert SCHEDULE.beta(400) == pytest.approx(0.0001)
    assert SCHEDULE.beta(4000) == pytest.approx(0.0001)
