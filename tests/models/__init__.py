"""Stand-ins for AWS and Kubernetes: servers that answer as the services do, and rules that say what they would refuse.

Each models a service from its documentation and imports nothing of `job` but its errors, so that a test compares the
project with what the service says of itself.
"""
