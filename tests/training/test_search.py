"""Searches: the paper's rounds, spaces, pruning, interruptions; trainings stand-ins but for one."""

import csv
import json
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.config import RunConfig, differences, load_config, make_config, merge
from agd_keras.data.cache import build_cache
from agd_keras.data.phantom import make_phantom
from agd_keras.data.preprocessor import Preprocessor
from agd_keras.data.splits import make_folds
from agd_keras.errors import InputError
from agd_keras.files import write_csv
from agd_keras.io.data_set import find_data_set
from agd_keras.runs.search import train_trial as train_trial_module
from agd_keras.runs.search.ranking import rank_trials
from agd_keras.runs.search.rounds import Round, load_rounds, paper_rounds, with_options
from agd_keras.runs.search.search import search
from agd_keras.runs.search.space import JOURNAL, distributions, load_space, options_of
from agd_keras.viz.charts import read_history

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: the extra `search`")

TINY = {
    "data": {"image_size": 32, "portions": 6},
    "model": {"filters": [4, 8], "skips": [1, 2], "attention_at": [2], "edge_filters": 4},
    "training": {"epochs": 4, "batch_size": 4, "precision": "float32"},
}
SPACE = {
    "training.learning_rate": {"low": "1e-4", "high": 1e-2, "log": True},
    "training.loss": ["dice", "focal"],
    "model.filters": [[4, 8], [8, 8]],
}


def tiny(path, **values):
    return make_config(merge(TINY, {"data": {"path": str(path)}}, values))


class Killed(BaseException):
    """Stands for SIGKILL: nothing may be written after it."""


class Trainer:
    """Stands in for `fit_fold`: figures are a function of config, fold and epoch.

    Args:
        kill_after: Epochs, over all trials, after which the process is killed.
    """

    def __init__(self, kill_after=None):
        self.left = kill_after
        self.trained = []

    def __call__(self, config, cache, train, validation, folder, callbacks):
        self.trained.append((config, {one.patient for one in train + validation}))
        options = config.training
        if options.learning_rate > 1:
            raise InputError("epoch 1: the loss is nan, expected finite ones")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "history.csv"
        before = read_history(path) if path.is_file() else {}
        rows = [dict(zip(before, row, strict=True)) for row in zip(*before.values(), strict=True)]
        model = SimpleNamespace(stop_training=False)
        for epoch in range(len(rows), options.epochs):
            dice = options.learning_rate * 50 * (epoch + 1) / options.epochs
            dice += 0.1 * (options.loss == "dice") + 0.001 * int(folder.name[-1])
            logs = {"val_dice": dice, "val_iou": dice / 2, "val_bce": 1 - dice}
            rows = [*rows, {"epoch": epoch + 1, **logs}]
            write_csv(path, rows, list(rows[0]))
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise Killed
            for callback in callbacks:
                callback.set_model(model)
                callback.on_epoch_end(epoch, logs)
            if model.stop_training:
                break


@pytest.fixture
def trainer(monkeypatch):
    def install(**options):
        made = Trainer(**options)
        monkeypatch.setattr(train_trial_module, "fit_fold", made)
        # Takes long where nothing was built.
        monkeypatch.setattr(train_trial_module.keras.utils, "clear_session", lambda: None)
        return made

    return install


# --- rounds


def test_paper_rounds_are_those_of_its_table():
    # Cvetko 2021, Table 1, as printed: learning rate, filter size, batch size, K, final BCE.
    printed = """
        5e-4 128 32 5 0.11
        5e-4 256 16 5 0.34
        1e-3 512 32 10 0.11
        1e-3 256 16 5 0.11
        1e-2 128 128 10 0.22
    """
    rounds = paper_rounds((512, 256, 128, 64))
    for line, one in zip(printed.split("\n")[1:-1], rounds, strict=True):
        rate, size, batch, folds, bce = line.split()
        assert one.options["training.learning_rate"] == float(rate)
        assert one.options["model.filters"][0] == one.printed["filter size"] == int(size)
        assert one.options["training.batch_size"] == int(batch)
        assert one.options["data.folds"] == int(folds)
        assert one.options["training.epochs"] == 1
        assert one.printed["paper BCE"] == float(bce)
    assert paper_rounds((16, 32, 48, 64))[0].options["model.filters"] == [4, 8, 12, 16]
    assert paper_rounds((8, 16))[0].options["model.filters"] == [4, 4]


