"""Well-known networks under the names of `keras.applications`: architectures; weights come from files that you have."""

from fastconv.applications.alexnet import AlexNet
from fastconv.applications.efficientnet import EfficientNetB0
from fastconv.applications.mobilenet_v2 import MobileNetV2
from fastconv.applications.resnet import ResNet50, ResNet101, ResNet152
from fastconv.applications.vgg16 import VGG16
from fastconv.applications.vgg19 import VGG19

__all__ = ["VGG16", "VGG19", "AlexNet", "EfficientNetB0", "MobileNetV2", "ResNet50", "ResNet101", "ResNet152"]
