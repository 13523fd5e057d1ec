"""What can be done with a finished run: load its network, predict with it, and write it down for other programs.

run       a finished run: its result and its weights, found and verified
model     its network, which takes pictures as the evaluation did
pictures  the image files that a person names, decoded
onnx_file the same network for other programs
"""