@pytest.mark.parametrize("preset", ["agd_tiny", "agd_small", "agd_paper"])
def test_paper_rounds_fit_every_preset(preset):
    config = make_config({"preset": preset})
    for one in paper_rounds(config.model.filters):
        assert set(differences(config, with_options(config, one.options))) <= set(one.options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{training.epochs: 1}", "expected a list of rounds"),
        ("- 3", "round 0: expected a mapping"),
        ("- {training.epochs: 1}\n- {training.lr: 1}", "round 1: training.lr: no such option"),
        ("- {epochs: 1}", "round 0: epochs: no such option"),
        ("- {training.epochs: 0}", "round 0: training.epochs: .*greater than or equal to 1"),
        ("- {training.loss: mse}", "round 0: training.loss: .*'mse'"),
        ("- {data.path: phantom}", "round 0: data.path: expected the same in all trials"),
        ("- {training.epochs: [}", "not valid YAML"),
    ],
)
def test_bad_rounds_get_one_line(text, message, tmp_path):
    path = tmp_path / "rounds.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_rounds(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


# --- spaces


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "expected a mapping"),
        ("training.lr: [1]", "training.lr: no such option"),
        ("training.loss: []", "training.loss: expected a list of choices or low and high"),
        ("training.loss: {low: 1, high: 2}", "training.loss: expected a list of choices"),
        ("training.loss: [dice, mse]", "training.loss: .*'mse'"),
        ("training.epochs: {low: 1}", "training.epochs: expected low, high"),
        ("training.epochs: {low: 1, high: 2, base: 3}", "training.epochs: expected low, high"),
        ("training.epochs: {low: 5, high: 2}", "training.epochs: not a range"),
        ("training.epochs: {low: 0, high: 2}", "training.epochs: .*greater than or equal to 1"),
        ("training.ema: {low: 0, high: 0.5, log: true}", "training.ema: not a range"),
        ("training.monitor: [dice, bce]", "training.monitor: expected the same in all trials"),
    ],
)
def test_bad_spaces_get_one_line(text, message, tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load_space(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


ranges = st.one_of(
    st.tuples(
        st.just("training.learning_rate"),
        st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(sorted),
        st.booleans(),
    ),
    st.tuples(
        st.just("training.batch_size"),
        st.tuples(st.integers(1, 512), st.integers(1, 512)).map(sorted),
        st.booleans(),
    ),
)
choices = st.sampled_from(
    [
        ("training.loss", ["dice", "focal"]),
        ("model.filters", [[4, 8, 16, 32], [16, 16, 16, 16]]),
        ("model.attention", [True, False]),
        ("training.weight_decay", ["1e-4", 0, 0.01]),
    ]
)


@given(range_=ranges, choice=choices, seed=st.integers(0, 999))
@settings(deadline=None, max_examples=25)
def test_what_a_space_gives_is_in_it_and_trains(range_, choice, seed):
    (name, (low, high), log), (chosen, among) = range_, choice
    space = yaml.safe_load(
        yaml.safe_dump({name: {"low": low, "high": high, "log": log}, chosen: among})
    )
    sampler = optuna.samplers.RandomSampler(seed=seed)
    trial = optuna.create_study(sampler=sampler).ask(distributions(space, "space"))
    options = options_of(trial.params, space)
    assert low <= options[name] <= high
    assert isinstance(options[name], type(low))
    assert options[chosen] in among
    assert set(differences(make_config({}), with_options(make_config({}), options))) <= set(space)


# --- searches


def test_rounds_are_ranked_and_the_best_config_trains_again(trainer, small_phantom, tmp_path):
    made = trainer()
    config = tiny(small_phantom, data={"folds": 3})
    rates = [2e-3, 4e-3, 1e-3]
    rounds = [Round({"training.learning_rate": rate}, {"paper BCE": rate}) for rate in rates]
    ranking = search(config, tmp_path / "s", rounds, folds=[0, 2], notes=["note"])
    assert [row["trial"] for row in ranking.rows] == [1, 0, 2]
    for row in ranking.rows:
        rate = rates[row["trial"]]
        assert row["paper BCE"] == row["training.learning_rate"] == rate
        assert row["val_dice"] == pytest.approx(rate * 50 + 0.001)  # mean of folds 0 and 2
        assert row["val_bce"] == pytest.approx(1 - row["val_dice"])
        assert row["epochs"] == 8
    best = make_config(load_config(tmp_path / "s" / "config.yaml"))
    assert best.training.learning_rate == 4e-3
    assert best.data.path == str(small_phantom)
    with (tmp_path / "s" / "trials.csv").open() as file:
        assert [row["trial"] for row in csv.DictReader(file)] == ["1", "0", "2"]
    table = (tmp_path / "s" / "table.md").read_text()
    assert "| learning_rate |" in table and "- note" in table

    # Neither trained on nor scored: the patients that test.
    slices = build_cache(find_data_set(small_phantom), Preprocessor(32)).slices
    folds = make_folds(slices, {one.name: 1 for one in slices}, 3, portions=6)
    assert len(made.trained) == 6
    patients = {one.patient for one in slices}
    assert all(len(patients - seen) == len(folds[0].test) == 2 for _, seen in made.trained)


def test_bce_is_ranked_from_the_lowest():
    shared = make_config({"training": {"monitor": "bce"}}).model_dump(mode="json")
    figures = {0: 0.3, 1: 0.1, 2: None, 3: 0.2, 4: 0.05}
    states = {0: "complete", 1: "complete", 2: "failed", 3: "complete", 4: "pruned"}
    ranking = rank_trials(
        {"config": shared, "printed": [], "folds": [0], "notes": []},
        {number: {"training.seed": number} for number in range(6)},
        {5: None} | {n: {"state": states[n], "bce": figures[n], "reason": "nan"} for n in figures},
    )
    assert [row["trial"] for row in ranking.rows] == [1, 3, 0, 4, 2, 5]
    assert ranking.notes[-1] == "Trial 2 failed: nan"


def test_trial_that_diverges_does_not_stop_the_search(trainer, small_phantom, tmp_path):
    trainer()
    rounds = [Round({"training.learning_rate": rate}) for rate in (9.0, 1e-3)]
    ranking = search(tiny(small_phantom), tmp_path / "s", rounds)
    assert [row["state"] for row in ranking.rows] == ["complete", "failed"]
    assert "Trial 0 failed: epoch 1: the loss is nan" in (tmp_path / "s" / "table.md").read_text()
    with pytest.raises(InputError, match="no trial was finished; Trial 0 failed: epoch 1"):
        search(tiny(small_phantom), tmp_path / "none", rounds[:1])


@pytest.mark.parametrize("given", ["rounds", "space"])
def test_failed_trial_is_tried_again(given, trainer, small_phantom, tmp_path, monkeypatch):
    made = trainer()
    choices = [{"training.seed": seed} for seed in range(3)]
    tried = {
        "rounds": {"rounds": [Round(one) for one in choices]},
        "space": {"space": SPACE, "trials": 3, "prune": False},
    }[given]

    def without_gpu(*arguments):
        if len(made.trained) == 1:
            made.trained.append(None)
            raise InputError("--strategy gpu: expected a GPU, found cpu:0")
        made(*arguments)

    monkeypatch.setattr(train_trial_module, "fit_fold", without_gpu)
    config, out = tiny(small_phantom), tmp_path / "s"
    first = search(config, out, **tried)
    assert {row["trial"]: row["state"] for row in first.rows}[1] == "failed"
    assert "Trial 1 failed: --strategy gpu" in first.notes[-1]
    made = trainer()
    second = search(config, out, resume=True, **tried)
    assert len(made.trained) == 1
    assert {row["state"] for row in second.rows} == {"complete"}
    assert not [note for note in second.notes if "failed" in note]
    figures = {row["trial"]: row["val_dice"] for row in second.rows}
    for row in first.rows:
        assert row["val_dice"] in (None, figures[row["trial"]])
    search(config, out, resume=True, **tried)
    assert len(made.trained) == 1  # nothing left to do


def test_round_that_cannot_be_trained_is_known_before_any_is(trainer, small_phantom, tmp_path):
    made = trainer()
    for options, message in [
        ({"data.folds": 4}, "round 1: .*portions 6: expected a multiple of the 4 folds"),
        ({"model.filters": [4]}, "round 1: .*skips"),
    ]:
        with pytest.raises(InputError, match=message):
            search(tiny(small_phantom), tmp_path / "s", [Round({}), Round(options)])
    with pytest.raises(InputError, match="--fold 3: expected 0 to 0"):
        search(tiny(small_phantom), tmp_path / "s", space=SPACE, folds=[3])
    assert not made.trained
    assert not (tmp_path / "s").exists()


def test_worse_than_the_median_is_pruned(trainer, small_phantom, tmp_path):
    made = trainer()
    config = tiny(small_phantom, data={"folds": 3})
    ranking = search(config, tmp_path / "s", space=SPACE, trials=12, folds=[1, 2])
    pruned = [row for row in ranking.rows if row["state"] == "pruned"]
    complete = [row for row in ranking.rows if row["state"] == "complete"]
    assert pruned and len(pruned) + len(complete) == 12
    assert {row["epochs"] for row in complete} == {8}
    # By its first fold, and only once five trials are there to compare with.
    assert all(row["epochs"] < 4 and row["trial"] >= 5 for row in pruned)
    assert len(made.trained) == 2 * len(complete) + len(pruned)
    # Oracle: the best figure so far against the median of the complete trials' figures there.
    epochs = {
        row["trial"]: read_history(tmp_path / f"s/trial-{row['trial']}/fold-1/history.csv")
        for row in ranking.rows
    }
    epochs = {number: history["val_dice"] for number, history in epochs.items()}
    for row in pruned:
        step = len(epochs[row["trial"]])
        before = [epochs[one["trial"]][step - 1] for one in complete if one["trial"] < row["trial"]]
        median = sorted(before)[(len(before) - 1) // 2], sorted(before)[len(before) // 2]
        assert max(epochs[row["trial"]]) < sum(median) / 2
    assert search(config, tmp_path / "whole", space=SPACE, trials=6, prune=False).rows


def test_killed_and_resumed_gives_the_same_table(trainer, small_phantom, tmp_path):
    config = tiny(small_phantom)
    trainer()
    search(config, tmp_path / "whole", space=SPACE, trials=9)
    expected = [(tmp_path / "whole" / name).read_bytes() for name in ("table.md", "trials.csv")]
    out = tmp_path / "parts"
    starts = 0
    while True:
        trainer(kill_after=5)
        try:
            search(config, out, space=SPACE, trials=9, resume=starts > 0)
            break
        except Killed:
            starts += 1
    assert starts > 3
    assert [(out / name).read_bytes() for name in ("table.md", "trials.csv")] == expected
    # A longer search goes on with the one that was done.
    trainer()
    rows = search(config, out, space=SPACE, trials=11, resume=True).rows
    assert sorted(row["trial"] for row in rows) == list(range(11))


CUTS = {
    "an end of the last line": lambda lines: [*lines[:-1], lines[-1][:-5]],
    "the last line": lambda lines: lines[:-1],
    "all but a letter of it": lambda lines: [*lines[:-1], lines[-1][:1]],
    "everything": lambda lines: [],
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_journal_that_was_cut_short_is_gone_on_with(cut, trainer, small_phantom, tmp_path):
    config, options = tiny(small_phantom), {"space": SPACE, "trials": 4, "prune": False}
    trainer()
    search(config, tmp_path / "whole", **options)
    expected = (tmp_path / "whole" / "trials.csv").read_bytes()
    trainer(kill_after=10)  # in the third trial
    with pytest.raises(Killed):
        search(config, tmp_path / "parts", **options)
    journal = tmp_path / "parts" / JOURNAL
    journal.write_bytes(b"".join(CUTS[cut](journal.read_bytes().splitlines(keepends=True))))
    trainer()
    search(config, tmp_path / "parts", resume=True, **options)
    assert (tmp_path / "parts" / "trials.csv").read_bytes() == expected
    # A journal that is damaged elsewhere is named.
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], b"{]\n", *lines[1:]]))
    with pytest.raises(InputError, match="optuna.log: damaged"):
        search(config, tmp_path / "parts", resume=True, space=SPACE, trials=5, prune=False)


