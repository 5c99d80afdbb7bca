"""robomimic: ``import s2robot.plugins.robomimic`` registers core ``S2Core`` and our environments.

Then a robomimic configuration takes it as ``"core_class": "S2Core"`` of an image modality, and
robomimic's rollouts and scripts make the environments of files of this package.
"""

from s2robot.plugins.robomimic.core import S2Core as S2Core
from s2robot.plugins.robomimic.encoder_factory import install
from s2robot.plugins.robomimic.environment import EnvS2Robot as EnvS2Robot
from s2robot.plugins.robomimic.environment import install as install_environments
from s2robot.plugins.robomimic.robosuite_env import install as install_robosuite

install()
install_environments()
install_robosuite()
