"""Trainings over several processes and machines, with Ray: several side by side, or one by actors and a learner."""
