"""What a run is trained on: data sets and pretrained weights, found, verified and read."""
