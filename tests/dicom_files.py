"""DICOM files for tests, written with pydicom."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

PATIENT = "Sicherlich^Geheim"
"""The patient's name in every file, which no message may show."""

LEAVE_OUT = object()


def dicom_dataset(pixels: np.ndarray, **changes: Any) -> Dataset:
    """Returns a frontal radiograph with the given stored values; `LEAVE_OUT` removes an element."""
    bits = 8 * pixels.dtype.itemsize
    elements: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage, "SOPInstanceUID": "1.2.3", "Modality": "CR",
        "PatientName": PATIENT, "PatientID": PATIENT, "ViewPosition": "AP", "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }  # fmt: skip
    dataset = Dataset()
    for keyword, value in (elements | changes).items():
        if value is not LEAVE_OUT:
            setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(
    pixels: np.ndarray, syntax: UID = ExplicitVRLittleEndian, frame: bytes | None = None, **changes: Any
) -> bytes:
    """Returns a DICOM file, with an already compressed frame in place of the pixels if one is given."""
    dataset = dicom_dataset(pixels, **changes)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
