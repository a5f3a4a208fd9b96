"""Settings of another project in `~/.keras/keras.json`: the network stays the same."""

import json
import os
import subprocess
import sys

import numpy as np

from agd_keras.inference.predictor import load_predictor

CODE = """
import sys
import keras
import numpy as np
from agd_keras.inference.predictor import load_predictor
from agd_keras.training.build import build_model
from agd_keras.config import ModelConfig
assert (keras.config.floatx(), keras.config.image_data_format()) == ("float16", "channels_first")
images = np.load(sys.argv[1])
np.save(sys.argv[1], load_predictor("agd_tiny").predict_patient(images))
built = build_model(ModelConfig(filters=(4, 8), skips=(1, 2), attention_at=(2,), dropout=0.1), 32)
assert built.output["mask"].shape == (None, 32, 32, 1)
assert {variable.dtype for variable in built.trainable_variables} == {"float32"}
"""


def test_the_network_does_not_follow_them(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (2, 40, 50, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", images)
    settings = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    environment = {**os.environ, "KERAS_HOME": str(tmp_path)}
    command = [sys.executable, "-c", CODE, str(tmp_path / "a.npy")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = load_predictor("agd_tiny").predict_patient(images)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
