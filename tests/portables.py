"""ONNX files made by hand for tests: no torch, no training, and an answer that can be told in
advance.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from eyesight.data.prepare import Preparation

THRESHOLD = {"value": 0.8, "accuracy": 0.99, "share": 0.9, "n": 100}


def by_brightness(file, size=8, channels=1, threshold=THRESHOLD, looks=False, **facts):
    """A network of two classes whose probability of "bright" is the logistic of 20 (mean - 0.5)
    over the upper left quarter.

    One that `looks` gives as heat the brightness of every place.
    """
    how = Preparation(size, size, channels, "squash")
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["floats", "start", "end", "sides"], ["quarter"]),
        helper.make_node("ReduceMean", ["quarter", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Gemm", ["column", "weight", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMean", ["floats", "channels"], ["heat"], keepdims=0),
    ]
    constants = {
        "channels": np.array([1], np.int64),
        "axes": np.array([1, 2, 3], np.int64),
        "start": np.array([0, 0], np.int64),
        "end": np.array([size // 2, size // 2], np.int64),
        "sides": np.array([2, 3], np.int64),
        "last": np.array([1], np.int64),
        "weight": np.array([[0, 20 / 255]], np.float32),
        "bias": np.array([0, -10], np.float32),
    }
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
        helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["n", size, size]),
    ]
    graph = helper.make_graph(
        nodes,
        "by_brightness",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", *how.shape])],
        outputs[: 1 + looks],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    known = {
        "eyesight_format": 1,
        "name": "lamp",
        "classes": ["dark", "bright"],
        "preparation": how.to_dict(),
        "threshold": threshold,
    }
    helper.set_model_props(
        model, {key: json.dumps(value) for key, value in {**known, **facts}.items()}
    )
    onnx.save_model(model, str(file))
    return file


def by_pixel(file, target, size=8, **facts):
    """A network that gives every pixel two probabilities, dark and bright ("mask"), or half of its
    own brightness ("picture").
    """
    how = Preparation(size, size, 1, "squash")
    half = [helper.make_node("Mul", ["floats", "half"], ["probabilities"])]
    both = [
        helper.make_node("Mul", ["floats", "whole"], ["bright"]),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["probabilities"], axis=1),
    ]
    constants = {"half": 0.5 / 255, "whole": 1 / 255, "one": 1.0}
    outputs = 2 if target == "mask" else 1
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
            *(both if target == "mask" else half),
        ],
        "by_pixel",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", *how.shape])],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["n", outputs, size, size]
            )
        ],
        [
            numpy_helper.from_array(np.array(value, np.float32), name)
            for name, value in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    known = {
        "eyesight_format": 1,
        "name": "lamp",
        "classes": ["dark", "bright"],
        "preparation": how.to_dict(),
        "target": target,
    }
    helper.set_model_props(
        model, {key: json.dumps(value) for key, value in {**known, **facts}.items()}
    )
    onnx.save_model(model, str(file))
    return file
