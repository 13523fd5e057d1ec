"""Training a manifest. Only here is torch imported."""
