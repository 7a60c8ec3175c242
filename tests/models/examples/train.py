"""Trains a classifier, keeps a snapshot of every epoch while it goes on, and publishes the best of them as `digits/prod`."""

import pickle
from typing import Any

import numpy as np

import vhpack

EPOCHS = 8


def made(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of three kinds, each around a middle of its own."""
    chance = np.random.default_rng(seed)
    kinds = chance.integers(0, 3, 600)
    middles = np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 1.0], [-2.0, -1.0, 2.0]])
    return middles[kinds] + chance.normal(0, 1.2, (600, 3)), kinds


class Softmax:
    """Softmax regression, for machines without scikit-learn."""

    def __init__(self) -> None:
        self.weights = np.zeros((4, 3))

    def partial_fit(self, points: np.ndarray, kinds: np.ndarray, classes: object = None) -> "Softmax":
        """Take a step down the gradient."""
        del classes
        inputs = np.hstack([points, np.ones((len(points), 1))])
        scores = np.exp(inputs @ self.weights)
        error = scores / scores.sum(1, keepdims=True) - np.eye(3)[kinds]
        self.weights -= 0.5 * inputs.T @ error / len(points)
        return self

    def score(self, points: np.ndarray, kinds: np.ndarray) -> float:
        """Return the share of points whose kind is found."""
        inputs = np.hstack([points, np.ones((len(points), 1))])
        return float(((inputs @ self.weights).argmax(1) == kinds).mean())


def classifier() -> Any:
    """Return scikit-learn's, where that is installed."""
    try:
        from sklearn.linear_model import SGDClassifier
    except ImportError:
        return Softmax()
    return SGDClassifier(loss="log_loss", random_state=1)


def main() -> None:
    """Train."""
    vhpack.prepare(step="train")
    model = vhpack.OutputModel(
        name="digits", label_enumeration={"zero": 0, "one": 1, "two": 2}, config_dict={"epochs": EPOCHS}, framework="numpy"
    )
    points, kinds = made(1)
    checked = made(2)
    network = classifier()
    scores = []
    for epoch in range(EPOCHS):
        network.partial_fit(points, kinds, classes=[0, 1, 2])
        scores.append(network.score(*checked))
        with open("weights.pkl", "wb") as file:
            pickle.dump({name: value for name, value in vars(network).items() if isinstance(value, np.ndarray)}, file)
        model.update_weights("weights.pkl", iteration=epoch)  # sent in the background; the next epoch begins at once
    vhpack.OutputModel.wait_for_uploads(raise_on_error=True)
    best = int(np.argmax(scores))
    model.comment = f"epoch {best}: {scores[best]:.3f}\n{model.comment}"
    (version,) = [each.n for each in model.versions() if each.iteration == best]
    model.set_alias("prod", version=version, note=f"{scores[best]:.3f}")
    model.publish()
    print(best, scores[best])


if __name__ == "__main__":
    main()
