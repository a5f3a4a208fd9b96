"""What the comparison with other networks counts and draws its conclusions from."""

import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_unet_is_of_the_published_size():
    from peers_keras import buda_unet, count_macs

    size = 32
    model = buda_unet((size, size, 3))
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


def test_keras_peer_trains_by_the_clock(small_phantom, monkeypatch):
    import peers_keras
    from peers import Clock, rate_factor

    from agd_keras.config import make_config
    from agd_keras.data.cache import build_cache
    from agd_keras.data.preprocessor import Preprocessor
    from agd_keras.io.data_set import find_data_set
    from agd_keras.training import fit

    monkeypatch.setattr(fit, "CALIBRATION", 1)
    monkeypatch.setattr(peers_keras, "CALIBRATION", 1)
    config = make_config(
        {
            "model": {"name": "peers_keras:buda_unet", "filters": 2},
            "data": {"path": str(small_phantom), "image_size": 32},
            "training": {"batch_size": 4, "ema": 0.5},
        }
    )
    cache = build_cache(find_data_set(small_phantom), Preprocessor(32))
    peer = peers_keras.KerasPeer(config, cache, cache.slices[:24], cache.slices[24:])
    assert peer.parameters == sum(w.shape.num_elements() for w in peer.scored.trainable_weights)
    rates = []

    def score():
        rates.append(float(peer.course.model.optimizer.learning_rate))
        assert peer.predictor().predict_prepared(images, (32, 32)).shape == (2, 32, 32)
        return {"mean_dice": 0.5, "pooled_dice": 0.5}

    images = peers_keras.np.zeros((2, 32, 32, 3), "float32")
    clock = Clock(minutes=1, checks=3, score=score)
    monkeypatch.setattr(Clock, "stop", lambda self, stop=Clock.stop: (_tick(self), stop(self)))
    peer.train(clock)
    result = clock.result()
    # Steps of ten seconds: checks at a ninth, four ninths and the whole of the minute.
    assert [one["steps"] for one in result["history"]] == [1, 3, 6]
    highest = config.training.learning_rate
    expected = [highest * rate_factor(step / 6) for step in (0, 2, 5)]
    assert rates == pytest.approx(expected, rel=0.01)


def _tick(clock):
    """Lets a step have taken ten seconds."""
    clock.spent = 10.0 * (len(clock.times) + 1) - (time.perf_counter() - clock.began[0])
