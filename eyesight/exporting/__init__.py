"""Export to ONNX, verified against the classifier before the file is kept."""
