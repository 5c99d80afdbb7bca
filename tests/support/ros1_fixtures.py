"""Fixtures of the tests that run where ROS 1 is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ros1_rig import Rig, free_port


@pytest.fixture(scope="session")
def ros_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A master with this process as one of its nodes."""
    import rospy  # pyright: ignore[reportMissingImports]

    from s2robot.plugins.ros.ros1_master import MasterWatch

    rig = Rig(tmp_path_factory.mktemp("ros"), free_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in rig.variables.items():
            patch.setenv(name, value)
        rospy.init_node("tests", disable_signals=True)
        watch = MasterWatch(0.2)
        yield rig
        watch.close()
        rospy.signal_shutdown("the tests are over")
    rig.close()


@pytest.fixture
def rig(ros_master: Rig) -> Iterator[Rig]:
    """Processes of one test."""
    import rospy  # pyright: ignore[reportMissingImports]

    yield ros_master
    ros_master.clear()
    if rospy.has_param("/use_sim_time"):  # a launch file has set it
        rospy.delete_param("/use_sim_time")
