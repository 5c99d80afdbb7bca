"""Run a policy file in the pick-cube environment and print its success rate.

The initial states are fixed: every policy starts from the same ones. The interval is
Wilson's, 95 %. With few episodes it is wide: do not compare two policies by eye.

    python examples/train_policy.py
    python examples/run_policy.py policy.safetensors --episodes 8 --videos 1

Expected output (numbers depend on the policy):

    success in 1 of 8 episodes: 12% [2%, 47%]
    where episodes failed: reach 7
    video: rollouts/videos/success_00006.mp4
    video: rollouts/videos/failure_00000.mp4
"""

import argparse
from pathlib import Path

from s2robot.evaluation.evaluate import EvalConfig
from s2robot.experiments.pipeline import EvalJob, evaluate_policy


def main() -> None:
    """Roll a policy out from fixed initial states."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("policy", type=Path, nargs="?", default=Path("policy.safetensors"))
    parser.add_argument("--episodes", type=int, default=16)
    parser.add_argument("--videos", type=int, default=0, help="of successes, and of failures")
    parser.add_argument("--horizon", type=int, help="steps per episode; default: the level's own")
    parser.add_argument("--out", type=Path, default=Path("rollouts"))
    args = parser.parse_args()
    if not args.policy.exists():
        parser.error(f"there is no {args.policy}; examples/train_policy.py writes one")

    rollout = EvalConfig(
        num_envs=min(8, args.episodes), videos=args.videos, video_size=256, horizon=args.horizon
    )
    job = EvalJob(args.policy, n=args.episodes, rollout=rollout, out=args.out, fresh=True)
    summary = evaluate_policy(job)

    rate, count = summary.success_at_end, summary.episodes
    print(
        f"success in {round(rate.estimate * count)} of {count} episodes: "
        f"{rate.estimate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
    )
    failures = [f"{stage} {n}" for stage, n in summary.stages.items() if stage != "none" and n]
    print(f"where episodes failed: {', '.join(failures) or 'nowhere'}")
    for name in summary.videos:
        print(f"video: {args.out / name}")


if __name__ == "__main__":
    main()
