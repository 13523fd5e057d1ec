"""Which steps of a training are measured, and for which weights. Runs record the measurements."""

GROUPS = ("backbone", "fc")
"""The groups of weights, as `Diagnostics` names them."""
FIRST_STEPS = 10
"""This many steps at the start of training are all measured, because optimizers differ most there."""
MEASURED_EVERY = 10
"""After the first steps, one step in this many is measured."""
QUANTITIES = ("gradient_norm", "update_norm", "weight_norm", "update_to_weight", "update_rms")
"""What is measured of a group, as `GroupDiagnostics` names it."""
