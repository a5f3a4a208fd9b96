import keras
import numpy as np
import pytest


@pytest.fixture
def count_macs(monkeypatch):
    """Counts the multiply-accumulates of convolutions while a model runs on one image.

    Nothing is taken from the structure of the model: each convolution that is called reports its
    kernel and the number of positions at which it is applied.
    """

    def count(model):
        macs = []

        def report(cls, positions_of):
            call = cls.call

            def counted(self, inputs, *args, **kwargs):
                outputs = call(self, inputs, *args, **kwargs)
                positions = positions_of(inputs, outputs).shape[1:3]
                macs.append(int(np.prod(self.kernel.shape) * np.prod(positions)))
                return outputs

            monkeypatch.setattr(cls, "call", counted)

        report(keras.layers.Conv2D, lambda inputs, outputs: outputs)
        report(keras.layers.Conv2DTranspose, lambda inputs, outputs: inputs)
        model(np.zeros((1, *model.input.shape[1:]), "float32"))
        monkeypatch.undo()
        return sum(macs)

    return count
