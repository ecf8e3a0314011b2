"""The panel of a video, which looks into the network: what lights where, and when."""

import numpy as np
import pytest
from conftest import pixels

from spikepropamine.evaluation.film.panel import (
    ABOVE,
    BELOW,
    INK,
    MARK,
    TICKS_SHOWN,
    Curve,
    Outline,
    Panel,
    chosen,
    diverging,
    reward_rate,
)
from spikepropamine.evaluation.film.recording import Moment


def panel_of(steps=10, neurons=4, onsets=(), synapses=(4, 3), **changes):
    outline = Outline(np.zeros(steps), onsets, 1, neurons, synapses, True, 1.0)
    arguments = {"window": 5, "width": 512, "height": 384, "bound": 1.0}
    return Panel(outline, [Curve(np.zeros(steps))], **(arguments | changes))


def moment_of(spikes, fast=None):
    spikes = np.array([spikes], dtype=np.float32)
    fast = np.zeros((4, 3), np.float32) if fast is None else fast
    return Moment({}, 0.0, np.zeros(1), spikes, np.zeros_like(spikes), fast)


def test_a_spike_lights_the_pixels_of_its_neuron_and_tick():
    panel = panel_of(steps=10)
    plot = panel.plots["spikes"]
    rows, columns = plot.shape[:2]
    panel.add(moment_of([0, 0, 0, 0]))
    assert not pixels(plot, INK)[0].size
    panel.add(moment_of([1, 0, 0, 0]))  # neuron 0 is at the bottom, step 1 the second of ten
    lit_rows, lit_columns = pixels(plot, INK)
    found = lit_rows.min(), lit_rows.max(), lit_columns.min(), lit_columns.max()
    box = (0.75 * rows, rows - 1, 0.1 * columns, 0.2 * columns - 1)
    np.testing.assert_allclose(found, box, atol=1)
    panel.add(moment_of([0, 0, 0, 1]))
    top_rows, top_columns = pixels(plot[: rows // 2], INK)
    found = top_rows.min(), top_rows.max(), top_columns.min(), top_columns.max()
    box = (0, 0.25 * rows - 1, 0.2 * columns, 0.3 * columns - 1)
    np.testing.assert_allclose(found, box, atol=1)


def test_a_full_raster_moves_left():
    panel = panel_of(steps=1000)
    plot = panel.plots["spikes"]
    panel.add(moment_of([1, 1, 1, 1]))
    for _ in range(TICKS_SHOWN - 1):
        panel.add(moment_of([0, 0, 0, 0]))
    assert set(pixels(plot, INK)[1]) <= {0, 1}
    panel.add(moment_of([1, 1, 1, 1]))
    assert set(pixels(plot, INK)[1]) <= {plot.shape[1] - 2, plot.shape[1] - 1}


def test_of_many_neurons_some_are_shown_as_they_are():
    assert list(chosen(5)) == [0, 1, 2, 3, 4]
    assert list(chosen(256)[:3]) == [0, 4, 8]
    panel = panel_of(neurons=512)
    spikes = np.zeros(512)
    spikes[chosen(512)[:3]] = 1
    spikes[1] = 1  # one that is not shown
    panel.add(moment_of(spikes))
    assert len(set(pixels(panel.plots["spikes"], INK)[0])) in (6, 7)  # two or so pixels for each


def test_plots_of_an_episode_that_fits_have_one_axis_of_time():
    panel = panel_of(steps=201, onsets=((100, ""),))
    for _ in range(201):
        panel.add(moment_of([0, 0, 0, 0]))
    marked = [pixels(panel.plots[name], MARK)[1] for name in ("spikes", "reward")]
    assert abs(marked[0].min() - marked[1].min()) <= 2  # a step


def test_a_change_is_marked_when_it_comes_and_not_before():
    panel = panel_of(steps=10, onsets=((3, "joint_lock:0"),))
    for step in range(10):
        marked = {name: pixels(panel.plots[name], MARK)[1] for name in ("spikes", "reward")}
        if step < 3:
            assert not marked["spikes"].size and not marked["reward"].size
        if step > 3:
            width = panel.plots["spikes"].shape[1]
            for columns in marked.values():
                assert columns.min() == pytest.approx(0.3 * width, abs=2)
                assert columns.max() == pytest.approx(0.3 * width, abs=3)
        panel.add(moment_of([0, 0, 0, 0]))


def test_fast_weights_are_coloured_symmetrically():
    colours = diverging(np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), 1.0)
    assert tuple(colours[3]) == (255, 255, 255)
    assert tuple(colours[0]) == tuple(colours[1]) == BELOW
    assert tuple(colours[5]) == ABOVE
    # half the value is half the way to the full colour, on either side
    np.testing.assert_allclose(colours[2], (255 + np.array(BELOW)) / 2, atol=0.5)
    np.testing.assert_allclose(colours[4], (255 + np.array(ABOVE)) / 2, atol=0.5)


@pytest.mark.parametrize("shape", [(4, 5), (5, 4)])
def test_a_fast_weight_is_drawn_where_it_belongs(shape):
    fast = np.zeros(shape, np.float32)
    fast[0, -1] = 1.0  # to the first neuron, from the last one
    panel = panel_of(synapses=shape)
    panel.add(moment_of([0, 0, 0, 0], fast))
    plot = panel.plots["fast_weights"]
    rows, columns = pixels(plot, ABOVE)
    height, width = plot.shape[:2]
    # the longer axis lies; neurons are counted from the bottom left
    if shape == (4, 5):
        box = (0.75 * height, height - 1, 0.8 * width, width - 1)
    else:
        box = (0, height / 4, 0, width / 5)
    found = rows.min(), rows.max(), columns.min(), columns.max()
    np.testing.assert_allclose(found, box, atol=1.5)


def test_the_reward_rate_is_a_mean_over_the_last_steps():
    rate = reward_rate(np.array([1.0, 2.0, 3.0, 4.0]), 2)
    np.testing.assert_allclose(rate, [1.0, 1.5, 2.5, 3.5])


def test_a_policy_without_spikes_has_the_reward_rate_alone():
    panel = Panel(Outline(np.ones(5)), [Curve(np.ones(5))], 2, 560, 136, 0.0)
    assert list(panel.plots) == ["reward"]
    panel.add(Moment({}, 1.0, np.zeros(1)))
