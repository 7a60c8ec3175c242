"""Takes the model that `digits/prod` means, wherever it was trained, and says what is in it."""

import pickle

import vhpack

vhpack.prepare(step="predict", default_inputs={"model": "model://digits/prod"})
path = vhpack.inputs("model").path() or ""
with open(path, "rb") as file:
    weights = pickle.load(file)
model = vhpack.Model("model://digits/prod")
print(sorted(model.labels), {name: value.shape for name, value in weights.items()})
