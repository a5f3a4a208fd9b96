"""Networks trained side by side: the presets of this package beside those of other libraries.

Each has the same slices from the same cache, the same patients to train, validate and test on (a
fold of `agd-train`), the same augmented batches, and the same minutes on the same cores. Scoring
takes none of them; tracing and compiling does. The learning rate follows the clock, a short rise
and a cosine to a hundredth. What is not ours is trained by AdamW and Dice plus cross-entropy, all
with the same settings; a PyTorch network in the layout and precision that are quickest for it.
Nothing starts from pretrained weights. All are scored by the package's own measure, at the original
resolution and a threshold of 0.5, with the weights of the last step.

Each network runs in a process of its own, and writes its figures when it is done: a second call
goes on with those that are missing, then prints the table and draws the two charts. It needs
PyTorch, MONAI and segmentation-models-pytorch, and Linux to keep a process to its cores:

    benchmarks/peers.sh --data data/kaggle_3m --minutes 20 --out runs/peers
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.files import write_text
from agd_keras.viz.colors import SERIES

PEERS = {
    "agd_small": "agd_small",
    "agd_tiny": "agd_tiny",
    "buda_unet": "U-Net of Buda et al. (Keras)",
    "monai_attention_unet": "MONAI AttentionUnet",
    "monai_unet": "MONAI UNet",
    "smp_unet": "smp U-Net, ResNet-34",
}
COMMON = {"learning_rate": 1e-3, "weight_decay": 0.01, "clip_norm": 1.0}
WARMUP = 0.03
GOAL = 0.80  # pooled Dice of the validation patients
PROTOCOL = ("data", "size", "folds", "fold", "seed", "minutes", "checks", "threads")


def rate_factor(share: float) -> float:
    """Share of the highest learning rate after a share of the minutes."""
    if share < WARMUP:
        return max(0.05, share / WARMUP)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (share - WARMUP) / (1 - WARMUP))) / 2


def check_times(minutes: float, checks: int) -> list[float]:
    """Minutes after which the validation patients are scored: closer together at the start."""
    return [minutes * (check / checks) ** 2 for check in range(1, checks + 1)]


def minutes_to(goal: float, history: list[dict[str, float]]) -> float | None:
    """Minutes of the first check whose pooled Dice reached a goal, None if none did."""
    return next((one["minutes"] for one in history if one["pooled_dice"] >= goal), None)


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """Picks the figures that are compared from those of `summarize`."""
    subject, pooled = metrics["subject"], metrics["pooled"]
    return {
        **{key: subject[key] for key in ("mean_dice", "median_dice", "ci95_dice")},
        "pooled_dice": pooled["f1"],
        "pooled_iou": pooled["iou"],
    }


class Clock:
    """Counts the minutes of training steps, and scores now and then, which takes none of them.

    Args:
        minutes: How long to train.
        checks: How often to score.
        score: Gives the figures of the validation patients.
    """

    def __init__(self, minutes: float, checks: int, score: Callable[[], dict[str, Any]]):
        self.minutes = minutes
        self.due = check_times(minutes, checks)
        self.score = score
        self.spent = self.busy = 0.0
        self.times: list[float] = []
        self.history: list[dict[str, Any]] = []

    @property
    def over(self) -> bool:
        """Whether all checks are done, the last of them at the end of the minutes."""
        return len(self.history) == len(self.due)

    @property
    def factor(self) -> float:
        """Share of the highest learning rate, now."""
        return rate_factor(self.spent / (60 * self.minutes))

    def start(self) -> None:
        """Begins a step."""
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Ends a step, and scores if it is time to."""
        self.times.append(time.perf_counter() - self.began[0])
        self.spent += self.times[-1]
        self.busy += time.process_time() - self.began[1]
        while not self.over and self.spent >= 60 * self.due[len(self.history)]:
            last = {"minutes": self.spent / 60, "steps": len(self.times), **self.score()}
            self.history.append(last)
            print(
                f"  {last['minutes']:6.2f} minutes, {last['steps']} steps: validation mean Dice "
                f"{last['mean_dice']:.3f}, pooled {last['pooled_dice']:.3f}",
                flush=True,
            )

    def result(self) -> dict[str, Any]:
        """Steps, milliseconds of the median step, processor time over wall time, and `history`."""
        return {
            "steps": len(self.times),
            "step_ms": 1e3 * median(self.times),
            "processor_per_wall": self.busy / self.spent,
            "history": self.history,
        }


