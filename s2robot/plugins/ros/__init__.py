"""ROS 1 and ROS 2 nodes over a core that needs no ROS, and the encoding of bags.

``core``                everything of a node that needs no ROS; see its docstring
``parameters``          names, defaults and descriptions of the nodes' parameters
``missing_ros``         what a node says where ROS cannot be imported or refuses arguments
``encode_bag``          bags of images to bags of embeddings (needs the extra `ros`, but no ROS)
``ros1``                the ROS 1 node (needs rospy, as all modules of ros1)
``ros1_messages``       message classes of ``s2robot_msgs`` without a catkin build
``ros1_master``         registration with a restarted ROS master
``ros1_simulator``      a ROS 1 node that simulates the robot of pick-cube
``simulated_robot``     that robot, without ROS
``ros2``                the ROS 2 node (needs rclpy, as all modules of ros2)
``ros2_recordings``     a recording as a camera of ROS 2, and topics of ROS 2 as a recording
``ros2_publishers``     its publishers
``ros2_subscriptions``  its subscriptions
``ros2_support``        its message classes, qualities of service and parameters
``ros2_simulator``      the simulated robot as a ROS 2 node
"""
