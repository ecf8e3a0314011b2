"""Policies for other places: as ONNX and NIR files, which need nothing of this project
to run.
"""
