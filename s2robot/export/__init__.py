"""The whole encoder as one ONNX file, from camera frames to embeddings."""
