"""Figures of groups of patients: a mean over all can hide one that fares badly."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agd_keras.evaluation import scores

# The second part of a TCGA case id names the institution that sent the tissue.
TCGA = re.compile(r"TCGA_([A-Z0-9]{2})_[A-Z0-9]{4}")
FEWEST = 5  # patients in a group that says anything: a third of four is one patient


def subgroups(subjects: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compares patients by size of the tumour and, where their ids tell it, by institution.

    Args:
        subjects: For each patient the result of `score_patient`.

    Returns:
        A row for each third of the patients by volume of the tumour, and for each institution:
        `group`, `value`, `patients`, `mean_dice`, `ci95_dice` (None for fewer than two patients),
        `median_dice`, `min_dice`. Patients without tumour are in no third; fewer than 15 with
        tumour make none.

    Example:

    >>> subjects = {f"TCGA_CS_{i:04}": {"dice": i / 20, "voxels_true": i} for i in range(1, 17)}
    >>> [(row["value"], row["patients"]) for row in subgroups(subjects)]
    [('1 to 6 voxels', 6), ('7 to 11 voxels', 5), ('12 to 16 voxels', 5), ('CS', 16)]
    """
    tumors = sorted((s for s in subjects.values() if s["voxels_true"]), key=_volume)
    rows = []
    thirds = np.array_split(np.arange(len(tumors)), 3) if len(tumors) >= 3 * FEWEST else []
    for third in thirds:
        part = [tumors[place] for place in third]
        value = f"{_volume(part[0]):,} to {_volume(part[-1]):,} voxels"
        rows.append(_row("tumour", value, part))
    matches = {patient: TCGA.match(patient) for patient in subjects}
    if all(matches.values()):
        sites: dict[str, list[Mapping[str, Any]]] = {}
        for patient, match in matches.items():
            sites.setdefault(match[1] if match else "", []).append(subjects[patient])
        rows += [_row("institution", site, sites[site]) for site in sorted(sites)]
    return rows


def _volume(entry: Mapping[str, Any]) -> int:
    return entry["voxels_true"]


def _row(group: str, value: str, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    dices = np.array([entry["dice"] for entry in entries])
    return {
        "group": group,
        "value": value,
        "patients": len(dices),
        "mean_dice": float(dices.mean()),
        "ci95_dice": scores.bootstrap_ci(dices),
        "median_dice": float(np.median(dices)),
        "min_dice": float(dices.min()),
    }
