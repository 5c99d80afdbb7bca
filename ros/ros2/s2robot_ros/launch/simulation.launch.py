"""Launch a simulated Panda and the node that controls it.

ros2 launch s2robot_ros simulation.launch.py policy:=/data/policy.safetensors episodes:=10
ros2 launch s2robot_ros simulation.launch.py policy:=/data/policy.safetensors synchronous:=true
ros2 launch s2robot_ros simulation.launch.py --show-args
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

STALE_S = 0.5
ROBOT = {
    "episodes": ("0", "Number of episodes; 0: no limit."),
    "seed": ("2000000", "Seed of the first episode; by default the seeds of `s2robot eval`."),
    "seconds": ("0.0", "Longest time of an episode [s]; 0: the level's."),
    "camera_hz": ("30.0", "Rate of the frames [Hz]."),
    "speed": ("1.0", "Highest number of simulated seconds per second."),
    "synchronous": ("false", "true: the world waits for the action on its last frame."),
    "wait_s": ("10.0", "Longest such wait [s]."),
}
"""Default and description of the robot's parameters."""

ARGUMENTS = {
    "policy": ("", "Policy file."),
    "sim_time": ("true", "Use a simulated clock, which is slower on a slow machine."),
    "runtime": ("auto", "Runtime of the encoder."),
    "reuse": ("true", "Encode only tiles that changed."),
    **ROBOT,
}


def typed(text):
    """Return the parameter's value: a truth value, a number or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def make_nodes(context):
    """Return both nodes; when the robot ends, so does the other."""
    value = {name: typed(LaunchConfiguration(name).perform(context)) for name in ARGUMENTS}
    shared = {"policy": value["policy"], "use_sim_time": value["sim_time"]}
    stale_s = float(value["wait_s"]) if value["synchronous"] else STALE_S
    encoder = {"runtime": value["runtime"], "reuse": value["reuse"], "stale_s": stale_s}
    robot = Node(
        package="s2robot_ros",
        executable="simulator",
        name="s2robot_simulator",
        parameters=[{**shared, **{name: value[name] for name in ROBOT}}],
        output="screen",
        emulate_tty=True,
    )
    node = Node(
        package="s2robot_ros",
        executable="encoder",
        name="s2robot_encoder",
        parameters=[{**shared, **encoder}],
        output="screen",
        emulate_tty=True,
    )
    end = OnProcessExit(target_action=robot, on_exit=[EmitEvent(event=Shutdown())])
    return [node, robot, RegisterEventHandler(end)]


def generate_launch_description():
    """Return all arguments and both nodes."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=make_nodes)])
