"""What holds for all tests of the service."""

import torch

# As in the service: many small steps side by side, one thread each; more would only wait for each other.
torch.set_num_threads(1)
