"""Fine-tune one network with many optimizers, and find out which is better, by how much, and why."""

__version__ = "0.1.0"
