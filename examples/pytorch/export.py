"""Trains a small residual network of PyTorch on handwritten digits and exports it for `tflsplit convert`.

    pip install torch litert-torch scikit-learn pillow
    python examples/pytorch/export.py

writes `digits_torch.tflite` (float32, 18,626 weights) and `pictures.npy` to calibrate it with; docs/pytorch.md goes on
from there.
"""

import litert_torch
import numpy as np
import torch
from PIL import Image
from sklearn import datasets, model_selection
from torch import nn

SEED = 20
SIDE = 32
EPOCHS = 6
CALIBRATION_PICTURES = 200


class Block(nn.Module):
    """Two convolutions beside a skip connection, as in torchvision's ResNets."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.skip = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.path(x) + self.skip(x))


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        Block(8, 16, 1),
        Block(16, 32, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def tensor(pictures: np.ndarray) -> torch.Tensor:
    """Channels first, 0..1."""
    return torch.tensor(pictures.transpose(0, 3, 1, 2) / 255, dtype=torch.float32)


def train(net: nn.Module, pictures: np.ndarray, labels: np.ndarray) -> None:
    x, y = tensor(pictures), torch.tensor(labels).long()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(32):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    net.eval()


def main() -> None:
    torch.manual_seed(SEED)
    digits = datasets.load_digits()
    grey = [Image.fromarray((one * 255 / 16).round().astype(np.uint8)).resize((SIDE, SIDE)) for one in digits.images]
    pictures = np.stack([np.asarray(one) for one in grey])[..., None]
    learnt, held_out, labels, truth = model_selection.train_test_split(
        pictures, digits.target, test_size=0.2, random_state=SEED, stratify=digits.target
    )
    net = network()
    train(net, learnt, labels)
    print(f"right for {np.mean(net(tensor(held_out)).argmax(1).numpy() == truth):.1%} of {len(truth)} held out")
    # PyTorch has channels first, pictures and TensorFlow Lite have them last.
    wrapped = litert_torch.to_channel_last_io(net, args=[0]).eval()
    litert_torch.convert(wrapped, (torch.zeros(1, SIDE, SIDE, 1),)).export("digits_torch.tflite")
    np.save("pictures.npy", learnt[:CALIBRATION_PICTURES])


if __name__ == "__main__":
    main()
