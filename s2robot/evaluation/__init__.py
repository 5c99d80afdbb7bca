"""Rollouts on fixed initial states: one row per episode, latencies, videos.

- ``initial_states``: fixed, hashed starts; ``vector_env``: environments side by side
- ``rollout``: an agent acts in them; ``baselines``: agents without pixels
- ``evaluate``: a policy on all initial states; ``episode_rows``: its rows on disk, resumable
- ``results``: rates and failure stages; ``latency``; ``episode_videos``
"""
