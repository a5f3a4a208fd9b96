"""One case predicted, and what was asked for of it written: masks, maps, a picture, its row."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from agd_keras.errors import InputError
from agd_keras.inference.familiarity import UNLIKE, Familiarity
from agd_keras.inference.outputs import (
    MAPS,
    flat_name,
    name_masks,
    name_volumes,
    replacing,
    resolve_outputs,
    write_maps,
    write_masks,
    write_volumes,
)
from agd_keras.inference.overlay import add_title, draw_overlay
from agd_keras.inference.postprocess import Postprocessing, measure, measure_regions
from agd_keras.inference.predict_case import predict_case, predict_maps
from agd_keras.inference.uncertainty import PatientPredictor, UncertaintyMaps, UncertaintyPredictor
from agd_keras.io.case import Case
from agd_keras.io.case_ref import CaseRef
from agd_keras.io.discovery import read_case
from agd_keras.region_masks import by_region, union
from agd_keras.regions import Regions, names_of

logger = logging.getLogger(__name__)


def place_of(source: CaseRef) -> Path:
    """Returns the file of a case, or the folder of its files.

    Args:
        source: A case of one file or more.

    Example:

    >>> place_of(CaseRef("a", "dicom", (Path("scan/1.dcm"), Path("scan/2.dcm")))).as_posix()
    'scan'
    """
    return source.files[0] if len(source.files) == 1 else source.files[0].parent


@dataclass(frozen=True)
class CaseWriter:
    """Predicts cases and writes what is wanted of each; see `predict_files` for the options.

    Args:
        out: Folder for the results.
        predictor: What predicts.
        postprocessing: How masks are made of probabilities, settled.
        uncertain: What predicts with uncertainty, if that is wanted.
        overlays: Whether to draw a picture of each case.
        save_probability: Whether to write probabilities, and maps of uncertainty, as volumes.
        mask_format: `source` or `nnunet`.
        overwrite: Whether files that are there are replaced.
        descriptions: Whether descriptions of DICOM series go into the notes.
        familiarity: What the training data look like, to tell of scans that do not.
    """

    out: Path
    predictor: PatientPredictor
    postprocessing: Postprocessing
    uncertain: UncertaintyPredictor | None
    overlays: bool
    save_probability: bool
    mask_format: str
    overwrite: bool
    descriptions: bool
    familiarity: Familiarity | None

    @property
    def regions(self) -> Regions:
        """What is found."""
        return getattr(self.predictor, "regions", {})

    def predict(self, source: CaseRef) -> dict[str, Any]:
        """Predicts a case and writes its files, all of them or none.

        Args:
            source: The case.

        Returns:
            Its row in the table.

        Raises:
            InputError: It cannot be read or predicted, or a file exists already.
            OSError: A file cannot be written; names it.
        """
        case = read_case(source, self.descriptions)
        names, unwanted = self._name_outputs(source, case)
        wanted = [name for own in names.values() for name in own]
        paths = resolve_outputs(self.out, wanted, source.files, self.overwrite)
        stale: list[Path] = []
        if self.overwrite:
            stale = resolve_outputs(self.out, unwanted, source.files, self.overwrite)
        try:
            maps = predict_maps(self.uncertain, case) if self.uncertain else None
            flips = self.postprocessing.flips
            probability = maps.probability if maps else predict_case(self.predictor, case, flips)
        except InputError as error:  # knows of no file
            raise InputError(f"{place_of(source)}: {error}") from None
        masks = self.postprocessing.mask(probability, self.regions)
        mask = union(masks)
        found = measure(mask, union(probability), case.spacing)
        with replacing(paths) as made:
            rest = iter(made)
            files = {kind: list(islice(rest, len(own))) for kind, own in names.items()}
            changed = write_masks(case, masks, files["masks"], self.mask_format, self.regions)
            self._write_maps(files, case, maps, probability)
            for file in files["overlay"]:
                picture = draw_overlay(case.flair, mask, case.spacing, source.numbers, case.sides)
                picture = add_title(picture, source.case_id, found["volume_mm3"], int(mask.sum()))
                # The default saves a fiftieth of the bytes and takes as long as all else together.
                picture.save(file, compress_level=1)
        for path in stale:
            path.unlink(missing_ok=True)
        doubt = {"uncertainty": f"{maps.score:.3f}"} if maps else {}
        by_name = measure_regions(masks, case.spacing, self.regions)
        row = {"case": source.case_id, **found, **doubt, **by_name}
        notes = self._notes(source, case, changed)
        return {**row, "masks": _named_together(source, names["masks"]), "notes": notes}

    def _name_outputs(
        self, source: CaseRef, case: Case
    ) -> tuple[dict[str, Sequence[str]], list[str]]:
        """The files to write by their kind, and those that an earlier prediction may have left."""
        flat = self.mask_format == "nnunet"
        stem = flat_name(source.case_id) if flat else source.case_id
        try:
            masks = name_masks(source.case_id, case, self.mask_format, self.regions)
        except InputError as error:  # knows of no file
            raise InputError(f"{place_of(source)}: {error}") from None
        uncertainty = [f"{stem}_uncertainty.{kind}" for kind in ("npz", "png")]
        volumes = name_volumes(stem, case, self._map_names())
        kept = len(volumes) if self.uncertain else len(volumes) // len(MAPS)
        overlay = [f"{stem}_overlay.png"]
        names: dict[str, Sequence[str]] = {
            "masks": masks,
            "uncertainty": uncertainty if self.uncertain else [],
            "volumes": volumes[:kept] if self.save_probability else [],
            "overlay": overlay if self.overlays else [],
        }
        wanted = [name for own in names.values() for name in own]
        return names, [n for n in (*uncertainty, *volumes, *overlay) if n not in wanted]

    def _map_names(self) -> list[str]:
        """What the maps of a case are called, those of all regions one after the other."""
        parts = [f"_{name}" for name in names_of(self.regions)] or [""]
        return [f"{name}{part}" for name in MAPS for part in parts]

    def _write_maps(
        self,
        files: Mapping[str, Sequence[Path]],
        case: Case,
        maps: UncertaintyMaps | None,
        probability: np.ndarray,
    ) -> None:
        if maps:
            write_maps(maps, case, *files["uncertainty"])
        if files["volumes"]:
            given = [getattr(maps, name) for name in MAPS] if maps else [probability]
            stacks = [one for maps_ in given for one in np.moveaxis(by_region(maps_), -1, 0)]
            named = dict(zip(self._map_names(), stacks, strict=False))
            write_volumes(named, files["volumes"], case)

    def _notes(self, source: CaseRef, case: Case, changed: Sequence[str]) -> str:
        unlike = self.familiarity.judge(case) if self.familiarity else []
        told = [UNLIKE + ", ".join(unlike)] if unlike else []
        notes = "; ".join([*case.notes, *changed, *told])
        if notes:
            logger.info("%s: %s", source.case_id, notes)
        return notes


def _named_together(source: CaseRef, masks: Sequence[str]) -> str:
    """The masks in one cell: the file, the folder of several, or regions in files of their own."""
    where = masks[0] if len(masks) == 1 else f"{source.case_id}/"
    return where if all(name.startswith(where) for name in masks) else "; ".join(masks)
