"""What the comparison with other networks counts and draws its conclusions from."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_unet_is_of_the_published_size():
    from peers_keras import count_macs, unet

    size = 32
    model = unet(size, "float32")
    # Of the PyTorch module of mateuszbuda/brain-segmentation-pytorch, 3 to 1 channels, 32 features.
    assert sum(weight.value.numpy().size for weight in model.trainable_weights) == 7_763_041

    channels = [32, 64, 128, 256, 512]
    macs = 0
    for level, (before, own) in enumerate(zip([3, *channels], channels, strict=False)):
        macs += (size >> level) ** 2 * 9 * (before * own + own * own)
    for level in range(4):
        own, pixels = channels[level], (size >> level) ** 2
        macs += pixels * channels[level + 1] * own  # 2×2 kernel, stride 2: one tap for each pixel
        macs += pixels * 9 * (2 * own * own + own * own)
    macs += size**2 * channels[0]
    assert count_macs(model) == pytest.approx(macs, rel=1e-3)


def test_rate_rises_and_falls_by_the_clock():
    from peers import WARMUP, rate_factor

    assert rate_factor(0) == 0.05
    assert rate_factor(WARMUP) == 1
    assert rate_factor((1 + WARMUP) / 2) == pytest.approx(0.505)
    assert rate_factor(1) == pytest.approx(0.01)


def test_minutes_to_goal_are_those_of_the_first_check_that_reached_it():
    from peers import check_times, minutes_to

    times = check_times(16, 4)
    assert times == [1, 4, 9, 16]
    history = [
        {"minutes": time, "pooled_dice": dice}
        for time, dice in zip(times, (0.3, 0.81, 0.79, 0.9), strict=True)
    ]
    assert minutes_to(0.8, history) == 4
    assert minutes_to(0.95, history) is None
