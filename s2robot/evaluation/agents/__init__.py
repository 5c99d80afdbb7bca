"""Policies with all that they need to act on a camera's frames.

- ``loaded_policy``: a policy file with its encoder, from frames and measurements to actions
- ``external``: the contract for policies that are not ours, and their import by name
- ``external_agent``: their rollout in batches, with chunks of actions
- ``openpi``: policies behind a server that speaks openpi's protocol
- ``recorded``: rollout of policies of recorded data, under a task's names and in its units
- ``policy_input``: checks of frames and measurements against what a policy was trained with
"""
