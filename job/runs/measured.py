"""Which steps of a training are measured, and of which weights: training records them, the report reads them."""

GROUPS = ("backbone", "fc")
"""Of weights, as `Diagnostics` names them."""
FIRST_STEPS = 10
"""Each of so many steps at the start of training is measured: there optimizers differ most."""
MEASURED_EVERY = 10
"""Steps: after the first ones so many go from one that is measured to the next."""