def test_existing_folder_is_refused_replaced_or_gone_on_with(trainer, small_phantom, tmp_path):
    made = trainer()
    config, rounds = tiny(small_phantom), [Round({"training.seed": 1})]
    out = tmp_path / "s"
    with pytest.raises(InputError, match="--resume expected the folder of a search"):
        search(config, out, rounds, resume=True)
    search(config, out, rounds)
    with pytest.raises(InputError, match="--resume or --overwrite"):
        search(config, out, rounds)
    other = tiny(small_phantom, training={"ema": 0.5})
    with pytest.raises(InputError, match="not other training.ema, rounds"):
        search(other, out, [*rounds, Round({})], resume=True)
    search(config, out, rounds, resume=True)
    assert len(made.trained) == 1  # nothing left to do
    marked = out / "trial-0" / "mine"
    marked.touch()
    search(config, out, rounds, overwrite=True)
    assert not marked.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="something else than a search"):
        search(config, out, rounds, overwrite=True)
    assert (out / "thesis.txt").read_text() == "mine"


def test_other_data_is_not_gone_on_with(trainer, small_phantom, tmp_path):
    trainer()
    data = make_phantom(tmp_path / "data", patients=6, slices=2, size=32)
    search(tiny(data), tmp_path / "s", [Round({})])
    for image in sorted(next(data.iterdir()).iterdir())[:2]:
        image.unlink()
    with pytest.raises(InputError, match="expected the data it was started with"):
        search(tiny(data), tmp_path / "s", [Round({})], resume=True)


def test_trial_of_the_network(small_phantom, tmp_path):
    """One that is trained in earnest, and is what training its fold gives."""
    config = tiny(small_phantom, training={"epochs": 2})
    (row,) = search(config, tmp_path / "s", [Round({"training.learning_rate": 1e-3})]).rows
    trial = tmp_path / "s" / "trial-0"
    history = read_history(trial / "fold-0" / "history.csv")
    assert history["epoch"] == [1, 2]
    assert row["val_dice"] == max(history["val_dice"])
    assert (trial / "fold-0" / "model.keras").is_file()
    result = json.loads((trial / "result.json").read_text())
    assert result["state"] == "complete" and result["epochs"] == 2
    assert isinstance(make_config(load_config(trial / "config.yaml")), RunConfig)
