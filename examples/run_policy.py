"""Run a policy file in the pick-cube environment, step by step, and print its success rate.

`load_policy` returns the policy with its encoder: frames and measurements in, actions out. The
same three lines serve any environment or robot. Episodes start from the states of `s2robot eval`,
which evaluates in batches, writes rows for reports, and is what to use for comparisons.

    python examples/train_policy.py
    python examples/run_policy.py policy.safetensors --episodes 8 --video rollouts/first.mp4

Expected output (numbers depend on the policy):

    reads cameras {'front': (256, 256)} and ee_pos, gripper_width at 5 Hz
    success in 1 of 8 episodes: 12% [2%, 47%]
    video: rollouts/first.mp4
"""

import argparse
from pathlib import Path

from s2robot import load_policy
from s2robot.envs.pick_cube import PickCubeEnv
from s2robot.evaluation.config import FIRST_SEEDS
from s2robot.evaluation.episode_videos import write_video
from s2robot.stats.intervals import wilson


def main() -> None:
    """Roll a policy out from fixed initial states."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path, nargs="?", default=Path("policy.safetensors"))
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--horizon", type=int, help="steps per episode; default: the level's own")
    parser.add_argument("--video", type=Path, help="of the first episode, as the policy sees it")
    args = parser.parse_args()
    if not args.policy.exists():
        parser.error(f"there is no {args.policy}; examples/train_policy.py writes one")

    policy = load_policy(args.policy)
    keys = ", ".join(policy.proprio_keys)
    print(f"reads cameras {policy.cameras} and {keys} at {policy.control_hz:g} Hz")
    ((camera, size),) = policy.cameras.items()
    height, width = size or (384, 384)  # a file may not tell the size
    shorter = {} if args.horizon is None else {"horizon": args.horizon}
    env = PickCubeEnv(**{**policy.header.env_kwargs, **shorter})

    successes, seen = 0, []
    for episode in range(args.episodes):
        observation, info = env.reset(seed=FIRST_SEEDS["test"] + episode)
        policy.reset()
        truncated = False
        while not truncated:
            frame = env.render_frame(camera, height, width)
            action = policy(frame, observation)
            observation, _, _, truncated, info = env.step(action)
            seen += [frame] if episode == 0 else []
        successes += info["is_success"]

    rate = wilson(successes, args.episodes)
    print(
        f"success in {successes} of {args.episodes} episodes: "
        f"{rate.estimate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
    )
    if args.video:
        write_video(args.video, seen, env.metadata["render_fps"])
        print(f"video: {args.video}")


if __name__ == "__main__":
    main()
