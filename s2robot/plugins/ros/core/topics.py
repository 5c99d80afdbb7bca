"""Names of the topics of embeddings, in both kinds of nodes."""

from __future__ import annotations

from s2robot.plugins.ros.core.config import NodeConfig


def embedding_topics(config: NodeConfig) -> dict[str, str]:
    """Return the topic of each channel's embeddings, by the channel's name.

    A node with one channel (one camera, or several synchronized ones) publishes on
    ``embedding_topic``. With one channel a camera, the camera's topic is appended: embeddings of
    "/left/image_raw" are on "embedding/left/image_raw". A leading "~" of the camera's topic is
    dropped, as it is valid only at the beginning of a name.

    Raises:
        ValueError: two cameras would share a topic ("/image" and "image"), or a topic is empty.
    """
    channels = config.channels
    if len(channels) == 1:
        return dict.fromkeys(channels, config.embedding_topic)
    found: dict[str, str] = {}
    for channel in channels:
        name = channel.lstrip("~/")
        if not name:
            raise ValueError(f"image_topics has {channel!r}; allowed: names such as 'left/image'")
        topic = f"{config.embedding_topic}/{name}"
        if topic in found.values():
            raise ValueError(
                f"image_topics are {config.image_topics}: two of them would be published on "
                f"{topic!r}; write both with a leading '/', and give them different names"
            )
        found[channel] = topic
    return found
