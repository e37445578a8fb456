"""What benchmarks run beside themselves: demos, services and other processes, and lanes of them."""
