"""Registration of a node with a ROS master that was restarted.

rospy registers topics and services once. Connections between nodes survive the master's end, but a
new master does not know the node, so that it and nodes started later do not find each other. rospy
has no function for that, so this uses the master's protocol (http://wiki.ros.org/ROS/Master_API).
"""

from __future__ import annotations

import threading
import xmlrpc.client
from http.client import HTTPException

import rosgraph  # pyright: ignore[reportMissingImports]
import rospy  # pyright: ignore[reportMissingImports]
from rospy.impl.registration import get_service_manager  # pyright: ignore[reportMissingImports]
from rospy.topics import get_topic_manager  # pyright: ignore[reportMissingImports]

CHECK_S = 1.0
"""Time between two checks of the master [s]."""
_GONE = (OSError, HTTPException, xmlrpc.client.Error, rosgraph.MasterException)


class MasterWatch:
    """Thread that asks the master periodically whether it knows this node, else registers it.

    Args:
        check_s: time between two checks [s].
    """

    def __init__(self, check_s: float = CHECK_S) -> None:
        self._check_s = check_s
        self._master = rosgraph.Master(rospy.get_name())
        self._ended = threading.Event()
        self._missing: set[str] = set()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="s2robot-master", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._check_s):
            try:
                self._check()
            except _GONE as error:
                self._log_lost(error)

    def _check(self) -> None:
        """Register topics unknown in two checks, as rospy registers new ones in the background."""
        missing, self._missing = self._missing, self._unknown_topics()
        if missing & self._missing and not self._ended.is_set():
            self._register()
            self._missing = set()
            rospy.logwarn("the master is a new one: topics and services are registered with it")
        elif self._lost:
            rospy.loginfo("the master answers again")
        self._lost = False

    def _unknown_topics(self) -> set[str]:
        """Return topics that this node publishes and the master does not know."""
        publishers, _, _ = self._master.getSystemState()
        name = rospy.get_name()
        known = {topic for topic, nodes in publishers if name in nodes}
        return {topic for topic, _ in get_topic_manager().get_publications()} - known

    def _log_lost(self, error: Exception) -> None:
        if not self._lost:
            rospy.logerr(
                "the master at %s does not answer (%s); connected topics continue, and this node "
                "waits for a new master",
                rosgraph.get_master_uri(),
                error,
            )
        self._lost = True

    def _register(self) -> None:
        uri = rospy.get_node_uri()
        topics, services = get_topic_manager(), get_service_manager()
        for topic, kind in topics.get_publications():
            self._master.registerPublisher(topic, kind, uri)
        for topic, kind in topics.get_subscriptions():
            publishers = self._master.registerSubscriber(topic, kind, uri)
            _update_publishers(uri, topic, publishers)
        for name, service_uri in services.get_services():
            self._master.registerService(name, service_uri, uri)


def _update_publishers(uri: str, topic: str, publishers: list[str]) -> None:
    """Call the node's server as a master does when the publishers of a topic change."""
    node = xmlrpc.client.ServerProxy(uri)
    node.publisherUpdate("/master", topic, publishers)
