"""What the LeRobot plug-ins need of s2robot alone; the plug-ins themselves are in `integrations/`.

``policy_file``  a policy that LeRobot trained, as a policy file
"""
