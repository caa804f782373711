"""Which integer kernels run here, told apart by what they compute, and what is exact between two machines."""
