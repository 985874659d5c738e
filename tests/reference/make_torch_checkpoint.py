"""Makes torch_zip.pth and torch_old.pth, as README.md in this folder says."""

from pathlib import Path

import torch


def numbers(*shape: int, dtype=torch.float32) -> torch.Tensor:
    """0, 1/8, 2/8, ... in the order of memory."""
    n_elements = torch.Size(shape).numel()
    return (torch.arange(n_elements) / 8).reshape(shape).to(dtype)


network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.BatchNorm2d(3))
with torch.no_grad():
    network[0].weight.copy_(numbers(3, 2, 1, 1))
    network[0].bias.copy_(-numbers(3))
    network[1].running_var.copy_(1 + numbers(3))
    network[1].num_batches_tracked.fill_(7)
state_dict = network.state_dict()
rows = numbers(4, 3)
state_dict["double"] = numbers(2, 3, dtype=torch.float64)
state_dict["half"] = numbers(5, dtype=torch.float16)
state_dict["bfloat16"] = numbers(5, dtype=torch.bfloat16)
state_dict["byte"] = torch.tensor([0, 255], dtype=torch.uint8)
state_dict["bool"] = torch.tensor([True, False, True])
state_dict["rows"] = rows
state_dict["transposed"] = rows.T
state_dict["last_rows"] = rows[2:]
state_dict["parameter"] = torch.nn.Parameter(numbers(2))
folder = Path(__file__).parent
torch.save(state_dict, folder / "torch_zip.pth")
torch.save(state_dict, folder / "torch_old.pth", _use_new_zipfile_serialization=False)
