"""Policies for recorded demonstrations: training without a simulator, rollouts in one that fits.

``split``     division of episodes into training, tuning and held-out ones
``inputs``    what a training takes: data set, frames, encoder, embeddings, scaled actions
``training``  a policy, and its page (`s2robot train data=PATH`)
``held_out``  open-loop predictions on held-out episodes, and errors with intervals
``page``      the page of a policy
``rollouts``  fit of a policy to a task (`s2robot eval checkpoint=FILE task=NAME`)
"""
