"""The model: encoders, networks, the ONNX graph around a network, and the file that ships."""
