from glob import glob

from setuptools import setup

NAME = "s2robot_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        # Not an entry point: `colcon build --symlink-install` would give it the Python of colcon.
        (f"lib/{NAME}", ["scripts/encoder", "scripts/simulator"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*.yaml")),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    maintainer="s2robot developers",
    maintainer_email="s2robot@example.org",
    description="Node that turns camera images into embeddings and, with a policy, into actions.",
    license="MIT",
)
