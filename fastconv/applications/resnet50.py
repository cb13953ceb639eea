"""ResNet50 under the name of its own module, which programs for Keras import."""

from fastconv.applications.resnet import ResNet50, decode_predictions, preprocess_input

__all__ = ["ResNet50", "decode_predictions", "preprocess_input"]
