"""Policies with all that they need to act on a camera's frames.

- ``loaded_policy``: a policy file with its encoder, from frames and measurements to actions
- ``policy_input``: checks of frames and measurements against what a policy was trained with
"""