def inference_ms(infer: Callable[[np.ndarray], None], size: int, count: int) -> float:
    """Milliseconds a slice of the network alone, in batches of `count`: the median of 3 seconds."""
    images = np.random.default_rng(0).normal(size=(count, size, size, 3)).astype("float32")
    for _ in range(3):  # the first ones trace and tune
        infer(images)
    times: list[float] = []
    while sum(times) < 3 or len(times) < 5:
        start = time.perf_counter()
        infer(images)
        times.append(time.perf_counter() - start)
    return 1e3 * median(times) / count


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Trains, scores and times one network in this process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    # After that: the libraries start as many threads as there are cores to run on.
    from agd_keras.config import make_config
    from agd_keras.data.cache import build_cache
    from agd_keras.data.datasets import find_data
    from agd_keras.data.preprocessor import Preprocessor
    from agd_keras.data.splits import select
    from agd_keras.runs.environment import describe_environment
    from agd_keras.runs.resolve import deal_folds
    from agd_keras.training.devices import set_seed
    from agd_keras.training.fit import score_cached
    from agd_keras.training.precision import resolve_precision
    from agd_keras.values import merge

    # At full size all the time, so that every network sees the same.
    data = {"path": options.data, "image_size": options.size, "folds": options.folds}
    data |= {"normalization": "tissue", "augment": "strong"}
    values = {"data": data, "training": {"seed": options.seed, "sizes": []}}
    # All are fed as agd_small is, but for that.
    config = make_config({"preset": "agd_small", **values})
    set_seed(options.seed, deterministic=False)
    cache = build_cache(find_data(options.data), Preprocessor(options.size))
    fold = deal_folds(config, cache)[options.fold]
    sides = {
        side: select(cache.slices, getattr(fold, side), "subject")
        for side in ("train", "validation", "test")
    }
    batch = config.training.batch_size
    peer: Any
    if name in ("agd_small", "agd_tiny", "buda_unet"):
        from peers_keras import KerasPeer

        fed = {"data": {**values["data"], "tumor_sampling": config.data.tumor_sampling}}
        fed["training"] = {**values["training"], "batch_size": batch}
        if name == "buda_unet":
            model = {"name": "peers_keras:buda_unet"}
            other = {"loss": "cross_entropy_dice", "optimizer": "adamw", "ema": 0.0, **COMMON}
            fed = merge({"preset": "agd_small", "model": model, "training": other}, fed)
        else:
            fed = merge({"preset": name}, fed)
        peer = KerasPeer(make_config(fed), cache, sides["train"], sides["validation"])
    else:
        from peers_torch import TorchPeer

        peer = TorchPeer(name, options.size, batch, COMMON, options.seed)
        peer.feed(cache, sides["train"], config)

    def score(side: str) -> dict[str, Any]:
        return figures(score_cached(peer.predictor(), cache, sides[side]))

    clock = Clock(options.minutes, options.checks, lambda: score("validation"))
    peer.train(clock)
    trained = clock.result()
    libraries = ("torch", "monai", "segmentation-models-pytorch")
    return {
        "peer": name,
        "protocol": {key: getattr(options, key) for key in PROTOCOL},
        "data_fingerprint": cache.data_fingerprint,
        "patients": {side: len({one.patient for one in own}) for side, own in sides.items()},
        "augmentation": config.data.augment,
        "tumor_sampling": config.data.tumor_sampling,
        "batch_size": batch,
        "parameters": peer.parameters,
        "macs": peer.macs,
        "settings": peer.settings,
        **trained,
        "training_ms": trained["step_ms"] / batch,
        "inference_ms": {
            str(count): inference_ms(peer.infer, options.size, count) for count in (1, 32)
        },
        "test": score("test"),
        "environment": describe_environment(resolve_precision("auto"))
        | {"libraries": {library: version(library) for library in libraries}},
    }


