"""Networks that Keras does not have: EfficientNet-Lite, torchvision's, KerasHub's presets."""
