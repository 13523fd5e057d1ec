"""Training a manifest. Only here are torch, torchvision and torchmetrics imported."""
