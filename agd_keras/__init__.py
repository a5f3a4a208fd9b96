"""Attention-gated segmentation of brain tumours in MRI, on Keras 3 and TensorFlow.

Names are loaded when they are first used, so that importing the package is quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_NAMES = {
    "InputError": "errors",
    "RunConfig": "config",
    "make_config": "config",
    "preset_values": "presets",
    "Slice": "data.slices",
    "CaseRef": "io.case_ref",
    "find_data": "data.datasets",
    "make_phantom": "data.phantom",
    "Preprocessor": "data.preprocessor",
    "build_cache": "data.cache",
    "make_folds": "data.splits",
    "make_dataset": "data.dataset",
    "AttentionGate": "layers",
    "ConvBlock": "layers",
    "EdgeAttention": "layers",
    "Head": "models",
    "agd_autoencoder": "models",
    "attention_model": "models",
    "explain_model": "models",
    "inference_model": "models",
    "evaluate": "evaluation.evaluate",
    "fit_fold": "training.fit",
    "gather": "runs.aggregate",
    "train": "runs.train",
    "Predictor": "inference.predictor",
    "load_model": "inference.model_file",
    "load_predictor": "inference.predictor",
    "evaluate_model": "runs.evaluate_model",
    "find_cases": "io.discovery",
    "read_case": "io.discovery",
    "predict_files": "inference.predict_files",
    "UncertaintyPredictor": "inference.uncertainty",
    "export_saved_model": "export.saved_model",
    "export_tflite": "export.tflite",
    "export_onnx": "export.onnx",
    "ServingClient": "inference.serving",
    "run_study": "runs.study",
    "search": "runs.search.search",
}
__all__ = ["__version__", *sorted(_NAMES)]


def __getattr__(name: str):
    if name not in _NAMES:
        raise AttributeError(f"module 'agd_keras' has no attribute {name!r}")
    return getattr(import_module(f"agd_keras.{_NAMES[name]}"), name)


def __dir__():
    return __all__
