"""Which files are a case, and which of them is which contrast, by names alone."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from agd_keras.errors import InputError
from agd_keras.io.discovery import find_cases, read_case
from agd_keras.io.layouts import bids
from agd_keras.io.layouts.names import read_name


def _make(root: Path, names: str) -> Path:
    """Files of these names, which finding does not open."""
    for name in names.split():
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"never read")
    return root


def _found(root: Path, *inputs: str, **options) -> dict[str, object]:
    """By case: names of the files by contrast, or the problem."""
    cases = find_cases([root / name for name in inputs] or [root], **options)
    return {
        case.case_id: case.problem
        or {
            contrast: file.relative_to(root).as_posix().removesuffix(".nii.gz")
            for contrast, file in zip(case.contrasts or ("FLAIR",), case.files, strict=True)
        }
        for case in cases
    }


def _case(t1: str = "", flair: str = "", t1c: str = "") -> dict[str, str]:
    named = {"T1": t1, "FLAIR": flair, "T1c": t1c}
    return {contrast: name for contrast, name in named.items() if name}


LAYOUTS = {
    "BraTS 2017 to 2021": (
        "A/A_t1 A/A_t1ce A/A_t2 A/A_flair A/A_seg B/B_t1 B/B_flair",
        {"A/A": _case("A/A_t1", "A/A_flair", "A/A_t1ce"), "B/B": _case("B/B_t1", "B/B_flair")},
    ),
    "BraTS 2023 on": (
        " ".join(f"B-2-000/B-2-000-{name}" for name in ("t1n", "t1c", "t2w", "t2f", "seg")),
        {"B-2-000/B-2-000": _case(*(f"B-2-000/B-2-000-{name}" for name in ("t1n", "t2f", "t1c")))},
    ),
    "several patients in a folder": (
        "P_1_flair P_1_t1 P_10_flair P_10_t1_gd P_10_roi",
        {"P_1": _case("P_1_t1", "P_1_flair"), "P_10": _case("", "P_10_flair", "P_10_t1_gd")},
    ),
    "dcm2niix by number": (
        "3_t1_tse_tra 5_t2_flair_tra 9_t1_mprage_KM 2_localizer 7_t2_tse 8_resolve_ADC 4_unknown",
        {"": _case("3_t1_tse_tra", "5_t2_flair_tra", "9_t1_mprage_KM")},
    ),
    "dcm2niix by name and number": (
        "Doe_3_t1_tse_tra Doe_5_t2_flair_tra Doe_9_t1_mprage_KM Doe_2_localizer",
        {"Doe": _case("Doe_3_t1_tse_tra", "Doe_5_t2_flair_tra", "Doe_9_t1_mprage_KM")},
    ),
    "dcm2niix, its default": (
        "in_AX_T1_20190101120000_3 in_AX_T2_FLAIR_20190101120000_5",
        {"in": _case("in_AX_T1_20190101120000_3", "in_AX_T2_FLAIR_20190101120000_5")},
    ),
    "numbers of patients": (
        "001_flair 001_t1 002_flair 002_t1 003_flair",
        {
            "001": _case("001_t1", "001_flair"),
            "002": _case("002_t1", "002_flair"),
            "003": _case("", "003_flair"),
        },
    ),
    "BIDS": (
        "sub-1/anat/sub-1_FLAIR sub-1/anat/sub-1_T1w sub-1/anat/sub-1_ce-gadolinium_T1w "
        "sub-1/anat/sub-1_T2w sub-1/func/sub-1_task-rest_bold sub-1/dwi/sub-1_dwi "
        "derivatives/x/sub-1/anat/sub-1_FLAIR sub-2/ses-a/anat/sub-2_ses-a_acq-ax_run-1_FLAIR "
        "sub-2/ses-b/anat/sub-2_ses-b_FLAIR sub-2/ses-b/anat/sub-2_ses-b_dseg",
        {
            "sub-1/anat/sub-1": _case(
                *(f"sub-1/anat/sub-1_{name}" for name in ("T1w", "FLAIR", "ce-gadolinium_T1w"))
            ),
            "sub-2/ses-a/anat/sub-2_ses-a": _case(
                "", "sub-2/ses-a/anat/sub-2_ses-a_acq-ax_run-1_FLAIR"
            ),
            "sub-2/ses-b/anat/sub-2_ses-b": _case("", "sub-2/ses-b/anat/sub-2_ses-b_FLAIR"),
        },
    ),
    "derivatives of BIDS": (
        "sub-1_desc-preproc_T1w sub-1_space-MNI_desc-preproc_T1w sub-1_FLAIR sub-1_desc-brain_mask "
        "sub-1_label-GM_probseg sub-1_space-MNI_FLAIR sub-1_acq-post_T1w",
        {"sub-1": _case("sub-1_desc-preproc_T1w", "sub-1_FLAIR", "sub-1_acq-post_T1w")},
    ),
    "names that are a contrast": (
        "c1/FLAIR c1/T1 c1/GT_W c2/flair c2/t1ce c2/t1 c2/t2",
        {"c1/c1": _case("c1/T1", "c1/FLAIR"), "c2/c2": _case("c2/t1", "c2/flair", "c2/t1ce")},
    ),
    "LUMIERE": (
        "P/w-0/CT1 P/w-0/FLAIR P/w-0/T1 P/w-0/T2 P/w-0/HD-GLIO-AUTO-segmentation/native/x_CT1 "
        "P/w-0/DeepBraTumIA-segmentation/atlas/skull_strip/ct1_skull_strip",
        {"P/w-0/w-0": _case("P/w-0/T1", "P/w-0/FLAIR", "P/w-0/CT1")},
    ),
    "EGD": (
        "E-1/1_T1/NIFTI/T1 E-1/2_T1GD/NIFTI/T1GD E-1/3_T2/NIFTI/T2 E-1/4_FLAIR/NIFTI/FLAIR "
        "E-1/5_MASK/NIFTI/MASK",
        {
            "E-1": _case("E-1/1_T1/NIFTI/T1", "E-1/4_FLAIR/NIFTI/FLAIR", "E-1/2_T1GD/NIFTI/T1GD"),
        },
    ),
    "XNAT": (
        "S/scans/3-t1_tse/resources/NIFTI/files/i S/scans/5-t2_flair/resources/NIFTI/files/i "
        "S/scans/7-ADC/resources/NIFTI/files/i",
        {
            "S/scans/i": _case(
                "S/scans/3-t1_tse/resources/NIFTI/files/i",
                "S/scans/5-t2_flair/resources/NIFTI/files/i",
            )
        },
    ),
    "a folder a contrast": (
        "flair/P1 flair/P2 t1/P1 masks/P1",
        {"P1": _case("t1/P1", "flair/P1"), "P2": _case("", "flair/P2")},
    ),
    "UCSF-PDGM": (
        "U_FLAIR U_FLAIR_bias U_T1 U_T1_bias U_T1c U_T1c_bias U_T2 U_SWI U_ADC U_DTI_eddy_FA "
        "U_brain_segmentation U_tumor_segmentation U_ASL",
        {"U": _case("U_T1", "U_FLAIR", "U_T1c")},
    ),
    "UPENN-GBM": (
        "s/U-1_11/U-1_11_FLAIR s/U-1_11/U-1_11_T1 s/U-1_11/U-1_11_T1GD s/U-1_11/U-1_11_T2 "
        "m/U-1_11_segm a/U-1_11_automated_approx_segm d/U-1_11/U-1_11_DSC_ap-rCBV",
        {
            "s/U-1_11/U-1_11": _case(
                *(f"s/U-1_11/U-1_11_{name}" for name in ("T1", "FLAIR", "T1GD"))
            )
        },
    ),
    "before and after agent": (
        "P_pre_t1 P_post_t1 P_flair",
        {"P": _case("P_pre_t1", "P_flair", "P_post_t1")},
    ),
    "before and after an operation": (
        "P_preop_flair P_preop_t1 P_postop_flair",
        {
            "P_preop": _case("P_preop_t1", "P_preop_flair"),
            "P_postop": _case("", "P_postop_flair"),
        },
    ),
    "one on the grid of another": (
        "FLAIR T1_to_FLAIR T1c_reg_FLAIR",
        {"": _case("T1_to_FLAIR", "FLAIR", "T1c_reg_FLAIR")},
    ),
    "names that say nothing": (
        "head patient1 tumor_001 v2",
        {name: _case("", name) for name in ("head", "patient1", "tumor_001", "v2")},
    ),
    "numbers that are patients": (
        " ".join(f"patient_{number:04}" for number in range(6)),
        {f"patient_{number:04}": _case("", f"patient_{number:04}") for number in range(6)},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    names, expected = LAYOUTS[layout]
    found = _found(_make(tmp_path / "data", names))
    assert found == {name or "data": case for name, case in expected.items()}


AMBIGUOUS = {
    "P_t1 P_t1w P_flair": "2 files for T1: P_t1.nii.gz, P_t1w.nii.gz; --flair FILE, --t1 FILE",
    "P_flair_ax P_flair_sag": "2 files for FLAIR: P_flair_ax.nii.gz, P_flair_sag.nii.gz",
    "3_t1_tse_tra 4_t1_tse_sag 5_t2_flair_tra": "2 files for T1: 3_t1_tse_tra.nii.gz, 4_t1_tse_sag",
    "sub-1_FLAIR sub-1_run-2_FLAIR": "2 files for FLAIR: sub-1_FLAIR.nii.gz, sub-1_run-2_FLAIR",
    "sub-1_FLAIR sub-1_run-1_T1w sub-1_run-2_T1w": "2 files for T1: sub-1_run-1_T1w.nii.gz, sub-1",
    "P_pre_t1 P_post_t1 P_pre_flair P_post_flair": "2 files for FLAIR",
    "P_t1 P_t1ce": "expected a FLAIR, found only T1 and T1c: P_t1.nii.gz, P_t1ce.nii.gz; --flair",
    "P_t2": "expected a FLAIR, found only T2: P_t2.nii.gz; --flair FILE",
    "c_0000 c_0001 c_0002 c_0003": "which channel is which: c_0000.nii.gz, c_0001.nii.gz, c_0002",
    "c_0000 c_0001": "--channels t1,t1c,t2,flair (whatever their order is) says it",
    "c_0000": "nothing says which channel is which: c_0000.nii.gz; --channels",
}


@pytest.mark.parametrize("names", AMBIGUOUS)
def test_what_nothing_settles_is_an_error_of_the_case(tmp_path, names):
    [source] = find_cases([_make(tmp_path, names)])
    with pytest.raises(InputError) as caught:
        read_case(source)
    assert AMBIGUOUS[names] in str(caught.value) and "\n" not in str(caught.value)


def test_the_json_of_dcm2niix_where_names_are_silent(tmp_path):
    told = {"IM_0003": "t1_se_tra", "IM_0005": "t2_tirm_tra_dark-fluid", "IM_0009": "t1_se_tra_KM"}
    for name, description in told.items():
        _make(tmp_path, name)
        (tmp_path / f"{name}.json").write_text(json.dumps({"SeriesDescription": description}))
    assert _found(tmp_path) == {"IM": _case(*told)}
    (tmp_path / "IM_0005.json").write_text("[" * 100_000)
    assert "found only T1 and T1c: IM_0003.nii.gz" in _found(tmp_path)["IM"]
    assert _found(tmp_path, "IM_0009.nii.gz")["IM_0009"].count("found only T1c") == 1


def test_what_was_left_out_is_named(tmp_path):
    [source] = find_cases([_make(tmp_path, "P_flair P_t2 P_seg P_other P_adc")])
    left = "P_adc.nii.gz (other), P_t2.nii.gz (T2), P_other.nii.gz, P_seg.nii.gz (label map)"
    assert source.notes == (f"left out: {left}",)


def test_no_scan_that_could_be_a_flair(tmp_path):
    for name in ("P_adc", "seg", "labelsTr/P_1"):
        folder = _make(tmp_path / name, name)
        with pytest.raises(InputError, match=r"expected a FLAIR, found only|found none in it"):
            find_cases([folder])


def test_a_file_that_the_user_names_is_taken(tmp_path):
    _make(tmp_path, "P_flair P_t1 P_seg GT_W T1 ADC")
    files = [f"{name}.nii.gz" for name in ("P_flair", "P_t1", "P_seg")]
    assert _found(tmp_path, *files) == {"P": _case("P_t1", "P_flair")}
    assert _found(tmp_path, "GT_W.nii.gz") == {"GT_W": _case("", "GT_W")}
    for name, kind in (("T1", "T1"), ("ADC", "other")):
        [problem] = _found(tmp_path, f"{name}.nii.gz").values()
        assert f"found only {kind}: {name}.nii.gz" in problem


def test_contrasts_that_the_user_names(tmp_path):
    _make(tmp_path, "a b GT_W P_t1")
    told = {"T1": tmp_path / "P_t1.nii.gz", "FLAIR": tmp_path / "a.nii.gz"}
    [source] = find_cases([], contrasts=told)
    assert (source.case_id, source.contrasts) == ("a", ("T1", "FLAIR"))
    [source] = find_cases([], contrasts={"FLAIR": tmp_path / "P_t1.nii.gz"})
    assert (source.case_id, source.contrasts) == ("P", ("FLAIR",))
    with pytest.raises(InputError, match="--flair: expected one beside T1"):
        find_cases([], contrasts={"T1": tmp_path / "a.nii.gz"})
    with pytest.raises(InputError, match="expected a file, found nothing"):
        find_cases([], contrasts={"FLAIR": tmp_path / "none.nii.gz"})
    with pytest.raises(InputError, match="expected a DICOM series, found none"):
        find_cases([], contrasts={"FLAIR": tmp_path})


@pytest.mark.parametrize("key", ["channel_names", "modality"])
@pytest.mark.parametrize("where", [".", "imagesTs", "a/imagesTs"])
def test_dataset_json_settles_the_order(tmp_path, key, where):
    names = dict(enumerate(("T1", "T1ce", "T2", "Flair")))
    (tmp_path / "dataset.json").write_text(json.dumps({key: names}))
    _make(tmp_path / where, "c_0000 c_0001 c_0002 c_0003 d_0000 d_0003")
    found = {source.case_id.split("/")[-1]: source for source in find_cases([tmp_path])}
    assert found["c"].contrasts == ("T1", "T1c", "T2", "FLAIR")
    assert found["d"].contrasts == ("T1", "FLAIR")
    assert found["c"].notes == ("channels taken as T1, T1c, T2, FLAIR",)


def test_one_channel_is_a_patient_a_file(tmp_path):
    _make(tmp_path, "c_0000 d_0000")
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "FLAIR"}}')
    assert list(_found(tmp_path)) == ["c", "d"]
    _make(tmp_path / "p", "p_0000 p_0001")
    assert list(_found(tmp_path / "p", channels=("FLAIR",))) == ["p_0000", "p_0001"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "dataset.json: expected JSON"),
        ("[" * 100_000, "dataset.json: expected JSON"),
        ('{"channel_names": {"0": "T1", "2": "FLAIR"}}', "expected a name for each channel 0, 1"),
        ('{"channel_names": 3}', "expected a name for each channel 0, 1"),
        ('{"channel_names": {"0": "T1", "1": "FLAIR"}}', "channel 2, but 2 are named: T1, FLAIR"),
        ('{"channel_names": {"0": "T1", "1": "T2", "2": "T1c"}}', "expected a FLAIR, found only"),
        ("[]", "nothing says which channel is which"),
        ('{"name": "x"}', "nothing says which channel is which"),
    ],
)
def test_a_dataset_json_that_does_not_fit(tmp_path, content, reason):
    (tmp_path / "dataset.json").write_text(content)
    [source] = find_cases([_make(tmp_path, "c_0000 c_0001 c_0002")])
    with pytest.raises(InputError) as caught:
        read_case(source)
    assert reason in str(caught.value)


def test_a_grey_picture_of_another_contrast_is_no_flair(tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    for name in ("a_t1", "a_flair", "a"):
        Image.fromarray(grey).save(tmp_path / f"{name}.png")
    Image.fromarray(np.stack([grey, grey, 255 - grey], -1)).save(tmp_path / "b_t1.png")
    readable = []
    for source in find_cases([tmp_path]):
        try:
            readable.append(read_case(source).masks[0])
        except InputError as error:
            assert "a_t1.png: expected a FLAIR or all three contrasts" in str(error)
    assert readable == ["a_mask.png", "a_flair_mask.png", "b_t1_mask.png"]


_LABEL = st.from_regex("[a-zA-Z0-9]{1,8}", fullmatch=True)


@given(_LABEL, st.none() | _LABEL, st.none() | _LABEL, st.booleans())
def test_entities_of_bids(sub, ses, run, enhanced):
    case = f"sub-{sub}" + (f"_ses-{ses}" if ses else "")
    stem = case + ("_ce-gd" if enhanced else "") + (f"_run-{run}" if run else "") + "_T1w"
    entities = bids.read_entities(stem)
    assert bids.case_of(entities) == case
    assert bids.contrast_of(entities) == ("T1c" if enhanced else "T1", True)


@given(
    st.from_regex("[A-Z][a-z]{1,3}[0-9]{1,3}", fullmatch=True),
    st.sampled_from([("T1", "t1"), ("T1c", "t1ce"), ("FLAIR", "flair"), ("T2", "t2w")]),
    st.sampled_from("_-"),
)
def test_case_and_contrast_of_a_name(case, pair, between):
    contrast, word = pair
    name = read_name(Path(f"{case}{between}{word}.nii.gz"), ".")
    assert (name.case, name.contrast, name.plain) == (case, contrast, True)


def test_a_folder_for_each_contrast_called_like_its_file(tmp_path):
    """As of old BraTS: the FLAIR alone would be predicted with the others at hand."""
    for number, name in enumerate(("MR_Flair", "MR_T1", "MR_T1c"), start=1):
        for patient in ("VSD.Brain.XX.O", "VSD.Brain.YY.O"):
            folder = tmp_path / f"{patient}.{name}.{patient[10:11]}{number}"
            folder.mkdir()
            nibabel.Nifti1Image(np.zeros((2, 3, 4)), np.eye(4)).to_filename(
                folder / f"{folder.name}.nii"
            )
    found = find_cases([tmp_path])
    assert [one.case_id for one in found] == ["VSD.Brain.XX.O.MR", "VSD.Brain.YY.O.MR"]
    for one in found:
        assert one.contrasts == ("T1", "FLAIR", "T1c") and not one.problem
        assert [path.stem.split("_")[1].split(".")[0] for path in one.files] == [
            "T1",
            "Flair",
            "T1c",
        ]
