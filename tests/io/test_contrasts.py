"""Words of scanners, technicians and data sets: which contrast, which agent, scan or label map."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agd_keras.io.contrasts import (
    agent_given,
    enhancement,
    kind_of,
    name_contrast,
    words_of,
)
from agd_keras.io.label_names import is_label, is_label_folder

NAMES = {
    "FLAIR": (
        *("AX FLAIR", "T2-FLAIR", "T2W_FLAIR", "Visit1_AX_FLAIR", "FLAIR_longTR", "3D FLAIR SAG"),
        *("t2_tirm_tra_dark-fluid", "t2_tirm_tra_dark fluid_fs", "t2_spc_da-fl_sag", "t2flairtra"),
        *("t2_spc_ir_sag_p2_iso", "POST-OP AX FLAIR", "AX FLAIR POST", "t2f", "FLAIR_to_T1"),
        *(
            "FLAIR2T1",
            "Ax T2 FLAIR PROPELLER FS",
            "VISTA FLAIR",
            "Ax FLAIR ASSET",
            "FLAIR sem contraste",
            "WIP FLAIR_longTR CLEAR",
            "FASE FLAIR",
            "sFLAIR",
            "T2_TSE_dark_fl",
            "t2_space_dark-fluid_sag_p2_iso",
            "t2_tirm_tra_dark-fl",
            "T2 SPACE FLAIR",
            "AX T2 HI RES FLAIR",
            "FLAIR space T1",
        ),
    ),
    "T1": (
        *(
            "T1",
            "t1w",
            "t1n",
            "SAG T1",
            "T1W_SE",
            "sT1W_3D_TFE",
            "Ax T1 FLAIR",
            "T1 SPACE",
            "t1space",
        ),
        *("t1_tirm_tra_dark-fluid", "MPRAGE", "AX BRAVO", "3D SPGR", "t1_mpr_sag", "T1-weighted"),
        *(
            "POST-OP AX T1",
            "AX T1 POST RADIATION",
            "postoperativ t1 tra",
            "T1 postop",
            "t1 nach OP",
        ),
        *(
            "T1 PRE",
            "t1 pre contrast",
            "AX T1 W/O",
            "AX T1 S/C",
            "AX T1 -C",
            "AX T1 C-",
            "T1 pregad",
        ),
        *("AX T1 non contrast", "T1 noncon", "T1nativ", "T1 ohne KM", "t1 vor KM", "T1 nativ"),
        *(
            "T1 sans injection",
            "T1 sin contraste",
            "T1 senza mdc",
            "T1 basale",
            "AX T1 W/WO CONTRAST",
            "eT1W_SE",
        ),
        *(
            "Visit1_AX_T1",
            "T1_to_FLAIR",
            "AX T1 GRE",
            "T1 W/O FS",
            "T1 zonder contrast",
            "pre-SX AX T1",
            "T1 FA 20",
            "T1 prä KM",
            "t1 prae Kontrast",
            "T1 o. KM",
            "T1 v. KM",
            "T1 ohneKM",
            "T1 utan kontrast",
            "T1 uden kontrast",
            "T1 før kontrast",
            "T1 före kontrast",
            "T1 bez kontrastu",
            "T1 minus KM",
            "T1 POST SURG",
            "T1 nach Bestrahlung",
            "T1 post Resektion",
            "AX T1 FOR STEALTH",
            "sub-01 T1",
            "T1 without Gd",
            "20190101120000t1mpragesagisos003a001",
        ),
    ),
    "T1c": (
        *(
            "T1c",
            "t1ce",
            "T1GD",
            "T1Gd",
            "CT1",
            "T1_C",
            "T1+C",
            "AX T1 +C",
            "AX T1 C+",
            "T1W_TSE_GD",
        ),
        *("PRE-OP AX T1 POST GAD", "POST-OP AX T1 +C", "POST-OP DAY 1 AX T1 POST", "AX POST T1"),
        *(
            "t1_se_tra_KM",
            "t1_mprage_KM",
            "MPRAGE_KM",
            "t1 nach KM",
            "T1 mit KM",
            "Kontrastmittel T1",
        ),
        *("T1 avec injection", "T1 EG 3D GADO", "T1 con contraste", "T1 con m.d.c.", "T1 dopo mdc"),
        *("AX BRAVO +C", "AXT1POST", "T1 postgad", "T1 GADOVIST", "t1 dotarem", "ax t1 w contrast"),
        *(
            "AX T1 W/ CONTRAST",
            "T1-weighted post-contrast",
            "T1 IV+",
            "t1_vibe_tra_Gd",
            "AX T1 POST GD W/O FS",
            "T1+",
            "AX T1 WITH",
            "T1 W/C",
            "T1 pos contraste",
            "Ax T1 GRE +C",
            "T1 CIV",
            "T1 n. KM",
            "T1 m. KM",
            "T1 nachKM",
            "T1 K.M.",
            "T1 apre\u0300s injection",
            "AX T1 POST GAD FOR STEALTH",
            "T1 DELAYED",
        ),
    ),
    "T2": ("AX T2", "t2w", "t2_tse_tra", "T2W_TSE", "AX T2 FSE", "t2_tirm_cor", "T2_to_FLAIR"),
    "other": (
        *(
            "ADC",
            "eADC",
            "DWI b1000",
            "ep2d_diff_3scan_trace_ADC",
            "SWI",
            "AX SWAN",
            "T2*",
            "T2 STAR",
        ),
        *(
            "T1 MAP",
            "T2_map",
            "REST1_w_SMS_PF7-8",
            "dADC",
            "isoDWI",
            "AAHScout",
            "GRE",
            "relCBV",
            "Apparent Diffusion Coefficient",
            "PosDisp",
            "localizer",
            "3-plane loc",
            "TOF",
            "MIP",
            "minIP",
        ),
        *(
            "STIR",
            "PD",
            "DTI FA",
            "rCBV",
            "perf",
            "t1_twist_dce",
            "SUBTRACTION T1",
            "Sag T1 C-SPINE",
        ),
        *(
            "AX T1 ORBITS",
            "t1_fl3d_spine",
            "T1 SUB",
            "SUB T1 GD",
            "t1_gd_sub",
            "T1 POST-PRE",
            "T1 difference",
            "AX T2 GRE",
            "T2 FFE",
            "t2_fl2d_tra_hemo",
            "DP T2 TSE",
            "T2 relaxation",
        ),
    ),
    None: ("", "AX", "PROPELLER", "Patient1", "visit12", "subject1", "ct12", "brain", "scan t15"),
}


@pytest.mark.parametrize(
    ("name", "contrast"), [(name, key) for key, names in NAMES.items() for name in names]
)
def test_contrast_by_words(name, contrast):
    for written in (name, name.upper(), name.lower(), name.replace(" ", "_"), f"5_{name}"):
        assert name_contrast(written) == contrast, written


@pytest.mark.parametrize("agent", ["Gadovist", "DOTAREM 10 ml", "GADOLINIUM", "Y", "YES", "8cc MH"])
def test_an_agent_in_the_tag_counts_where_words_are_silent(agent):
    assert agent_given(agent)
    assert name_contrast("t1_mprage", agent) == "T1c"
    assert name_contrast("POST-OP AX T1", agent) == "T1c"
    assert name_contrast("AX T1 W/WO CONTRAST", agent) == "T1c"
    for name in ("T1 PRE", "AX T1 W/O", "AX T1 W-O CONTRAST", "t1 nativ", "T1 S/C", "AX T1 -C"):
        assert name_contrast(name, agent) == "T1", name
    assert name_contrast("AX FLAIR", agent) == "FLAIR"


@pytest.mark.parametrize(
    "agent",
    [
        *("", " ", "NONE", "None", "NO", "N", "0", "0.0", "0 ml", "n/a", "NO CONTRAST", "without"),
        *("none given", "Not used", "Anonymized", "REMOVED", "unbekannt", "NONCON", "W/O", "nein"),
        *("PRE CONTRAST", "pas de contraste", "No", "None/None", "UNDEFINED", "XXXX", "plain"),
    ],
)
def test_no_agent_in_the_tag(agent):
    assert not agent_given(agent)
    assert name_contrast("AX T1", agent) == "T1"


def test_before_and_after_say_nothing_together():
    assert enhancement(words_of("T1 pre and post gd")) is None
    assert enhancement(words_of("AX T1")) is None


@given(
    st.text(string.ascii_letters, min_size=2, max_size=8),
    st.sampled_from(["t1", "t2", "adc", "swi"]),
)
def test_letters_within_a_word_are_no_word(start, word):
    """A letter before it makes it a part of another word, apart from prefixes that are known."""
    if kind_of((start + word).lower()) is not None:
        known = ("ax", "sag", "cor", "tra", "axial", "sagittal", "coronal", "trans", "s", "r", "e")
        glued = ("c", "ce", "gd", "gad", "post", "km")
        assert start.lower() in {*known, *glued} | {a + b for a in known for b in "rs"} or (
            "flair" in start.lower() or start.lower().startswith(("t1", "t2", "mip", "trace"))
        )


@given(
    st.lists(st.sampled_from(["P", "X12", "case", "2019", "abc"]), max_size=3),
    st.sampled_from([("T1", "t1"), ("T1c", "t1ce"), ("FLAIR", "flair"), ("T2", "t2w")]),
    st.sampled_from("_- ."),
)
def test_whole_words_are_found_anywhere(before, pair, between):
    contrast, word = pair
    assert name_contrast(between.join([*before, word])) == contrast
    assert name_contrast(between.join([word, *before])) == contrast


@given(st.text(max_size=60))
def test_any_text_has_an_answer(text):
    assert name_contrast(text, text) in (None, "T1", "FLAIR", "T1c", "T2", "other")
    assert is_label(text) in (True, False)
    assert all(word.isascii() and word.isalnum() for word in words_of(text))


LABELS = """seg P_seg P-seg P_Segm P_Segmentation sub-01_dseg sub-01_desc-brain_mask GT_W P_gt MASK
sub-01_label-GM_probseg P_tumor P_tumour P_tumor_core P_tumor_manual tumor P_roi roi_1 ROI2 P_lesion
P_lesions P_label P_labels P1_tumorMask P_automated_approx_segm aparc+aseg aseg wmparc P_probability
P_entropy P_mutual_information P_uncertainty P_overlay P_gtv P_ET P_WT tumorseg P_seg2 lesion_mask
UCSF-PDGM-0004_brain_parenchyma_segmentation P_annotation P_prediction flair_lesion T1_seg seg_T1
case_annot caseGT P_msk P_Maske P_masque P_Segmentierung P_segmentacion P_RTSTRUCT P_delineation
P_consensus P_Läsion case_OT.54517 P_segs P_wmh seg-tumor _mask P_reader2
P_edema P_necrosis sub-01_space-MNI_label-lesion_roi P_groundtruth truth"""

SCANS = """P_flair T1 brain T1_brain T1_masked head P_1 tumor_001 tumor_001_flair lesion_12_t1
patient1
TCGA_CS_4942_19970222_1 BRATS_001 sub-01_FLAIR scan masked_t1 P_t1_unstripped
Segal_1 marooi TC_001 P_whole_brain GK_1"""


@pytest.mark.parametrize("name", LABELS.split())
def test_label_maps(name):
    assert is_label(name)


@pytest.mark.parametrize("name", SCANS.split())
def test_scans(name):
    assert not is_label(name)


def test_folders_of_labels():
    for name in ("labelsTr", "labelsTs", "derivatives", "masks", "5_MASK", "HD-GLIO-segmentation"):
        assert is_label_folder(name)
    for name in ("GT", "gt", "Ground_Truth", "ROIs", "Masken", "annots", "predictions"):
        assert is_label_folder(name)
    for name in ("imagesTr", "Task01_BrainTumour", "tumor_01", "images_and_masks", "anat", "P_1"):
        assert not is_label_folder(name)
