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
    "params_file": (str(PARAMETERS), "File of parameters; arguments given here override it."),
    "node_name": ("s2robot_encoder", "Name of the node."),
    "namespace": ("", "Namespace of the node and of its topics."),
    "image": ("", "Topic of the camera, to which the parameters' topic 'image' is remapped."),
    "use_sim_time": ("", "true with a simulator, or with a bag played with --clock."),
    "log_level": ("info", "debug, info, warn, error."),
}
"""Default and description."""

OVERRIDES = {
    "autostart": "false: a lifecycle manager configures and activates the node.",
    "encoder": "Name of a backbone (s2robot encoders).",
    "policy": "A policy file: the node uses its encoder and publishes actions besides embeddings.",
    "device": "auto, cpu, cuda, cuda:1 ...",
    "runtime": "auto, eager, compile, onnxruntime, openvino ...",
    "output": "stamped, float32multiarray, which does not need s2robot_msgs, or auto.",
    "reliability": "Reliability of images: auto, best_effort or reliable.",
    "lazy": "false: encode also while nobody subscribes to embeddings.",
    "max_rate_hz": "Highest rate of embeddings [Hz]; 0 is no limit.",
}
"""Parameters that can be given here; "" keeps the value of the file."""


def value_of(context, name):
    """Return a launch argument as text."""
    return LaunchConfiguration(name).perform(context)


def typed(text):
    """Return the parameter's value: a truth value, a number or text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text


def make_node(context):
    """Return the node with the given parameters."""
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
    """Return all arguments and the node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    arguments += [
        DeclareLaunchArgument(name, default_value="", description=text)
        for name, text in OVERRIDES.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=make_node)])
