"""Launch the encoder node.

ros2 launch s2robot_ros encoder.launch.py image:=/camera/image_raw
ros2 launch s2robot_ros encoder.launch.py --show-args
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PARAMETERS = Path(__file__).resolve().parent.parent / "config" / "encoder.yaml"

ARGUMENTS = {
    "params_file": (str(PARAMETERS), "File of parameters; what is given here goes before it."),
    "node_name": ("s2robot_encoder", "Name of the node."),
    "namespace": ("", "Namespace of the node and of its topics."),
    "image": ("", "Topic of the camera: what the topic 'image' of the parameters stands for."),
    "use_sim_time": ("", "true with a simulator or a bag played with --clock."),
    "log_level": ("info", "debug, info, warn, error."),
}
"""Default and description."""

OVERRIDES = {
    "autostart": "false: leave configuring and activating to a lifecycle manager.",
    "encoder": "Name of a backbone (s2robot encoders).",
    "policy": "A policy file: its encoder is used, and actions come out beside embeddings.",
    "device": "auto, cpu, cuda, cuda:1 ...",
    "runtime": "eager, auto, compile, onnxruntime, openvino ...",
    "output": "stamped, or float32multiarray, which needs no messages of ours.",
    "reliability": "Of images: best_effort or reliable.",
    "lazy": "false: encode also while nobody subscribes.",
    "max_rate_hz": "Most embeddings a second; 0 for no limit.",
}
"""Parameters that may be given here; "" leaves them to the file."""


def value_of(context, name):
    """A launch argument as text."""
    return LaunchConfiguration(name).perform(context)


def typed(text):
    """The parameter's value: true and false, numbers, text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def make_node(context):
    """The node, with those parameters that were given."""
    given = {name: value_of(context, name) for name in (*OVERRIDES, "use_sim_time")}
    image = value_of(context, "image")
    return [
        Node(
            package="s2robot_ros",
            executable="encoder",
            name=value_of(context, "node_name"),
            namespace=value_of(context, "namespace"),
            parameters=[
                value_of(context, "params_file"),
                {name: typed(text) for name, text in given.items() if text},
            ],
            remappings=[("image", image)] if image else [],
            arguments=["--ros-args", "--log-level", value_of(context, "log_level")],
            output="screen",
            emulate_tty=True,
        )
    ]


def generate_launch_description():
    """All arguments, and the node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value="", description=text)
        for name, text in OVERRIDES.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=make_node)])
