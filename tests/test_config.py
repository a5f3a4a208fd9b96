import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agd_keras.config import RunConfig, differences, make_config, save_config
from agd_keras.errors import InputError
from agd_keras.presets import PRESETS, preset_values
from agd_keras.values import load_config, merge, parse_setting


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_the_file(name, tmp_path):
    config = make_config(preset_values(name))
    save_config(config, tmp_path / "config.yaml")
    assert make_config(load_config(tmp_path / "config.yaml")) == config
    assert config.preset == name


def test_paper_preset_says_what_the_paper_says():
    config = make_config(preset_values("agd_paper"))
    assert config.model.filters == (512, 256, 128, 64)
    assert config.model.attention_at == (2,)
    assert (config.model.activation, config.model.l2) == ("elu", 0.004)
    training = config.training
    assert (training.optimizer, training.learning_rate, training.batch_size) == ("adam", 4e-4, 16)
    assert (training.loss, training.patience) == ("focal", 1)
    # Ten portions: six to train on, two to validate, a fifth of them, two, to test.
    data = config.data
    assert (data.portions, data.folds, data.validation_portions) == (10, 1, 2)
    assert data.image_size == 128


def test_a_run_of_a_preset_that_is_no_more_keeps_its_options():
    values = make_config({"preset": "agd_small", "training": {"epochs": 16}}).model_dump()
    older = make_config(values | {"preset": "agd_scanners"})
    assert (older.preset, older.training.epochs) == ("agd_scanners", 16)
    assert not differences(older, make_config(values))


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(InputError, match="'agd_huge'.*agd_tiny, agd_small, agd_paper"):
        preset_values("agd_huge")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"training": {"learning_rate": -1}}, "training.learning_rate.*greater than 0.*-1"),
        ({"training": {"lr": 0.1}}, "training.lr: no such option"),
        ({"trainer": {}}, "trainer: no such option"),
        ({"data": {"augment": "wild"}}, "data.augment.*'heavy' or 'scanners'.*'wild'"),
        ({"data": {"image_size": 100}}, "data.image_size 100: expected a multiple of 32"),
        ({"training": {"sizes": [48]}}, "training.sizes 48: expected a multiple of 32"),
        ({"training": {"sizes": [64], "patience": 3}}, "training.sizes .*without patience"),
        ({"data": {"normalization": "skull"}}, "data.normalization.*'tissue' or 'brain'"),
        ({"model": {"filters": "many"}}, "model.filters.*'many'"),
        ({"model": {"filters": []}}, "model.filters.*at least 1"),
        ({"model": {"filters": [8, 16]}}, r"model: skips \(1, 2, 3, 4\): .*levels \(1, 2\)"),
        ({"model": {"skips": [1]}}, r"model: attention_at \(2, 3\): expected some of \(1,\)"),
        ({"model": {"activation": "foo"}}, "model.activation.*'relu'.*'foo'"),
        ({"preset": "agd_huge"}, "preset 'agd_huge'"),
        ({"preset": ["agd_tiny"]}, "preset"),
        ({"training": 3}, "training: .*3"),
    ],
)
def test_bad_values_name_the_option_in_one_line(values, message):
    with pytest.raises(InputError, match=message) as caught:
        make_config(values)
    assert "\n" not in str(caught.value)


def test_differences_names_options():
    other = make_config({"training": {"epochs": 3}, "model": {"depth": 2}})
    assert differences(make_config({}), other) == ["model.depth", "training.epochs"]


@pytest.mark.parametrize("setting", ["epochs=3", "training.epochs", "a.b.c=1", "training.x=[1"])
def test_bad_setting(setting):
    with pytest.raises(InputError, match="--set"):
        parse_setting(setting)


@pytest.mark.parametrize("text", ["- 1\n- 2", "a: [", "\x00"])
def test_bad_config_file(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="config.yaml"):
        load_config(tmp_path / "config.yaml")


def test_missing_config_file(tmp_path):
    with pytest.raises(InputError, match="none.yaml: expected a readable YAML file"):
        load_config(tmp_path / "none.yaml")


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().training.epochs = 3


_scalars = st.none() | st.booleans() | st.integers() | st.text()
_nested = st.dictionaries(st.text(), _scalars | st.dictionaries(st.text(), _scalars))


@given(_nested)
@settings(max_examples=50, deadline=None)
def test_any_values_make_a_config_or_one_line(values):
    try:
        make_config(values)
    except InputError as error:
        assert len(str(error).splitlines()) <= 1


@given(_nested, _nested)
@settings(max_examples=50, deadline=None)
def test_merge_prefers_the_later(first, second):
    merged = merge(first, second)
    assert set(merged) == set(first) | set(second)
    for key, value in second.items():
        if not (isinstance(value, dict) and isinstance(first.get(key), dict)):
            assert merged[key] == value
        else:
            assert merged[key] == {**first[key], **value}


def test_saved_file_is_plain_yaml(tmp_path):
    save_config(RunConfig(), tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["data"]["path"] == "phantom"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
