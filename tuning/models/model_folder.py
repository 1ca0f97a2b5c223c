"""The folder of a registered model, which MLflow loads in two ways.

`mlflow.keras` takes decoded, resized gray pixels; `python_function` takes encoded images, and brings the code that
decodes them along.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from pathlib import Path
from typing import Any

import pneumo_core
from pneumo_core.classifier import ClassifierSettings

_REQUIREMENTS = ("mlflow", "tensorflow", "keras", "numpy", "pandas", "pillow", "pydicom")
_OPENCV = "opencv-python-headless"
_CODE_FILES = ("classifier.py", "familiarity.py", "images.py", "preprocessing.py", "dicom.py", "errors.py")


def write_model_folder(folder: Path, model: Any, settings: ClassifierSettings) -> None:
    """Writes a Keras model as one MLflow model with two faces.

    Args:
        folder: new.
        model: from gray pixels to probabilities, of standard layers only.
        settings: of the classifier.

    Side effects:
        Writes the folder.
    """
    import mlflow
    from mlflow.models import Model

    required = [*_REQUIREMENTS, *([_OPENCV] if settings.preprocessing.needs_opencv else [])]
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in required]
    described = Model()
    signature = _keras_signature(settings.image_size)
    mlflow.keras.save_model(model, str(folder), mlflow_model=described, signature=signature, pip_requirements=pins)
    settings.save(folder)
    package = _write_code(folder / "code")
    described.flavors["python_function"] |= {"loader_module": f"{package}.classifier", "code": "code"}
    described.flavors["python_function"].pop("data", None)
    described.signature = _signature()
    described.save(str(folder / "MLmodel"))


def _write_code(folder: Path) -> str:
    """Copies what decodes and describes, as a package whose name follows from its content.

    Two versions loaded into one process, or into one that has this program installed, so keep to their own code.
    """
    source = Path(pneumo_core.__file__).parent
    digest = hashlib.sha256(b"".join((source / name).read_bytes() for name in _CODE_FILES)).hexdigest()[:12]
    package = folder / f"pneumo_classifier_{digest}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""The code that a registered classifier brings along."""\n')
    for name in _CODE_FILES:
        shutil.copyfile(source / name, package / name)
    return package.name


def _keras_signature(image_size: int) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    pixels = TensorSpec(np.dtype("uint8"), (-1, image_size, image_size, 1), "pixels")
    return ModelSignature(inputs=Schema([pixels]))


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

    image = ColSpec(AnyType(), "image")  # type: ignore[no-untyped-call]  # bytes, or base64 over HTTP
    outputs = [
        *(ColSpec(DataType.double, name) for name in ("probability", "normal_probability")),
        *(
            ColSpec(DataType.string, name, required=False)
            for name in ("label", "band", "recommendation", "warning", "error")
        ),
    ]
    return ModelSignature(inputs=Schema([image]), outputs=Schema([*outputs]))
