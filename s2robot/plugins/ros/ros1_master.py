"""A node that outlives its master: what it offers and wants is told to a new master.

rospy registers topics and services once. Connections between nodes go on when the master dies, but
a new master knows nobody, and no node that starts later finds ours, nor ours it. There is no call
for that in rospy, so this speaks the master's own protocol (http://wiki.ros.org/ROS/Master_API).
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
_GONE = (OSError, HTTPException, xmlrpc.client.Error, rosgraph.MasterException)


class MasterWatch:
    """Asks the master every second whether it knows this node, and registers it where not."""

    def __init__(self, check_s: float = CHECK_S) -> None:
        self._check_s = check_s
        self._master = rosgraph.Master(rospy.get_name())
        self._ended = threading.Event()
        self._missing: set[str] = set()
        self._lost = False
        self._thread = threading.Thread(target=self._run, name="s2robot-master", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._check_s):
            try:
                self._check()
            except _GONE as error:
                self._tell_lost(error)

    def _check(self) -> None:
        """Twice in a row: what is new may be on its way, as rospy registers in the background."""
        missing, self._missing = self._missing, self._unknown_topics()
        if missing & self._missing and not self._ended.is_set():
            self._register()
            self._missing = set()
            rospy.logwarn("the master is a new one: topics and services are registered with it")
        elif self._lost:
            rospy.loginfo("the master answers again")
        self._lost = False

    def _unknown_topics(self) -> set[str]:
        """Topics that this node publishes and the master does not know of."""
        publishers, _, _ = self._master.getSystemState()
        name = rospy.get_name()
        known = {topic for topic, nodes in publishers if name in nodes}
        return {topic for topic, _ in get_topic_manager().get_publications()} - known

    def _tell_lost(self, error: Exception) -> None:
        if not self._lost:
            rospy.logerr(
                "the master at %s does not answer (%s); topics that are connected go on, and this "
                "node waits for a new master",
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
            _tell_publishers(uri, topic, publishers)
        for name, service_uri in services.get_services():
            self._master.registerService(name, service_uri, uri)


def _tell_publishers(uri: str, topic: str, publishers: list[str]) -> None:
    """What a master does when a topic's publishers change: a call of the node's own server."""
    node = xmlrpc.client.ServerProxy(uri)
    node.publisherUpdate("/master", topic, publishers)
