"""An ONNX file with 8-bit weights and activations, its ranges taken from real images."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

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
from eyesight.system.files import scratch

# Normalisation, averages and the softmax stay in float32. Clip is ReLU6, without which the range of
# a convolution is that before it: EfficientNet-lite0 loses 10 points then, and 2 with it.
LAYERS = ["Conv", "Gemm", "MatMul", "Relu", "Clip", "MaxPool"]
PORTION = 50  # images in a batch


class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Calibration images in batches."""

    def __init__(self, pixels: Pixels) -> None:
        starts = range(0, len(pixels), PORTION)
        self.portions = (pixels[start : start + PORTION] for start in starts)

    def get_next(self) -> dict[str, Pixels] | None:
        """The next batch, None after the last."""
        portion = next(self.portions, None)
        if portion is None:
            return None
        return {INPUT: portion}


def quantise(file: Path, out: Path, calibrating: Pixels, exact: int = 0) -> None:
    """Write `file` (.onnx) to `out` with 8-bit layers.

    `calibrating` are prepared images, uint8 N,C,H,W. The first `exact` convolutions stay in
    float32.
    """
    logging.getLogger("root").addFilter(_no_remarks)
    try:
        with scratch() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ready = folder / "ready.onnx"
            # Symbolic shapes are for transformers, and fail on a graph of a pretrained network.
            quant_pre_process(str(file), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready),
                str(out),
                Reader(calibrating),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=LAYERS,
                nodes_to_exclude=answering_nodes(ready) + first_convolutions(ready, exact),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
    finally:
        logging.getLogger("root").removeFilter(_no_remarks)


def answering_nodes(file: Path) -> list[str]:
    """The layers behind the logits, which compare features and stay in float32."""
    import onnx

    graph = onnx.load_model(str(file)).graph
    names = []
    for node in graph.node:
        if any("answering" in name for name in node.input):
            names.append(node.name)
    return names


def first_convolutions(file: Path, count: int) -> list[str]:
    """The first convolutions of the graph."""
    import onnx

    nodes = onnx.load_model(str(file)).graph.node
    return [node.name for node in nodes if node.op_type == "Conv"][:count]


def _no_remarks(record: logging.LogRecord) -> bool:
    """Keep only errors: the library advises through the root logger what was done already."""
    return record.levelno >= logging.ERROR
