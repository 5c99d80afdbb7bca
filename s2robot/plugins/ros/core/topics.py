"""Where embeddings are published: a rule that both kinds of nodes keep."""

from __future__ import annotations

from s2robot.plugins.ros.core.config import NodeConfig


def embedding_topics(config: NodeConfig) -> dict[str, str]:
    """The topic of each channel's embeddings, by the channel's name.

    A node with one channel (one camera, or several whose frames are taken together) publishes on
    ``embedding_topic``. With a channel for every camera, the camera's topic follows after that:
    embeddings of "/left/image_raw" are on "embedding/left/image_raw". Such a name is valid
    wherever the two that it is made of are; a "~" is dropped, which only a first place allows.

    Raises:
        ValueError: two cameras would share a topic ("/image" and "image"), or one has no name.
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
                f"{topic!r}; write both with a leading '/', and give each a name of its own"
            )
        found[channel] = topic
    return found
