"""An ONNX file with 8-bit weights and activations, its ranges taken from real pictures."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from eyesight.data.prepare import Pixels
from eyesight.inference.onnx_classifier import INPUT

LAYERS = [
    "Conv",
    "Gemm",
    "MatMul",
    "Relu",
    "MaxPool",
]  # normalisation, averages and the softmax stay in float32
PORTION = 50  # pictures looked at in one go


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands the calibrating pictures over in portions."""

    def __init__(self, pixels: Pixels) -> None:
        self.portions = (
            pixels[start : start + PORTION] for start in range(0, len(pixels), PORTION)
        )

    def get_next(self) -> dict[str, Any] | None:
        """The next portion, None after the last."""
        portion = next(self.portions, None)
        return None if portion is None else {INPUT: portion}


def quantise(file: Path, out: Path, calibrating: Pixels) -> None:
    """Write `file` (.onnx) to `out` with 8-bit layers; `calibrating` are prepared pictures, uint8 N,C,H,W."""
    logging.getLogger("root").addFilter(_no_remarks)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ready = Path(folder) / "ready.onnx"
            quant_pre_process(str(file), str(ready))
            quantize_static(
                str(ready),
                str(out),
                Reader(calibrating),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
    finally:
        logging.getLogger("root").removeFilter(_no_remarks)


def _no_remarks(record: logging.LogRecord) -> bool:
    """Keep only errors: the library advises through the root logger what was done already."""
    return record.levelno >= logging.ERROR