def load(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Reads the figures of a network that was measured before.

    Raises:
        InputError: It was measured in another way than is asked for now.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    for key in PROTOCOL:
        if found["protocol"][key] != getattr(options, key):
            raise InputError(
                f"{path}: measured with --{key} {found['protocol'][key]}, "
                f"expected {getattr(options, key)}; --out names another folder"
            )
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Makes the Markdown table."""
    columns = (
        *("network", "parameters, M", "MACs, G", "precision", "steps", "cores busy"),
        *("training, ms a slice", "inference, ms a slice, batch 1", "batch 32"),
        f"minutes to pooled Dice {GOAL:.2f} (validation)",
        *("mean Dice (test) [95 %]", "median", "pooled Dice", "pooled IoU"),
    )
    lines = [f"| {' | '.join(columns)} |", "|---|" + "---:|" * (len(columns) - 1)]
    for one in results:
        test, reached = one["test"], minutes_to(GOAL, one["history"])
        low, high = test["ci95_dice"]
        cells = (
            PEERS[one["peer"]],
            f"{one['parameters'] / 1e6:.2f}",
            f"{one['macs'] / 1e9:.2f}",
            one["settings"],
            f"{one['steps']:,}",
            f"{one['processor_per_wall']:.2f}",
            f"{one['training_ms']:.1f}",
            *(f"{one['inference_ms'][count]:.1f}" for count in ("1", "32")),
            "not reached" if reached is None else f"{reached:.1f}",
            f"{test['mean_dice']:.3f} [{low:.3f}, {high:.3f}]",
            *(f"{test[key]:.3f}" for key in ("median_dice", "pooled_dice", "pooled_iou")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def protocol_text(one: dict[str, Any]) -> str:
    """Says in a paragraph how the figures came about."""
    protocol, machine = one["protocol"], one["environment"]
    counts = ", ".join(f"{count} for {side}" for side, count in one["patients"].items())
    packages = machine["packages"] | machine["libraries"]
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("tensorflow", "keras", *machine["libraries"])
    )
    return (
        f"Fold {protocol['fold']} of {protocol['folds']}, split by patient ({counts}), seed "
        f"{protocol['seed']}, {protocol['size']}×{protocol['size']}, batches of "
        f"{one['batch_size']}, augmentation `{one['augmentation']}`, tumour sampling "
        f"{one['tumor_sampling']:g}; {protocol['minutes']:g} minutes of training each on "
        f"{protocol['threads']} cores of {machine['processor']}; data {one['data_fingerprint']}; "
        f"{versions}; commit {machine['commit']}.\n"
    )


def draw(results: list[dict[str, Any]], out: Path) -> None:
    """Draws Dice against minutes and Dice against milliseconds."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    style = dict(zip(PEERS, zip(SERIES, "osD^vP", strict=False), strict=True))

    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for one in results:
        color, marker = style[one["peer"]]
        minutes, dice = ([c[key] for c in one["history"]] for key in ("minutes", "pooled_dice"))
        axes.plot(minutes, dice, color=color, marker=marker, ms=5, label=PEERS[one["peer"]])
    axes.axhline(GOAL, color="black", ls="dotted", lw=1)
    axes.set(xlabel="minutes of training", ylabel="pooled Dice, validation patients", ylim=(0, 1))
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(out / "dice-minutes.png", dpi=120)

    figure = Figure(figsize=(9, 4.4), layout="constrained")
    both = figure.subplots(1, 2, sharey=True)
    kinds = {
        "inference, ms a slice (batch 1)": lambda one: one["inference_ms"]["1"],
        "training, ms a slice": lambda one: one["training_ms"],
    }
    for axes, (label, pick) in zip(both, kinds.items(), strict=True):
        for one in results:
            color, marker = style[one["peer"]]
            mean, (low, high) = one["test"]["mean_dice"], one["test"]["ci95_dice"]
            axes.errorbar(
                pick(one),
                mean,
                yerr=[[mean - low], [high - mean]],
                color=color,
                marker=marker,
                ms=8,
                ls="none",
                capsize=3,
                label=PEERS[one["peer"]],
            )
        axes.set(xscale="log", xlabel=label)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    both[0].set_ylabel("mean Dice of test patients, 95 % interval")
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(out / "dice-milliseconds.png", dpi=120)


def main() -> None:
    """Measures what is missing, then prints the table and draws the charts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="data/kaggle_3m", help="`phantom` or a kaggle_3m folder")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="folder of results")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--minutes", type=float, default=20, help="of training, each")
    parser.add_argument("--checks", type=int, default=12, help="times that each is scored")
    parser.add_argument("--threads", type=int, default=2, help="cores that each may use")
    parser.add_argument("--size", type=int, default=128, help="side of the input in pixels")
    parser.add_argument("--folds", type=int, default=5, help="folds of the split")
    parser.add_argument("--fold", type=int, default=0, help="which of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=list(PEERS), help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args()
    if options.only:
        result = measure(options.only, options)
        write_text(options.out / f"{options.only}.json", json.dumps(result, indent=1) + "\n")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for name in options.peers:
            path = options.out / f"{name}.json"
            if path.exists():
                load(path, options)
                print(f"{PEERS[name]}: measured before", flush=True)
                continue
            print(PEERS[name], flush=True)
            command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
            quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
            subprocess.run(command, check=True, env=quiet)
        paths = [options.out / f"{name}.json" for name in PEERS]
        results = [load(path, options) for path in paths if path.exists()]
    except InputError as error:
        sys.exit(f"error: {error}")
    text = protocol_text(results[0]) + "\n" + table(results)
    write_text(options.out / "peers.md", text)
    draw(results, options.out)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
