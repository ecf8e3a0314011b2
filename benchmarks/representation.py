"""What BCPNN learns without labels: `python -m benchmarks.representation [--csv FILE]`.

A hidden layer of competitive units (hypercolumns with a softmax each, Ravichandran, Lansner and
Herman 2020) sees scikit-learn's digits (`pip install scikit-learn`), each pixel as itself and its
complement. Its synapses learn by the rule `bcpnn` as it is registered; nothing else is trained. A
linear read-out (logistic regression) of the hidden activity then learns the labels of the same
images, and is tested on the others, beside that of the same layer before it learned, of all
principal components, and of the pixels. The settings below were chosen on the division of the
images with seed 0. The file is a results table, measure `accuracy`.
"""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.rows import Rows, run
from spikepropamine.policies.rules import RULES

HYPERCOLUMNS, UNITS = 20, 10  # of the hidden layer, and units of each
GAIN = 8.0  # plasticity gain alpha of all synapses
EXCITABILITY = -2.0  # times log p_j: units that are seldom active get more, or a few would win all
CONNECTED = 0.3  # share of the pixels that a hypercolumn sees
PASSES, RATE = 10, 0.01  # through the images, and of plasticity at each image
NOISE = 0.3  # of the support of units, falls to 0 within half of the passes


class Columns:
    """The hidden layer: fast weights [hidden, inputs] and the rule's means."""

    def __init__(self, inputs: int, generator: torch.Generator) -> None:
        self.rule, self.generator = RULES["bcpnn"], generator
        hidden = HYPERCOLUMNS * UNITS
        seen = torch.rand(HYPERCOLUMNS, inputs // 2, generator=generator) < CONNECTED
        self.connected = torch.cat([seen, seen], dim=1).float().repeat_interleave(UNITS, dim=0)
        self.usual_p = torch.full((1, inputs), 0.5)
        self.usual_q = torch.full((hidden, 1), 1 / UNITS)
        self.fast = 0.02 * torch.randn(hidden, inputs, generator=generator)

    def activity(self, inputs: Tensor, noise: float = 0.0) -> Tensor:
        """Of inputs [N, inputs], hidden activity [N, hidden], which sums to 1 in a hypercolumn."""
        means = {"p": self.usual_p, "q": self.usual_q}
        weights = GAIN * self.connected * self.rule.effective(self.fast, means)
        support = inputs @ weights.t() + self.rule.excitability(means, [EXCITABILITY]).t()
        support = support + noise * torch.randn(support.shape, generator=self.generator)
        return support.unflatten(1, (HYPERCOLUMNS, UNITS)).softmax(dim=2).flatten(1)

    def learn(self, image: Tensor, noise: float) -> None:
        """One image, [1, inputs]."""
        q = self.activity(image, noise).t()
        means = {"p": self.usual_p, "q": self.usual_q}
        drive = self.rule({"p": image, "q": q, "f": self.fast} | self.rule.named(means))
        self.fast = self.fast + RATE * drive
        self.usual_p = self.usual_p + RATE * (image - self.usual_p)
        self.usual_q = self.usual_q + RATE * (q - self.usual_q)


def accuracies(seed: int) -> dict[str, float]:
    """Share of the test images that a linear read-out gets right, by what it reads."""
    digits, models = map(import_module, ("sklearn.datasets", "sklearn.linear_model"))
    images, labels = digits.load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[:1200], order[1200:]
    pixels = images / 16
    inputs = torch.tensor(np.concatenate([pixels, 1 - pixels], axis=1), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    layer = Columns(inputs.shape[1], generator)
    read = {"pixels": pixels, "random layer": layer.activity(inputs).numpy()}
    centred = pixels - pixels[train].mean(axis=0)
    components = np.linalg.svd(centred[train], full_matrices=False)[2]
    read["principal components"] = centred @ components.T
    for k in range(PASSES):
        noise = NOISE * max(0.0, 1 - 2 * k / PASSES)
        for index in torch.tensor(train)[torch.randperm(len(train), generator=generator)]:
            layer.learn(inputs[index : index + 1], noise)
    read["bcpnn"] = layer.activity(inputs).numpy()
    found = {}
    for name, x in read.items():
        model = models.LogisticRegression(max_iter=2000).fit(x[train], labels[train])
        found[name] = float(model.score(x[test], labels[test]))
    return found


def measure(rows: Rows, options: Any) -> None:
    """Adds the accuracies of so many seeds."""
    for seed in options.seeds:
        for name, value in accuracies(seed).items():
            rows.add({"accuracy": value}, environment="digits", policy=name, seed=seed)


if __name__ == "__main__":
    run(measure, __doc__, seeds=[1, 2, 3, 4, 5])
