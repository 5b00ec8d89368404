"""Measures the finished backbone on the digits, once, beside random weights, and notes both in the file's metadata."""

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from backbone import build_model, save
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

RANDOM_SEEDS = range(5)


def read_split(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Pictures [N,3,32,32] in [-1,1] and labels [N], from members SPLIT/digitN/NAME.png."""
    pictures, labels = [], []
    with tarfile.open(path) as tar:
        for member in tar:
            part, digit, _ = member.name.split("/")
            content = tar.extractfile(member)
            if part != split or content is None:
                continue
            pictures.append(np.asarray(Image.open(io.BytesIO(content.read()))))
            labels.append(int(digit.removeprefix("digit")))
    images = torch.from_numpy(np.stack(pictures)).float().div(255).sub(0.5).div(0.5)
    return images[:, None].expand(-1, 3, -1, -1), torch.tensor(labels)


@torch.inference_mode()
def nearest_mean_accuracy(model: nn.Module, tar: Path) -> float:
    """Cosine to the class means of the CLS feature after the final norm: means from train, accuracy on test."""
    (train, train_labels), (test, test_labels) = read_split(tar, "train"), read_split(tar, "test")
    features, queries = F.normalize(model.eval()(train)), F.normalize(model(test))
    means = torch.stack([features[train_labels == digit].mean(dim=0) for digit in range(10)])
    return ((queries @ F.normalize(means).T).argmax(dim=1) == test_labels).float().mean().item()


def random_accuracy(tar: Path) -> float:
    """The mean over a few initialisations."""
    accuracies = []
    for seed in RANDOM_SEEDS:
        torch.manual_seed(seed)
        accuracies.append(nearest_mean_accuracy(build_model(), tar))
    return sum(accuracies) / len(accuracies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("digits", type=Path, help="the tar of make_digits.py")
    parser.add_argument("weights", type=Path, help="the .safetensors of train_backbone.py; its metadata is completed")
    args = parser.parse_args()
    torch.set_num_threads(2)
    with safe_open(args.weights, "pt") as file:
        metadata = dict(file.metadata())
    model = build_model()
    model.load_state_dict(load_file(args.weights))
    metadata["digits_nearest_mean_accuracy"] = f"{nearest_mean_accuracy(model, args.digits):.4f}"
    metadata["digits_nearest_mean_accuracy_of_random_weights"] = f"{random_accuracy(args.digits):.4f}"
    save(args.weights, model, metadata)
    print(*(f"{name}: {value}" for name, value in sorted(metadata.items())), sep="\n")


if __name__ == "__main__":
    main()
