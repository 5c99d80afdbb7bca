"""robomimic: ``import s2robot.plugins.robomimic`` registers the encoder core ``S2Core``.

Then a robomimic configuration takes it as ``"core_class": "S2Core"`` of an image modality.
"""

from s2robot.plugins.robomimic.core import S2Core as S2Core
from s2robot.plugins.robomimic.encoder_factory import install

install()
