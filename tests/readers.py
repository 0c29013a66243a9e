"""A network that knows the ten digits, made by hand for tests: how alike a picture is to each digit
as `written` writes it.
"""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy import ndimage
from written import STROKES, box

from eyesight.data.prepare import Preparation
from eyesight.reader import mnist_digit


def by_likeness(file, order="0123456789", sharpness=40.0, **facts):
    """A file of ten classes in this order; probabilities are the softmax of `sharpness` times the
    cosines with blurred templates.
    """
    how = Preparation(28, 28, 1)
    usual = np.stack(
        [
            ndimage.gaussian_filter(mnist_digit.digit(box(digit)).astype(np.float32), 1.0).ravel()
            for digit in order
        ]
    )
    constants = {
        "templates": (usual / np.linalg.norm(usual, axis=1, keepdims=True)).T.astype(np.float32),
        "sides": np.array([1], np.int64),
        "sharpness": np.array(sharpness, np.float32),
        "little": np.array(1e-3, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["pictures"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["rows"], axis=1),
        helper.make_node("ReduceL2", ["rows", "sides"], ["exact"], keepdims=1),
        helper.make_node("Add", ["exact", "little"], ["lengths"]),
        helper.make_node("Div", ["rows", "lengths"], ["directions"]),
        helper.make_node("MatMul", ["directions", "templates"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "sharpness"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "by_likeness",
        [helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", *how.shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(STROKES)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    known = {
        "eyesight_format": 1,
        "name": "alike",
        "classes": list(order),
        "preparation": how.to_dict(),
    }
    helper.set_model_props(
        model, {key: json.dumps(value) for key, value in {**known, **facts}.items()}
    )
    onnx.save_model(model, str(file))
    return file
